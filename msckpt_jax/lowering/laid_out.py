"""A traced network whose weights lie as in a CheckPoint of a convention.

Its arguments become the parameters of such a CheckPoint, and it begins with what makes the leaves
of the tree of them: transposes, slices of what is concatenated, stacks of layers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax import Array

from msckpt_jax import _compat, display, names
from msckpt_jax._compat import Atom, ClosedJaxpr, Equation, Literal
from msckpt_jax.checkpoint.leaves import Given
from msckpt_jax.conventions import convention as conventions
from msckpt_jax.conventions import restoring, saving
from msckpt_jax.conventions.convention import ConventionLike
from msckpt_jax.conventions.mapping import Target, View
from msckpt_jax.conventions.restoring import Place
from msckpt_jax.errors import CheckpointError
from msckpt_jax.lowering.trace import Traced

#: The most names in a note.
_MOST = 5


class _Leaf(NamedTuple):
    """A leaf that the network uses: its variable in the jaxpr, and its places in parameters."""

    name: str
    variable: Any
    places: Sequence[Place]


def laid_out(traced: Traced, convention: ConventionLike) -> Traced:
    """The network as a function of the parameters that ``save_checkpoint`` writes for its tree.

    Raises:
        AmbiguousLeafError, CheckpointError: those of :func:`saving.from_tree`; the network uses a
            leaf that cannot be made of the parameters.
        ValueError: the network has no tree of weights.
    """
    if traced.tree is None:
        raise ValueError(
            "convention= lays out a tree of weights, and a plain function has none: pass a module, "
            "or (function, weights)"
        )
    tree = traced.tree()
    targets = conventions.of(convention).targets(tree)
    inner, consts = _compat.opened(traced.jaxpr)
    used, rest = _leaves(traced, tree, restoring.places(targets))
    wanted = {place.target.name for leaf in used for place in leaf.places}
    chosen = [target for target in targets if target.name in wanted]
    records = saving.from_tree(tree, convention, wanted.__contains__)
    variables, made, env = _restoring(used, chosen)
    its, its_consts = _compat.opened(made)
    jaxpr = _compat.closed(
        traced.jaxpr, [*its.constvars, *inner.constvars], [*its_consts, *consts],
        [*variables, *rest.values(), *inner.invars[len(traced.weights) :]],
        [*_renamed(its.eqns, env), *_renamed(inner.eqns, env)],
        [_read(env, atom) for atom in inner.outvars],
    )  # fmt: skip
    named: dict[str, Any] = {record.tag: Given(record) for record in records}
    unique = names.Unique(named)
    named |= {unique(tag): traced.weights[tag] for tag in rest}
    inputs = {unique(name): value for name, value in traced.inputs.items()}
    notes = [*traced.notes, *_notes(targets, chosen, used)]
    return traced._replace(
        jaxpr=jaxpr, weights=named, inputs=inputs, notes=notes, own=traced.weights
    )


def _leaves(
    traced: Traced, tree: Any, places: Mapping[str, Sequence[Place]]
) -> tuple[list[_Leaf], dict[str, Any]]:
    """The leaves that the network uses, and the variables of the others by the weights' names."""
    inner, _ = _compat.opened(traced.jaxpr)
    _, living = _compat.needed(traced.jaxpr, [True] * len(inner.outvars))
    known = (leaf.name for leaf in names.named_leaves(tree))
    leaves = itertools.chain(known, itertools.repeat(None))  # then the weights that functions hold
    used: list[_Leaf] = []
    rest: dict[str, Any] = {}
    weights = zip(leaves, traced.weights, inner.invars, living, strict=False)
    for name, tag, variable, is_used in weights:
        if name is None or not is_used:
            rest[tag] = variable
        elif name in places:
            used.append(_Leaf(name, variable, places[name]))
        else:
            raise CheckpointError(
                "the network uses this leaf, which cannot be made of the parameters of a "
                "CheckPoint of this convention: none holds it as it is", name=name,
            )  # fmt: skip
    return used, rest


def _restoring(
    used: Sequence[_Leaf], chosen: Sequence[Target]
) -> tuple[list[Any], ClosedJaxpr, dict[Any, Atom]]:
    """The variables of the parameters, the jaxpr that makes leaves of them, and what replaces what.

    A leaf that is a parameter as it is keeps its variable.
    """
    own = {leaf.places[0].target.name: leaf.variable
           for leaf in used if restoring.is_identity(leaf.places)}  # fmt: skip
    others = [leaf for leaf in used if not restoring.is_identity(leaf.places)]
    dtypes = {place.target.name: leaf.variable.aval.dtype for leaf in used for place in leaf.places}

    def leaves(values: list[Array]) -> list[Array]:
        known = {target.name: value for target, value in zip(read, values, strict=True)}
        return [restoring.restored(leaf.places, known, leaf.variable.aval.dtype) for leaf in others]

    wanted = {place.target.name for leaf in others for place in leaf.places}
    read = [target for target in chosen if target.name in wanted]
    made = jax.make_jaxpr(leaves)([jax.ShapeDtypeStruct(t.shape, dtypes[t.name]) for t in read])
    inner, _ = _compat.opened(made)
    arguments = {target.name: var for target, var in zip(read, inner.invars, strict=True)}
    env: dict[Any, Atom] = {var: own[name] for name, var in arguments.items() if name in own}
    for leaf, result in zip(others, inner.outvars, strict=True):
        env[leaf.variable] = _read(env, result)
    return [(arguments | own)[target.name] for target in chosen], made, env


def _read(env: Mapping[Any, Atom], atom: Atom) -> Atom:
    return atom if isinstance(atom, Literal) else env.get(atom, atom)


def _renamed(eqns: Sequence[Equation], env: Mapping[Any, Atom]) -> Iterator[Equation]:
    for eqn in eqns:
        operands = [_read(env, atom) for atom in eqn.invars]
        yield eqn.replace(invars=operands, effects=_compat.effects_on(eqn, operands))


def _notes(
    targets: Sequence[Target], chosen: Sequence[Target], used: Sequence[_Leaf]
) -> Iterator[str]:
    """Yield what other weights of such a CheckPoint have to heed, and what is not exact."""
    if constant := [target.name for target in targets if target.constant is not None]:
        yield (
            f"{_some(constant)}: a CheckPoint of the convention has it, the network and this file "
            "have not: other values of it than the initial ones would change nothing"
        )
    for target in chosen:
        start, stop = target.zero_rows
        if start < stop:
            yield f"{target.name}: rows {start} to {stop} must be zero, the network has none"
    if scaled := [leaf.name for leaf in used if any(_steps(leaf))]:
        yield (
            f"{_some(scaled)}: scaled in a CheckPoint of the convention; the file scales it back, "
            "which rounds once more"
        )
    for leaf in used:
        held = sum(p.how.size for _, p in leaf.places if isinstance(p, View))
        if 0 < held < math.prod(leaf.variable.aval.shape):
            yield f"{leaf.name}: a CheckPoint of the convention has no padding: here it is zeros"


def _steps(leaf: _Leaf) -> Iterator[Any]:
    for _, part in leaf.places:
        yield from part.how.steps if isinstance(part, View) else ()


def _some(all: Sequence[str]) -> str:
    more = f" and {display.counted(len(all) - _MOST, 'other')}" if len(all) > _MOST else ""
    return ", ".join(all[:_MOST]) + more

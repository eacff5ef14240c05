"""Mutable arrays (``jax.new_ref``, and those of kernels) as values: a write makes a new value.

    r = new_ref x; r[0] <- y; z = freeze r
    a b = swap x y; z = a

The equations of the user stay; one that takes a mutable array is replaced by one that takes and
returns its value, whose rewrite (``values_of_refs``) says in JAX what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.extend import core

from msckpt_jax import _compat
from msckpt_jax._compat import Atom, ClosedJaxpr, Equation, Literal, Var, opened
from msckpt_jax.lowering import forms
from msckpt_jax.lowering.rewrites import calls


class Pure(NamedTuple):
    """A jaxpr that takes the values of mutable arrays in their place.

    Attributes:
        jaxpr: takes the position in the grid, and the operands; returns the results, then the new
            values of the mutable arrays that it writes.
        written: the operands that these are.
    """

    jaxpr: ClosedJaxpr
    written: tuple[int, ...]


class Kept(NamedTuple):
    """What an equation that takes values keeps of the one that took mutable arrays.

    Attributes:
        params: its parameters, without the bodies.
        names: the parameters that are bodies, with the index of each where they are several.
        written: the operands that each body writes.
        places: the place of each operand among the mutable arrays, or None for a value.
        changed: the mutable arrays that the equation writes.
        axes: the axes of the grid of the kernel.
    """

    params: Mapping[str, Any]
    names: tuple[tuple[str, int | None], ...]
    written: tuple[tuple[int, ...], ...]
    places: tuple[int | None, ...]
    changed: tuple[int, ...]
    axes: int


def stateful(jaxpr: Any) -> bool:
    """Tell whether equations of a jaxpr take or make mutable arrays."""
    return any(
        eqn.primitive.name in _MAKING or any(_compat.is_ref(v.aval) for v in eqn.invars)
        for eqn in jaxpr.eqns
    )


def pure(inner: Any, consts: Sequence[Any], axes: int = 0) -> Pure:
    """The jaxpr without mutable arrays.

    Args:
        inner: a jaxpr that is not closed.
        consts: its constants; without them they are operands.
        axes: the axes of the grid: the first operands of the result are the position on each axis
            and the size of each, where ``program_id`` asks for them.
    """
    free = inner.constvars if len(consts) < len(inner.constvars) else []
    walk = _Walk([Var(_POSITION) for _ in range(2 * axes)])
    constvars = [] if free else list(map(walk.declared, inner.constvars))
    invars = list(map(walk.declared, [*free, *inner.invars]))
    before = dict(walk.env)
    for eqn in inner.eqns:
        walk.equation(eqn)
    operands = [*free, *inner.invars]
    written = tuple(
        k for k, v in enumerate(operands) if _compat.is_ref(v.aval) and walk.env[v] is not before[v]
    )
    results = [walk.read(v) for v in (*inner.outvars, *(operands[k] for k in written))]
    values = [] if free else [c[...] if _compat.is_ref(v.aval) else c
                              for c, v in zip(consts, inner.constvars, strict=True)]  # fmt: skip
    head = constvars, values, [*walk.position, *invars]
    return Pure(_compat.closed(inner, *head, walk.eqns, results), written)


_POSITION = _compat.ShapedArray((), np.dtype(np.int32))


class _Walk:
    """Equations without mutable arrays, and the values that variables have by now."""

    def __init__(self, position: list[Var]):
        self.position = position
        self.env: dict[Var, Atom] = {}
        self.eqns: list[Equation] = []

    def declared(self, var: Var) -> Var:
        new = Var(_compat.value_of_ref(var.aval)) if _compat.is_ref(var.aval) else var
        return self.env.setdefault(var, new)  # type: ignore[return-value]

    def read(self, atom: Atom) -> Atom:
        return atom if isinstance(atom, Literal) else self.env.get(atom, atom)

    def equation(self, eqn: Equation) -> None:
        name = eqn.primitive.name
        if name in ("new_ref", "freeze"):
            self.env[eqn.outvars[0]] = self.read(eqn.invars[0])
        elif name == "program_id":
            self.env[eqn.outvars[0]] = self.position[eqn.params["axis"]]
        elif name == "num_programs":
            sizes = self.position[len(self.position) // 2 :]
            self.env[eqn.outvars[0]] = sizes[eqn.params["axis"]]
        elif (
            name in _MAKING
            or any(_compat.is_ref(v.aval) for v in eqn.invars)
            or (self.position and _asks(eqn))
        ):
            self.of_refs(eqn)
        else:
            self.eqns.append(eqn.replace(invars=[self.read(atom) for atom in eqn.invars]))

    def of_refs(self, eqn: Equation) -> None:
        """Emit the equation that takes values in the place of one that takes mutable arrays."""
        refs = list(dict.fromkeys(v for v in eqn.invars if _compat.is_ref(v.aval)))
        params: dict[str, Any] = dict(_compat.params_of(eqn))
        bodies = {}
        for param in [p for p in _BODIES.get(eqn.primitive.name, ()) if p in params]:
            value = params.pop(param)
            many = enumerate(value) if isinstance(value, tuple) else [(None, value)]
            bodies |= {(param, k): self.body(eqn, body) for k, body in many}
        places = tuple(refs.index(v) if _compat.is_ref(v.aval) else None for v in eqn.invars)
        changed = _changed(eqn, places, bodies)
        kept = Kept(params, tuple(bodies), tuple(body.written for body in bodies.values()),
                       places, changed, len(self.position) // 2)  # fmt: skip
        values = [self.read(v) for v in eqn.invars if not _compat.is_ref(v.aval)]
        made = [v for v in eqn.outvars if _compat.is_ref(v.aval)]
        new = [Var(_compat.value_of_ref(refs[place].aval)) for place in changed]
        results = [self.declared(v) if v in made else v for v in eqn.outvars]
        self.eqns.append(
            _compat.equation(
                primitive_of(eqn.primitive.name),
                [*self.position, *map(self.read, refs), *values],
                [*new, *results],
                {"kept": kept, "bodies": tuple(body.jaxpr for body in bodies.values())},
                eqn.source_info,
            )
        )
        self.env |= {refs[place]: v for place, v in zip(changed, new, strict=True)}

    def body(self, eqn: Equation, body: Any) -> Pure:
        inner, consts = opened(body)
        # Its constants, where a JAX version has any, are tracers: they are the operands.
        own = () if eqn.primitive.name == "run_scoped" else consts
        return pure(inner, own, len(self.position) // 2)


def primitive_of(name: str) -> core.Primitive:
    """A primitive of values, whose name no primitive has that may do without mutable arrays."""
    primitive = core.Primitive(f"{name} of a ref" if name in _BODIES else name)
    primitive.multiple_results = True
    return primitive


def _asks(eqn: Equation) -> bool:
    """Tell whether the bodies of an equation ask for the position in the grid."""
    bodies = [opened(body)[0] for body in core.jaxprs_in_params(eqn.params)]
    return any(e.primitive.name in ("program_id", "num_programs") or _asks(e)
               for body in bodies for e in body.eqns)  # fmt: skip


def _changed(
    eqn: Equation, places: Sequence[int | None], bodies: Mapping[Any, Pure]
) -> tuple[int, ...]:
    """The mutable arrays that an equation writes."""
    if eqn.primitive.name in _WRITING:
        return (places[0],)  # type: ignore[return-value]
    shift = _SHIFTS.get(eqn.primitive.name, lambda eqn, param: 0)
    out = set()
    for (param, _), body in bodies.items():
        at = [k + shift(eqn, param) for k in body.written]
        out |= {places[k] for k in at if k < len(places) and places[k] is not None}
    return tuple(sorted(out))  # type: ignore[type-var]


#: Primitives that make mutable arrays, for themselves or for others.
_MAKING = frozenset({"new_ref", "empty_ref", "run_scoped", "run_state"})
#: Primitives that write their first operand.
_WRITING = frozenset({"swap", "addupdate", "masked_swap"})
#: The parameters that are bodies.
_BODIES = {
    **{name: (param,) for name, param in calls.CALLEE.items()},
    **forms.BODIES,
    "run_scoped": ("jaxpr",),
    "run_state": ("jaxpr",),
}
#: How far the operands of a body lie behind the first operand of its equation.
_SHIFTS: Mapping[str, Callable[[Equation, str], int]] = {
    "cond": lambda eqn, param: 1,
    "while": lambda eqn, param: eqn.params["cond_nconsts"] if param == "body_jaxpr" else 0,
}

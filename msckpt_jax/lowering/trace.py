"""A network as a jaxpr whose arguments are named: its weights, then its inputs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core, source_info_util

from msckpt_jax import _compat, names
from msckpt_jax.errors import ExportError
from msckpt_jax.graph import nesting, widths
from msckpt_jax.lowering import (
    advice,
    callables,
    freedoms,
    hoisting,
    kinds,
    naming,
    nets,
    side_effects,
    symbols,
    training,
    viewing,
)
from msckpt_jax.lowering.problems import caller, failures, line_of, reason_of
from msckpt_jax.lowering.rewrites import random
from msckpt_jax.specs import is_spec

# Our own frames are none of the user's: messages name the line that called JAX.
source_info_util.register_exclusion(__file__)


class Traced(NamedTuple):
    """A network as a jaxpr: arguments are the weights, then the inputs.

    ``function`` takes the leaves of the network as a list, then the inputs; ``inputs`` are
    examples of these, flat: arrays, or types where none was given, with symbolic sizes where they
    are dynamic. ``notes`` are about its mode, and about results that depend on the library.
    ``results`` are their names, empty where they have none. ``own``: the leaves where the weights
    are others, those of a convention. ``nesting`` is the note of how arguments and results are
    nested; ``keeps``: weights that nothing uses stay. ``tree`` makes the network's tree of weights,
    if it has one.
    """

    jaxpr: Any
    weights: Mapping[str, Any]
    inputs: Mapping[str, Any]
    function: Callable[..., Any]
    notes: Sequence[str] = ()
    results: Sequence[str] = ()
    own: Mapping[str, Any] | None = None
    nesting: str = ""
    keeps: bool = False
    tree: Callable[[], Any] | None = None

    @property
    def leaves(self) -> Mapping[str, Any]:
        return self.weights if self.own is None else self.own

    def on(self, weights: Mapping[str, Any]) -> Traced:
        """The network on other weights, those of a convention and those that it holds among them.

        Its function is that of the jaxpr, which takes all of them.
        """
        return self._replace(weights=weights, own=None, function=_evaluated(self.jaxpr))


def trace(
    net: Any,
    inputs: Sequence[Any],
    *,
    constraints: Sequence[str] = (),
    as_it_is: bool = False,
    input_names: Sequence[str] | Mapping[str, str] | None = None,
    output_names: Sequence[str] | Mapping[str, str] | None = None,
) -> Traced:
    """The jaxpr of a network, its weights and its inputs by name.

    Modules are in inference mode, and what is left of training is noted, but for ``as_it_is``.
    ``constraints`` are those of the dynamic sizes.
    """
    opened = nets.opened(net)
    tree, notes = (opened.tree, []) if as_it_is else training.inference(opened.tree)
    leaves = names.flatten(tree)
    numbers = [i for i, leaf in enumerate(leaves.leaves) if _is_weight(leaf)]
    weights = {leaf.name: _weight(leaf) for leaf in (leaves.leaves[i] for i in numbers)}
    examples, structure = jax.tree.flatten(tuple(inputs))
    own_names = opened.inputs(tuple(inputs))
    own_names = list(map(names.Unique(), own_names))
    mutable_inputs = list(map(_compat.is_mutable, examples))
    examples = [_example(n, x) for n, x in zip(own_names, examples, strict=True)]
    key_kinds = [_key_kind(value) for value in weights.values()]
    mutable = [_compat.is_mutable(leaves.leaves[i].value) for i in numbers]
    input_kinds = [_key_kind(value) for value in examples]
    examples = list(map(_data, examples))
    specs = symbols.symbolic(dict(zip(own_names, examples, strict=True)), constraints)
    look = callables.Look(opened.function)
    called, more = viewing.viewed(look, opened.function, as_it_is)

    def flat(values: Sequence[Any], *flat_inputs: Any) -> Any:
        whole = [leaf.value for leaf in leaves.leaves]
        given = zip(numbers, values, key_kinds, mutable, strict=False)  # the others are held
        for i, value, kind, is_mutable in given:
            whole[i] = _as_given(value, kind, is_mutable)
        arguments = structure.unflatten(map(_as_given, flat_inputs, input_kinds, mutable_inputs))
        weights = () if tree is None else (leaves.rebuild(whole),)
        return jax.tree_util.tree_map_with_path(_result, called(*weights, *arguments))

    shapes = [_abstract(value) for value in weights.values()]
    jaxpr, types = _jaxpr(flat, shapes, dict(zip(own_names, specs, strict=True)))
    if not jaxpr.out_avals:
        raise ExportError("the function returns no arrays")
    with failures():
        jaxpr, weights, unnamed = hoisting.hoisted(jaxpr, weights, look)
        if not as_it_is:
            whole = callables.Look(opened.function, opened.tree)
            statistics = functools.partial(training.statistics, weights, whole)
            notes += training.notes(jaxpr, statistics, [*weights], types)
    if any((*mutable, *mutable_inputs)):
        notes.append("what the network writes to mutable arrays among its arguments is not kept")
    notes += [*more, *unnamed, *freedoms.notes(jaxpr), *side_effects.notes(jaxpr)]
    tagged = {_tagged(n, v): _data(v) for n, v in weights.items()}
    chosen = naming.chosen("input", input_names, own_names, weights)
    results = naming.results(types) if opened.results is None else opened.results
    results = naming.chosen("output", output_names, results, [*weights, *chosen])
    given = [spec if is_spec(x) else x for x, spec in zip(examples, specs, strict=True)]
    examples = dict(zip(chosen, given, strict=True))

    def whole_tree() -> Any:
        values = [None] * len(leaves.leaves)
        for i, value in zip(numbers, weights.values(), strict=False):
            values[i] = value
        return leaves.rebuild(values)

    whole = None if tree is None else whole_tree
    told = nesting.note(tuple(inputs), types)
    return Traced(
        jaxpr, tagged, examples, flat, notes, results, nesting=told, keeps=opened.keeps, tree=whole
    )


def _jaxpr(
    flat: Callable[..., Any],
    weights: Sequence[jax.ShapeDtypeStruct],
    inputs: Mapping[str, jax.ShapeDtypeStruct],
) -> tuple[Any, Any]:
    """The jaxpr of a function of the weights and the inputs, and the types of its results.

    Raises:
        ExportError: the user's code fails on these inputs; its error is the cause.
    """
    try:
        return jax.make_jaxpr(flat, return_shape=True)(weights, *inputs.values())
    except (ExportError, MemoryError):
        raise
    except Exception as error:
        given = ", ".join(f"{name} of {_shown(type)}" for name, type in inputs.items())
        told = f"{type(error).__name__}: {reason_of(error)}".removesuffix(": ")
        text = f"given {given or 'no inputs'}: {told}"
        line, more = line_of(error) or caller(), advice.advice(error, inputs)
        where, how = line and f"{line}: ", more and f"; {more}"
        raise ExportError(f"{where}the network itself fails in JAX, {text}{how}") from error


def _evaluated(jaxpr: Any) -> Callable[..., Any]:
    """The function of a jaxpr: of its weights as a list, then of the inputs, of any sizes."""
    avals = [var.aval for var in _compat.opened(jaxpr)[0].invars]
    kinds = list(map(_key_kind, avals))
    run = core.jaxpr_as_fun(jaxpr)
    if any(jax.export.is_symbolic_dim(dim) for aval in avals for dim in aval.shape):
        types = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]
        run = jax.export.export(jax.jit(run))(*types).call

    def function(values: Sequence[Any], *inputs: Any) -> Any:
        return run(
            *(_as_given(x, kind, False) for x, kind in zip((*values, *inputs), kinds, strict=True))
        )

    return function


def _shown(type: jax.ShapeDtypeStruct) -> str:
    """``float32[2,3]``."""
    return f"{type.dtype}[{','.join(map(str, type.shape))}]"


def _is_weight(leaf: names.Leaf) -> bool:
    """Tell whether a leaf is a parameter; flags, texts and functions are part of the program.

    Raises:
        TypeError: it has a shape and no values, or is an array of something else than numbers.
    """
    if is_spec(leaf.value):
        text = f"the weight {leaf.name!r} has a shape and no values: initialise the network"
        raise TypeError(text)
    is_array = kinds.is_array(leaf.value) or _compat.is_mutable(leaf.value)
    if isinstance(leaf.value, np.ndarray) and not is_array:
        text = f"the weight {leaf.name!r} is no array of numbers, but of {leaf.value.dtype}"
        raise TypeError(text)
    return is_array


def _weight(leaf: names.Leaf) -> Any:
    value = leaf.value[...] if _compat.is_mutable(leaf.value) else leaf.value
    if isinstance(value, jax.Array):
        return value
    value = np.asarray(value)
    dtype = jax.dtypes.canonicalize_dtype(value.dtype)
    if dtype != value.dtype and value.dtype.kind in "iu" and not widths.survives(value):
        raise ValueError(
            f"the weight {leaf.name!r} has numbers of 64 bits, which JAX would narrow: "
            'jax.config.update("jax_enable_x64", True)'
        )
    return value.astype(dtype, copy=False)


def _key_kind(value: Any) -> str | None:
    """The implementation of PRNG keys, or None for other arrays."""
    return random.implementation(value) if random.is_key(value) else None


def _as_given(value: Any, kind: str | None, mutable: bool) -> Any:
    """A weight as the network has it; the data of a key in a file becomes the key."""
    if mutable:
        return jax.new_ref(value)
    if kind is None or random.is_key(value):
        return value
    return jax.random.wrap_key_data(value, impl=kind)


def _tagged(name: str, value: Any) -> str:
    """The name in a CheckPoint."""
    kind = _key_kind(value)
    return name if kind is None else names.key_tag(name, kind)


def _data(value: Any) -> Any:
    """The numbers of PRNG keys, or their type; other values as they are."""
    if not (random.is_key(value) and isinstance(value, jax.ShapeDtypeStruct)):
        return random.data(value)
    data = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct((), value.dtype))
    return jax.ShapeDtypeStruct((*value.shape, *data.shape), data.dtype)


def _result(path: tuple[Any, ...], value: Any) -> Any:
    if is_spec(value) or not (kinds.is_array(value) or isinstance(value, int | float | complex)):
        where = f" {jax.tree_util.keystr(path)}" if path else ""
        raise ExportError(
            f"the network's result{where} is a {type(value).__name__}: results are arrays"
        )
    return _data(value)


def _abstract(value: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=symbols.explicit(value))


def _example(name: str, value: Any) -> Any:
    if _compat.is_mutable(value):
        value = value[...]
    if isinstance(value, np.ndarray) and not kinds.is_array(value):
        raise TypeError(f"the input {name} is no array of numbers, but of {value.dtype}")
    if is_spec(value) or isinstance(value, jax.Array | np.ndarray):
        if any(isinstance(dim, int) and dim < 0 for dim in value.shape):
            raise ValueError(
                f"the input {name} has a negative size, {value.shape}: dynamic is None"
            )
        return value
    if isinstance(value, bool | int | float | complex | np.generic):
        return np.asarray(jax.numpy.asarray(value))
    raise TypeError(
        f"the input {name} is a {type(value).__name__}: inputs are arrays, ShapeDtypeStructs or "
        "TensorSpecs"
    )

"""A network as a jaxpr whose arguments are named: its weights, then its inputs."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import source_info_util
from jax.sharding import AxisType, NamedSharding

from msckpt_jax import names
from msckpt_jax.errors import ExportError
from msckpt_jax.lowering import freedoms, side_effects, training
from msckpt_jax.lowering.problems import failures
from msckpt_jax.lowering.rewrites import random
from msckpt_jax.specs import is_spec

# Our own frames are none of the user's: messages name the line that called JAX.
source_info_util.register_exclusion(__file__)


class Traced(NamedTuple):
    """A network as a jaxpr: arguments are the weights, then the inputs.

    ``function`` takes the leaves of the network as a list, then the inputs; ``inputs`` are
    examples of these, flat: arrays, or specs where none was given. ``notes`` are about its mode,
    and about results that depend on the library. ``own``: the leaves where the weights are others,
    those of a convention. ``tree`` makes the network's tree of weights, if it has one.
    """

    jaxpr: Any
    weights: Mapping[str, Any]
    inputs: Mapping[str, Any]
    function: Callable[..., Any]
    notes: Sequence[str] = ()
    own: Mapping[str, Any] | None = None
    tree: Callable[[], Any] | None = None

    @property
    def leaves(self) -> Mapping[str, Any]:
        return self.weights if self.own is None else self.own


def trace(net: Any, inputs: Sequence[Any], *, as_it_is: bool = False) -> Traced:
    """The jaxpr of a network, its weights and its inputs by name.

    Modules are in inference mode, and what is left of training is noted, but for ``as_it_is``.
    """
    tree, function = _parts(net)
    notes: list[str] = []
    if not as_it_is:
        tree, notes = training.inference(tree)
    leaves = names.flatten(tree)
    weights = {leaf.name: _weight(leaf.name, leaf.value) for leaf in leaves.leaves}
    examples, structure = jax.tree.flatten(tuple(inputs))
    flat_names = list(map(names.Unique(weights), _input_names(function, tree is None, inputs)))
    examples = [_example(n, x) for n, x in zip(flat_names, examples, strict=True)]
    kinds = [_key_kind(value) for value in weights.values()]
    input_kinds = [_key_kind(value) for value in examples]
    examples = list(map(_data, examples))
    abstract = with_symbols(examples)

    def flat(values: Sequence[Any], *flat_inputs: Any) -> Any:
        values = list(map(_as_key, values, kinds))
        arguments = structure.unflatten(map(_as_key, flat_inputs, input_kinds))
        weights = () if tree is None else (leaves.rebuild(values),)
        return jax.tree.map(_data, function(*weights, *arguments))

    shapes = [_abstract(value) for value in weights.values()]
    jaxpr, results = _jaxpr(flat, shapes, dict(zip(flat_names, abstract, strict=True)))
    if not jaxpr.out_avals:
        raise ExportError("the function returns no arrays")
    if not as_it_is:
        with failures():
            notes += training.notes(jaxpr, tree, [*weights], results)
    notes += freedoms.notes(jaxpr) + side_effects.notes(jaxpr)
    tagged = {_tagged(n, v): _data(v) for n, v in weights.items()}
    examples = dict(zip(flat_names, examples, strict=True))
    whole = None if tree is None else lambda: leaves.rebuild([*weights.values()])
    return Traced(jaxpr, tagged, examples, flat, notes, tree=whole)


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
    except (ExportError, MemoryError, RecursionError):
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        given = ", ".join(f"{name} of {_shown(type)}" for name, type in inputs.items())
        raise ExportError(
            f"the network itself fails in JAX, given {given or 'no inputs'}: "
            f"{type(error).__name__}: {reason}"
        ) from error


def _shown(type: jax.ShapeDtypeStruct) -> str:
    """``float32[2,3]``."""
    return f"{type.dtype}[{','.join(map(str, type.shape))}]"


def _parts(net: Any) -> tuple[Any, Callable[..., Any]]:
    """The tree of weights, and the function of it and the inputs."""
    if names.is_module(net):
        return net, lambda module, *inputs: module(*inputs)
    _check_no_class(net)
    if isinstance(net, tuple) and len(net) == 2:
        function, tree = net
        _check_no_class(function)
        function = getattr(function, "apply", function)
        if callable(function):
            return tree, function
    if _is_linen(net):
        raise TypeError("a linen module has no weights of its own: pass (module, variables)")
    if not callable(net):
        raise TypeError(
            f"net must be a function, an nnx.Module or a pair (function, weights), not "
            f"{type(net).__name__}"
        )
    return None, net


def _check_no_class(net: Any) -> None:
    if isinstance(net, type):
        raise TypeError(
            f"{net.__name__} is a class: pass a network that is made of it, {net.__name__}(...)"
        )


def _is_linen(net: Any) -> bool:
    linen = sys.modules.get("flax.linen")
    return linen is not None and isinstance(net, linen.Module)


def _weight(name: str, value: Any) -> Any:
    if is_spec(value):
        raise TypeError(f"the weight {name!r} has a shape and no values: initialise the network")
    if isinstance(value, jax.Array):
        return value
    value = np.asarray(value)
    if value.dtype.kind in "OSUmM":
        raise TypeError(f"the weight {name!r} is no array of numbers, but of {value.dtype}")
    return value.astype(jax.dtypes.canonicalize_dtype(value.dtype), copy=False)


def _key_kind(value: Any) -> str | None:
    """The implementation of PRNG keys, or None for other arrays."""
    return random.implementation(value) if random.is_key(value) else None


def _as_key(value: Any, kind: str | None) -> Any:
    """A weight as the network has it; the data of a key in a file becomes the key."""
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


def _abstract(value: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=explicit(value))


def explicit(value: Any) -> NamedSharding | None:
    """The sharding of a value if it belongs to its type: functions may ask for it."""
    sharding = getattr(value, "sharding", None)
    if not isinstance(sharding, NamedSharding) or AxisType.Explicit not in sharding.mesh.axis_types:
        return None
    return sharding


def _input_names(function: Callable[..., Any], bare: bool, inputs: Sequence[Any]) -> list[str]:
    """A name for each leaf: the function's own argument, and the path in it."""
    try:
        own = [p.name for p in inspect.signature(function).parameters.values()
               if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]  # fmt: skip
    except (TypeError, ValueError):
        own = []
    own = own if bare else own[1:]
    arguments = own[: len(inputs)] + [f"x{i}" for i in range(len(own), len(inputs))]
    out = []
    for name, tree in zip(arguments, inputs, strict=True):
        for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]:
            inner = jax.tree_util.keystr(path, simple=True, separator=".")
            out.append(f"{name}.{inner}" if inner else name)
    return out


def _example(name: str, value: Any) -> Any:
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


def with_symbols(examples: Sequence[Any]) -> list[jax.ShapeDtypeStruct]:
    """The types of the inputs; sizes that are None or a name become symbolic dimensions."""
    scope, unnamed = jax.export.SymbolicScope(), 0
    out = []
    for example in examples:
        dims = []
        for dim in example.shape:
            if dim is None:
                dim, unnamed = f"d{unnamed}", unnamed + 1
            dims.append(str(dim) if isinstance(dim, str) else dim)
        if any(isinstance(dim, str) for dim in dims):
            dims = jax.export.symbolic_shape(",".join(map(str, dims)), scope=scope)
        dtype = jax.dtypes.canonicalize_dtype(example.dtype)
        out.append(jax.ShapeDtypeStruct(tuple(dims), dtype, sharding=explicit(example)))
    return out

"""The arguments of a call of a model, against what its file says of them.

Sizes may differ where no constant of the graph fixes them, and floats may have another width:
both are told where an operator then fails. Weights have the file's shapes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msckpt_jax.graph import widths
from msckpt_jax.graph.listing import show
from msckpt_jax.graph.values import Tensor
from msckpt_jax.names import segment
from msckpt_jax.specs import TensorSpec, is_spec
from msckpt_jax.visible import lines, visible

_Spec = TensorSpec | jax.ShapeDtypeStruct
#: Kinds of numbers, in none of which a number of another becomes itself.
_KINDS = (jnp.bool_, jnp.signedinteger, jnp.unsignedinteger, jnp.floating, jnp.complexfloating)
#: The lines that a message has of each thing.
_MOST = 8


def parameters(
    file: str, own: Mapping[str, Any], given: Mapping[str, Any], enabled: bool
) -> dict[str, Any]:
    """The weights of a call, by the file's.

    Where JAX has made 32 bits of 64, they have 64 again if the file's numbers stay what they are.

    Args:
        file: the file, for messages.
        own: the weights of the file.
        given: those of the call.
        enabled: whether JAX had 64 bits where the call was made.

    Raises:
        KeyError: a parameter is missing, or the model has none of such a name.
        TypeError: they are no dict, or one is no array, or holds another kind of numbers than
            the file's.
        ValueError: one has another shape, or JAX has narrowed numbers that need 64 bits.
    """
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise TypeError(visible(f"{file}: parameters must be a dict like f.parameters, not {kind}"))
    if given.keys() != own.keys():
        raise KeyError(f"{file}: {_names_that_differ(own, given)}; f.parameters has them all")
    return {
        name: _parameter(file, name, own[name], value, enabled) for name, value in given.items()
    }


def _names_that_differ(own: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    missing = [name for name in own if name not in given]
    unknown = [name for name in given if name not in own]
    text = f"parameters are missing: {some(missing)}" if missing else ""
    if unknown:
        close = difflib.get_close_matches(str(unknown[0]), missing or list(own), 1)
        nearest = f" (nearest: {close[0]!r})" if close else ""
        text += f"{'; ' if text else ''}the model has no {some(unknown)}{nearest}"
    return text


def some(names: Sequence[str]) -> str:
    """The first names of many."""
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" * (len(names) > 5))


def _parameter(file: str, name: str, own: Any, value: Any, enabled: bool) -> Any:
    wanted = _type(own)
    try:
        found = _type(value)
    except (TypeError, ValueError):
        text = f"{file}: the parameter {name!r} is no array: expected {show(wanted)}, found "
        raise TypeError(visible(f"{text}{type(value).__name__}")) from None
    if wanted == found:
        return value
    sides = f"expected {show(wanted)}, found {show(found)}"
    if wanted.shape != found.shape:
        raise ValueError(visible(f"{file}: the parameter {name!r} is of another shape: {sides}"))
    if _kind(wanted.dtype) is not _kind(found.dtype):
        raise TypeError(
            visible(f"{file}: the parameter {name!r} holds other numbers: {sides}; cast them")
        )
    if enabled or widths.narrowed(wanted.dtype) != found.dtype:
        return value
    if not widths.survives(own):
        raise ValueError(visible(
            f"{file}: the parameter {name!r} has numbers of 64 bits, which JAX has narrowed "
            f"({sides}): pass f.on_device, which keeps them, or "
            'jax.config.update("jax_enable_x64", True)'
        ))  # fmt: skip
    return jnp.asarray(value).astype(wanted.dtype)


def inputs(file: str, names: Sequence[str], wanted: tuple[Any, ...], given: Any) -> list[Any]:
    """The inputs of a call, flat, by those of the file; all may be given flat, too.

    Raises:
        TypeError: their number or structure is another, or one holds another kind of numbers.
        ValueError: one has another number of axes.
    """
    specs = dict(_paths(wanted))
    leaves = {tuple(map(segment, path)): leaf for path, leaf in _leaves(given)}
    if leaves.keys() != specs.keys() and [*leaves] != [(str(k),) for k in range(len(specs))]:
        told = [f"  {name}: {shown(s)}" for name, s in zip(names, specs.values(), strict=True)]
        raise TypeError(lines([
            f"{file}: the model takes {_arguments(wanted, iter(names))}, and was given "
            f"{_given(given)}:", *_first(told)
        ]))  # fmt: skip
    ordered = [leaves[path] for path in (specs if leaves.keys() == specs.keys() else leaves)]
    return [
        _input(file, name, spec, value)
        for name, spec, value in zip(names, specs.values(), ordered, strict=True)
    ]


def _paths(wanted: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The leaves of arguments in the file's order, with their paths."""
    parts = wanted.items() if isinstance(wanted, dict) else enumerate(wanted or ())
    for key, part in parts:
        at = (*path, str(key))
        if is_spec(part):
            yield at, part
        else:
            yield from _paths(part, at)


def names(own: Sequence[str], wanted: tuple[Any, ...], given: Any) -> list[str] | None:
    """The file's name for each leaf of a call's inputs; None where these are others."""
    by_path = dict(zip((path for path, _ in _paths(wanted)), own, strict=True))
    paths = [tuple(map(segment, path)) for path, _ in _leaves(given)]
    if by_path.keys() == set(paths):
        return [by_path[path] for path in paths]
    return [*own] if len(own) == len(paths) else None


def _leaves(given: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_flatten_with_path(given)[0]


def _arguments(wanted: Any, names: Iterator[str]) -> str:
    """The arguments as a call has them: ``(x, (pair.0, pair.1))``."""
    if isinstance(wanted, tuple):
        parts = [_arguments(part, names) for part in wanted]
        return f"({', '.join(parts)}{',' * (len(parts) == 1)})"
    if isinstance(wanted, Mapping):
        parts = [f"{key!r}: {_arguments(part, names)}" for key, part in wanted.items()]
        return f"{{{', '.join(parts)}}}"
    return next(names)


def _given(given: Any) -> str:
    """What was given in place of arguments, as text: ``(f32[2,4], None)``."""
    types = jax.tree.map(lambda leaf: _Text(shown(leaf)), given)
    text = repr(types)
    return text if len(text) < 300 else f"{text[:300]}..."


class _Text(str):
    def __repr__(self) -> str:
        return str(self)


def _input(file: str, name: str, wanted: _Spec, value: Any) -> jax.Array:
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        text = f"{file}: the input {name!r} is no array: expected {shown(wanted)}, found "
        raise TypeError(visible(f"{text}{type(value).__name__}")) from error
    is_number = isinstance(value, int | float | complex)  # which any array may be
    if array.ndim != len(wanted.shape) and not is_number:
        raise ValueError(visible(
            f"{file}: the input {name!r} has another number of axes: expected {shown(wanted)}, "
            f"found {shown(array)}"
        ))  # fmt: skip
    if _kind(array.dtype) is not _kind(wanted.dtype):
        if not getattr(array, "weak_type", False) or array.dtype.kind not in "if":
            raise TypeError(visible(
                f"{file}: the input {name!r} holds other numbers: expected {shown(wanted)}, found "
                f"{shown(array)}; cast it"
            ))  # fmt: skip
        if array.dtype.kind == "f" and not jnp.issubdtype(wanted.dtype, jnp.inexact):
            raise TypeError(visible(
                f"{file}: the input {name!r} is a fraction: expected {shown(wanted)}, found "
                f"{shown(array)}"
            ))  # fmt: skip
        return array.astype(wanted.dtype)
    narrowed = widths.narrowed(np.dtype(wanted.dtype)) == array.dtype != wanted.dtype
    is_fraction = is_number and array.dtype.kind in "fc"  # Python's has 64 bits where JAX has
    return array.astype(wanted.dtype) if narrowed or is_fraction else array


def differences(names: Sequence[str], wanted: Any, given: Sequence[Any]) -> list[str]:
    """The inputs that differ from the file's in shape or dtype, a line each."""
    specs = [spec for _, spec in _paths(wanted)]
    return _first([
        f"  {name}: expected {shown(spec)}, found {shown(value)}"
        for name, spec, value in zip(names, specs, given, strict=True)
        if not _fits(spec, value)
    ])  # fmt: skip


def other_sizes(names: Sequence[str], wanted: Any, given: Sequence[Any]) -> list[str]:
    """The inputs that differ from the file's in sizes that are not dynamic, a text each."""
    return _first([
        f"{name}: expected {shown(spec)}, found {shown(value)}"
        for name, (_, spec), value in zip(names, _paths(wanted), given, strict=True)
        if any(dim not in (None, size) for dim, size in zip(spec.shape, value.shape, strict=False))
    ])  # fmt: skip


def _fits(spec: _Spec, value: Any) -> bool:
    shape = jnp.shape(value)
    known = [dim is None or dim == size for dim, size in zip(spec.shape, shape, strict=False)]
    return len(spec.shape) == len(shape) and all(known) and value.dtype == spec.dtype


def _first(told: list[str]) -> list[str]:
    more = len(told) - _MOST
    return told if more <= 0 else [*told[:_MOST], f"  and {more} more"]


def _type(value: Any) -> Tensor:
    shape = getattr(value, "shape", None)
    dtype = getattr(value, "dtype", None)
    dtype = jnp.result_type(np.asarray(value)) if dtype is None else dtype
    return Tensor(dtype, np.shape(value) if shape is None else tuple(shape))


def _kind(dtype: Any) -> Any:
    return next((kind for kind in _KINDS if jnp.issubdtype(dtype, kind)), None)


def shown(value: Any) -> str:
    """The type of an array as text, such as ``f32[2,4]``; of a value that is none, its class."""
    if is_spec(value):
        return show(Tensor(np.dtype(value.dtype), tuple(dim if dim is not None else "?"
                                                         for dim in value.shape)))  # fmt: skip
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return show(_type(value))
    return type(value).__name__

"""The value that one leaf gets from the parameters: checked, cast, and placed where it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from msckpt_jax import names
from msckpt_jax.checkpoint import narrowing, placement, stored
from msckpt_jax.checkpoint.leaves import is_key
from msckpt_jax.errors import CheckpointError
from msckpt_jax.visible import warn

# A tuple: to make a union for each leaf takes longer than to test it.
_ON_DEVICE = (jax.Array, jax.ShapeDtypeStruct)
# MindSpore casts within these groups only (train/serialization.py, _update_param).
_FLOATS = {"float16", "float32", "float64", "bfloat16"}
_INTS = {"int4", "int8", "int16", "int32", "int64"}


class Target(NamedTuple):
    """The array that a leaf of the network wants: ``dtype`` None stands for a str."""

    shape: tuple[int, ...]
    dtype: Any
    sharding: jax.sharding.Sharding | None


def request(
    name: str,
    parameters: Mapping[str, Any],
    dtype: np.dtype,
    sharding: jax.sharding.Sharding | None,
    shape: tuple[int, ...] | None = None,
    held: Any = None,
) -> placement.Request:
    """The request for an array: by pieces of the file where the value still lies there.

    Values that do not fit ``dtype`` are refused when they are read. ``held`` is their dtype in the
    file, where it is known already.
    """
    if held is None:
        _, held = stored.shape_and_dtype(name, parameters)
    shape, pieces = stored.pieces(name, parameters, shape)
    file = stored.file_of(parameters)
    pieces = narrowing.checked(pieces, held, dtype, name=name, file=file)
    return placement.Request(name, shape, pieces, dtype, sharding)


def without_x64(name: str, dtype: np.dtype) -> np.dtype:
    """The dtype that JAX can hold now: floats lose precision with a warning, ints must fit."""
    canonical = np.dtype(jax.dtypes.canonicalize_dtype(dtype))
    if canonical != dtype and dtype.kind not in "iu":
        warn(
            f"{name} is {dtype} and becomes {canonical}: set jax_enable_x64 to keep it",
            stacklevel=4,
        )
    return canonical


def wanted_value(
    leaf: names.Leaf, key: str, parameters: Mapping[str, Any], strict: bool, casts: list[str]
) -> placement.Request | Callable[[], Any]:
    """A request for an array on devices, or a function that reads anything else."""
    target = _target(leaf)
    shape, dtype = stored.shape_and_dtype(key, parameters)
    where = {"name": leaf.name, "file": stored.file_of(parameters)}
    if target.dtype is None or dtype is None or is_key(target.dtype) or is_key(dtype):
        if target.dtype != dtype or target.shape != shape:
            raise CheckpointError(
                "the value is of another kind",
                expected=_describe(target.dtype, target.shape),
                found=_describe(dtype, shape),
                **where,
            )
        return lambda: _put(parameters[key], target.sharding)
    if shape != target.shape and not stored.trailing_ones(shape, target.shape):
        raise CheckpointError(
            "the shape differs", expected=list(target.shape), found=list(shape), **where
        )
    if dtype != target.dtype:
        if strict or not _castable(dtype, target.dtype):
            raise CheckpointError("the dtype differs", expected=target.dtype, found=dtype, **where)
        if target.dtype.name != "uint4":
            casts.append(f"{leaf.name} from {dtype} to {target.dtype}")
    on_device = isinstance(leaf.value, _ON_DEVICE)
    held = without_x64(leaf.name, target.dtype) if on_device else target.dtype
    wanted = request(key, parameters, held, target.sharding, target.shape, dtype)
    if on_device:
        return wanted
    if isinstance(leaf.value, np.ndarray):
        return lambda: placement.read(wanted)
    return lambda: type(leaf.value)(placement.read(wanted)[()])


def _target(leaf: names.Leaf) -> Target:
    value = leaf.value
    if isinstance(value, _ON_DEVICE):
        sharding = value.sharding if getattr(value, "committed", True) else None
        return Target(value.shape, value.dtype, sharding)
    if isinstance(value, str):
        return Target((), None, None)
    if isinstance(value, bool | int | float) and not isinstance(value, np.generic):
        # Saved as Bool, Int64, Float64 or, from an append_dict, Float32.
        return Target((), np.dtype(type(value)), None)
    if isinstance(value, np.ndarray | np.generic):
        return Target(value.shape, value.dtype, None)
    raise TypeError(f"{leaf.name!r} is a {type(value).__name__}, which no CheckPoint holds")


def _describe(dtype: Any, shape: tuple[int, ...]) -> str:
    return "a str" if dtype is None else f"{dtype}{list(shape)}"


def _castable(old: np.dtype, new: np.dtype) -> bool:
    pair = {old.name, new.name}
    # uint4 is stored as UInt8, the only unsigned pair that has to meet again.
    return pair <= _FLOATS or pair <= _INTS or (old.name, new.name) == ("uint8", "uint4")


def _put(value: Any, sharding: jax.sharding.Sharding | None) -> Any:
    return value if isinstance(value, str) else jax.device_put(value, sharding)

"""``narrow=True``: dtypes of 64 bits, which Ascend's cores lack, become those of half the bits."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from msckpt_jax.errors import UnsupportedError

NARROW = {
    np.dtype(np.float64): np.dtype(np.float32),
    np.dtype(np.int64): np.dtype(np.int32),
    np.dtype(np.complex128): np.dtype(np.complex64),
}


def constant(array: np.ndarray, wanted: np.dtype) -> np.ndarray:
    """A constant in a narrow dtype; extremes, which mean "no bound", become those of that dtype.

    Raises:
        UnsupportedError: if the narrow dtype lacks another number.
    """
    narrowed, lost = _cast(array, wanted)
    for old, new in zip(_extremes(array.dtype), _extremes(wanted), strict=True):
        narrowed = np.where(array == old, wanted.type(new), narrowed)
        lost &= array != old
    _refuse(array, lost, wanted, "a constant")
    return narrowed


def check_weight(data: Any, wanted: np.dtype) -> None:
    """Refuse a weight, in one piece or in shards, if a narrow dtype lacks one of its numbers."""
    shards = data.addressable_shards if isinstance(data, jax.Array) else None
    for part in [data] if shards is None else [shard.data for shard in shards]:
        array = np.asarray(part)
        _refuse(array, _cast(array, wanted)[1], wanted, "it")


def _cast(array: np.ndarray, wanted: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """The array in a dtype, and where an integer is another now, or a finite number infinite."""
    with np.errstate(over="ignore"):
        narrowed = array.astype(wanted)
    if wanted.kind == "i":
        return narrowed, narrowed != array
    return narrowed, np.isfinite(array) & ~np.isfinite(narrowed)


def _extremes(dtype: np.dtype) -> tuple[Any, ...]:
    if dtype.kind == "c":
        return ()
    info = np.iinfo(dtype) if dtype.kind == "i" else np.finfo(dtype)
    return info.min, info.max


def _refuse(array: np.ndarray, lost: np.ndarray, wanted: np.dtype, subject: str) -> None:
    if lost.any():
        raise UnsupportedError(
            f"narrow=True: {subject} has {array[lost][0]}, which is no {wanted.name}"
        )

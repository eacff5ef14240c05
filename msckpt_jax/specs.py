"""``TensorSpec``: the type of an array some of whose sizes are open."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """The shape and dtype of an array; a size that is None, a name or a text of names is dynamic.

    ``jax.ShapeDtypeStruct`` is the same with sizes that are all known (or symbolic, from
    ``jax.export.symbolic_shape``): from JAX 0.11.2 it refuses None.

    Attributes:
        shape: the sizes; equal names are equal sizes, ``"2*s + 1"`` is one that follows from ``s``.
        dtype: a NumPy dtype, or what makes one.

    Raises:
        TypeError: the shape is no tuple of such sizes, or there is no such dtype.

    Example:
        >>> spec = ms.TensorSpec((None, 3), "float32")
        >>> ms.export(lambda x: x + 1, spec, file_name="net").file.name
        'net.mindir'
    """

    shape: tuple[int | str | None, ...]
    dtype: np.dtype

    def __init__(self, shape: Iterable[int | str | None], dtype: Any):
        object.__setattr__(self, "shape", _sizes(shape))
        object.__setattr__(self, "dtype", _dtype(dtype))

    def __repr__(self) -> str:
        return f"TensorSpec({self.shape}, {self.dtype.name})"


def _sizes(shape: Any) -> tuple[Any, ...]:
    if isinstance(shape, str | bytes | Mapping) or not isinstance(shape, Iterable):
        raise TypeError(f"shape must be a tuple of sizes, not {shape!r}")
    return tuple(map(_size, shape))


def _size(size: Any) -> Any:
    if size is None or isinstance(size, str) or jax.export.is_symbolic_dim(size):
        return size
    try:
        return operator.index(size)
    except TypeError:
        raise TypeError(f"a size must be an int, None or a text, not {size!r}") from None


def _dtype(dtype: Any) -> np.dtype:
    try:
        made = None if dtype is None else np.dtype(dtype)  # of None NumPy makes float64
    except (TypeError, ValueError):
        made = None
    if made is None or made.fields is not None or not made.itemsize:
        raise TypeError(f"dtype must be one of NumPy or ml_dtypes, not {dtype!r}")
    return made


def spec(shape: Iterable[int | str | None], dtype: Any) -> TensorSpec | jax.ShapeDtypeStruct:
    """A ``jax.ShapeDtypeStruct``, or a TensorSpec where a size is open."""
    sizes = tuple(shape)
    is_open = any(size is None or isinstance(size, str) for size in sizes)
    return (TensorSpec if is_open else jax.ShapeDtypeStruct)(sizes, dtype)  # type: ignore[arg-type]


def is_spec(value: Any) -> bool:
    """Tell whether a value has a shape and a dtype, but no numbers."""
    return isinstance(value, TensorSpec | jax.ShapeDtypeStruct)

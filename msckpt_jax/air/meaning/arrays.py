"""Operators that make, cut and join tensors, and change their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from msckpt_jax.air.meaning.operands import (
    Meaning,
    NotRunError,
    alike,
    along,
    axes_of,
    axis_of,
    dtype_of,
    ints,
)


def _concat(parts: Sequence[Any], axis: Any) -> Any:
    alike(*parts)
    (axis,) = axes_of(axis, parts[0].ndim)
    return jnp.concatenate(parts, axis)


def _stack(parts: Sequence[Any], *, axis: int) -> Any:
    alike(*parts)
    return jnp.stack(parts, axis)


def _flatten(x: Any, *, axis: int) -> Any:
    at = axis if axis == x.ndim else axis_of(axis, x.ndim)
    return x.reshape((int(np.prod(x.shape[:at])), int(np.prod(x.shape[at:]))))


def _one_hot(x: Any, depth: Any, on: Any, off: Any, *, axis: int) -> Any:
    alike(on, off)
    (depth,) = ints(depth)
    axis = axis_of(axis, jnp.ndim(x) + 1)
    hot = jnp.expand_dims(x, axis) == along(jnp.arange(depth, dtype=x.dtype), x.ndim + 1, axis)
    return jnp.where(hot, on, off)


def _pad(
    x: Any, paddings: Any, value: Any = None, *,
    mode: str = "constant", paddings_contiguous: bool = True,
) -> Any:  # fmt: skip
    pairs = np.asarray(ints(paddings)).reshape(-1, 2)
    if not paddings_contiguous:  # all low paddings come first
        pairs = pairs.reshape(2, -1).T
    if len(pairs) != np.ndim(x):
        raise ValueError(f"paddings of {len(pairs)} axes for a tensor of rank {np.ndim(x)}")
    if mode != "constant":
        return jnp.pad(x, pairs, mode={"reflect": "reflect", "edge": "edge"}[mode])
    fill = jnp.zeros((), x.dtype) if value is None else jnp.reshape(value, ())
    alike(x, fill)
    return lax.pad(x, fill, [(low, high, 0) for low, high in pairs])


def _range(start: Any, limit: Any, delta: Any, *, is_closed: bool) -> Any:
    if is_closed:
        raise NotRunError("Range with is_closed is not run in JAX")
    if any(isinstance(bound, Tracer) for bound in (start, limit, delta)):
        raise NotRunError("the bounds of Range have to be constants when the file runs in JAX")
    alike(start, limit, delta)
    bounds = (np.asarray(bound).item() for bound in (start, limit, delta))
    return jnp.arange(*bounds, dtype=jnp.result_type(start))


def _reshape(x: Any, shape: Any, *, axis: int, num_axes: int) -> Any:
    rank = np.ndim(x)
    if not -rank - 1 <= axis <= rank or not -1 <= num_axes <= rank:
        raise ValueError(f"axis {axis} and num_axes {num_axes} of a tensor of rank {rank}")
    if (axis, num_axes) != (0, -1):
        raise NotRunError("Reshape of some axes is not run in JAX")
    dims = [np.shape(x)[i] if dim == 0 and x.size else dim for i, dim in enumerate(ints(shape))]
    return jnp.reshape(x, dims)


def _slice(x: Any, offsets: Any, size: Any) -> Any:
    size = ints(size)
    if isinstance(offsets, Tracer):
        return lax.dynamic_slice(x, list(offsets), size)
    begin = ints(offsets)
    ends = [s if n == -1 else b + n for b, n, s in zip(begin, size, x.shape, strict=True)]
    return lax.slice(x, begin, ends)


def _split(axis: Any, x: Any, *, num_split: int) -> Any:
    (axis,) = axes_of(axis, x.ndim)
    return tuple(jnp.split(x, num_split, axis))


def _split_sizes(x: Any, sizes: Any, axis: Any, *, num_split: int) -> Any:
    (axis,) = axes_of(axis, x.ndim)
    sizes = ints(sizes)
    if len(sizes) != num_split or min(sizes, default=0) < 0 or sum(sizes) != x.shape[axis]:
        raise ValueError(f"{num_split} parts of sizes {sizes} of an axis of size {x.shape[axis]}")
    return tuple(jnp.split(x, np.cumsum(sizes)[:-1], axis))


def _squeeze(x: Any, *, axis: Sequence[int]) -> Any:
    return jnp.squeeze(x, tuple(axis_of(i, x.ndim) for i in axis) or None)


def _strided_slice(
    x: Any, begin: Any, end: Any, strides: Any, *, begin_mask: int, end_mask: int,
    ellipsis_mask: int, new_axis_mask: int, shrink_axis_mask: int,
) -> Any:  # fmt: skip
    index: list[Any] = []
    for i, parts in enumerate(zip(ints(begin), ints(end), ints(strides), strict=True)):
        bit = 1 << i
        first = None if begin_mask & bit else parts[0]
        last = None if end_mask & bit else parts[1]
        if ellipsis_mask & bit:
            index.append(Ellipsis)
        elif new_axis_mask & bit:
            index.append(None)
        elif shrink_axis_mask & bit:
            index.append(_at(parts[0], x.shape, len(index), mask=ellipsis_mask | new_axis_mask))
        else:
            index.append(slice(first, last, parts[2]))
    return x[tuple(index)]


def _at(position: int, shape: Sequence[int], axis: int, mask: int) -> int:
    """A position on an axis that has it; with other axes in between, JAX knows which it is."""
    if not mask and axis < len(shape) and not -shape[axis] <= position < shape[axis]:
        raise ValueError(f"position {position} on axis {axis} of size {shape[axis]}")
    return position


def _tile(x: Any, times: Any) -> Any:
    times = ints(times)
    if len(times) != jnp.ndim(x):
        raise ValueError(f"{len(times)} multiples of a tensor of rank {jnp.ndim(x)}")
    return jnp.tile(x, times)


def _unpack(x: Any, *, num: int, axis: int) -> Any:
    axis = axis_of(axis, x.ndim)
    if x.shape[axis] != num:
        raise ValueError(f"{num} parts of an axis of size {x.shape[axis]}")
    return tuple(jnp.squeeze(part, axis) for part in jnp.split(x, num, axis))


TABLE: dict[str, Meaning] = {
    "BroadcastTo": lambda x, shape: jnp.broadcast_to(x, ints(shape)),
    "Concat": lambda axis, parts: _concat(parts, axis),
    "ConcatV2": _concat,
    "ExpandDims": lambda x, axis: jnp.expand_dims(x, ints(axis)),
    "Fill": lambda dims, value: jnp.full(ints(dims), value),
    "Flatten": _flatten,
    "Identity": lambda x: x,
    "IdentityN": lambda parts: tuple(parts),
    "OneHot": _one_hot,
    "Pack": _stack,
    "Pad": _pad,
    "PadV2": _pad,
    "PadV3": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "ReverseV2": lambda x, axis: jnp.flip(x, axes_of(axis, x.ndim)),
    "Shape": lambda x, *, dtype: np.asarray(x.shape, dtype_of(dtype)),
    "Slice": _slice,
    "Split": _split,
    "SplitV": _split_sizes,
    "Squeeze": _squeeze,
    "StridedSlice": _strided_slice,
    "TensorMove": lambda x: x,
    "Tile": _tile,
    "Transpose": lambda x, order: jnp.transpose(x, ints(order)),
    "Unpack": _unpack,
    "Unsqueeze": lambda x, *, axes: jnp.expand_dims(x, tuple(axes)),
}

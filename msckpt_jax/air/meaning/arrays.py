"""Operators that make, cut and join tensors, and change their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from msckpt_jax.air.meaning.operands import Meaning, along, axes_of, dtype_of, ints


def _concat(parts: Sequence[Any], axis: Any) -> Any:
    (axis,) = axes_of(axis, parts[0].ndim)
    return jnp.concatenate(parts, axis)


def _one_hot(x: Any, depth: Any, on: Any, off: Any, *, axis: int) -> Any:
    (depth,) = ints(depth)
    axis = axis if axis != -1 else jnp.ndim(x)
    hot = jnp.expand_dims(x, axis) == along(jnp.arange(depth, dtype=x.dtype), x.ndim + 1, axis)
    return jnp.where(hot, on, off)


def _pad(
    x: Any, paddings: Any, value: Any = None, *,
    mode: str = "constant", paddings_contiguous: bool = True,
) -> Any:  # fmt: skip
    pairs = np.asarray(ints(paddings)).reshape(-1, 2)
    if not paddings_contiguous:  # all low paddings come first
        pairs = pairs.reshape(2, -1).T
    if len(pairs) < np.ndim(x):
        raise ValueError(f"paddings of {len(pairs)} axes for a tensor of rank {np.ndim(x)}")
    if mode != "constant":
        return jnp.pad(x, pairs, mode={"reflect": "reflect", "edge": "edge"}[mode])
    fill = jnp.asarray(0 if value is None else value, x.dtype).reshape(())
    return lax.pad(x, fill, [(low, high, 0) for low, high in pairs])


def _range(start: Any, limit: Any, delta: Any) -> Any:
    bounds = (np.asarray(bound).item() for bound in (start, limit, delta))
    return jnp.arange(*bounds, dtype=jnp.result_type(start))


def _reshape(x: Any, shape: Any) -> Any:
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


def _split_sizes(x: Any, sizes: Any, axis: Any) -> Any:
    (axis,) = axes_of(axis, x.ndim)
    return tuple(jnp.split(x, np.cumsum(ints(sizes))[:-1], axis))


def _squeeze(x: Any, *, axis: Sequence[int]) -> Any:
    return jnp.squeeze(x, tuple(i % x.ndim for i in axis) or None)


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
            index.append(parts[0])
        else:
            index.append(slice(first, last, parts[2]))
    return x[tuple(index)]


def _unpack(x: Any, *, num: int, axis: int) -> Any:
    axis = axis % x.ndim
    return tuple(jnp.squeeze(part, axis) for part in jnp.split(x, num, axis))


TABLE: dict[str, Meaning] = {
    "BroadcastTo": lambda x, shape: jnp.broadcast_to(x, ints(shape)),
    "Concat": lambda axis, parts: _concat(parts, axis),
    "ConcatV2": _concat,
    "ExpandDims": lambda x, axis: jnp.expand_dims(x, ints(axis)),
    "Fill": lambda dims, value: jnp.full(ints(dims), value),
    "Flatten": lambda x, *, axis: x.reshape((int(np.prod(x.shape[:axis])), -1)),
    "Identity": lambda x: x,
    "IdentityN": lambda parts: tuple(parts),
    "OneHot": _one_hot,
    "Pack": lambda parts, *, axis: jnp.stack(parts, axis),
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
    "Tile": lambda x, times: jnp.tile(x, ints(times)),
    "Transpose": lambda x, order: jnp.transpose(x, ints(order)),
    "Unpack": _unpack,
    "Unsqueeze": lambda x, *, axes: jnp.expand_dims(x, tuple(axes)),
}

"""Gradients of operators that move elements, and what bprop computes of shapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.meaning import arrays, linear
from msckpt_jax.graph.meaning.arrays import ints
from msckpt_jax.graph.meaning.gradients.rule import Gradient, Row, Transpose, gradients


def _broadcast_axes(x: Any, y: Any) -> Any:
    """The axes along which each of two shapes is broadcast to the other."""
    x, y = ints(x), ints(y)
    rank = max(len(x), len(y))
    x, y = ((1,) * (rank - len(shape)) + shape for shape in (x, y))
    pairs = list(zip(x, y, strict=True))
    return (
        np.array([k for k, (a, b) in enumerate(pairs) if a == 1 and a <= b], np.int64),
        np.array([k for k, (a, b) in enumerate(pairs) if b == 1 and b <= a], np.int64),
    )


def _embedding(
    dout: Any, ids: Any, count: int, padding_idx: Any = None, scale_grad_by_freq: bool = False
) -> Any:
    ids = jnp.ravel(ids)
    dout = jnp.reshape(dout, (ids.size, -1))
    if scale_grad_by_freq:
        dout = dout / jnp.bincount(ids, length=count)[ids][:, None].astype(dout.dtype)
    if padding_idx is not None:
        dout = jnp.where((ids == padding_idx % count)[:, None], 0, dout)
    return jnp.zeros((count, dout.shape[1]), dout.dtype).at[ids].add(dout)


def _masked_select(x: Any, mask: Any, dout: Any) -> Any:
    """The gradient has as many elements as the mask has places; their number is in the file."""
    mask = jnp.broadcast_to(mask, x.shape)
    order = jnp.reshape(jnp.cumsum(jnp.ravel(mask)) - 1, x.shape)
    return jnp.where(mask, jnp.take(dout, order, mode="clip"), jnp.zeros((), dout.dtype))


def _repeat(dout: Any, repeats: Any, dim: int) -> Any:
    ids = np.repeat(np.arange(len(ints(repeats))), ints(repeats))
    moved = jnp.moveaxis(dout, dim, 0)
    summed = jnp.zeros((len(ints(repeats)), *moved.shape[1:]), dout.dtype).at[ids].add(moved)
    return jnp.moveaxis(summed, 0, dim)


def _trace(dout: Any, shape: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    x = jnp.zeros(ints(shape), dout.dtype)
    return gradients(lambda x: jnp.trace(x, offset, axis1, axis2), [x], dout)


def _median(
    dout: Any, x: Any, value: Any, place: Any, *, global_median: bool = False, axis: int = 0,
    keep_dims: bool = False,
) -> Any:  # fmt: skip
    """The gradient, all to the place of the median; of the median of all, to its equals alike."""
    if global_median:
        equal = x == value
        return jnp.where(equal, dout / jnp.sum(equal), 0).astype(x.dtype)
    if not keep_dims and x.ndim:
        dout, place = jnp.expand_dims(dout, axis), jnp.expand_dims(place, axis)
    return jnp.put_along_axis(jnp.zeros_like(x), place, dout, axis % x.ndim, inplace=False)


def _without_inserted(parts: Any, index: Any) -> Any:
    """The gradients of a list's parts, of the list with one more: -1 is the last."""
    out = list(parts)
    del out[int(index)]
    return tuple(out)


def _slice_of_sequence(dout: Any, parts: Any, start: Any, stop: Any, step: Any) -> Any:
    """The gradients of a sequence's parts: 0 for those that were left out."""
    out = [jnp.zeros_like(part) for part in parts]
    for k, part in zip(range(len(out))[slice(start, stop, step)], dout, strict=True):
        out[k] = part
    return tuple(out)


def _cholesky(y: Any, dout: Any) -> Any:
    return gradients(linear.TABLE["Cholesky"], [y @ jnp.swapaxes(y, -1, -2)], dout)


def _overlap(x: Any, shape: Any) -> Any:
    """The array in another shape: cut, and padded with zeros."""
    return arrays.pad(x, [(0, n - own) for own, n in zip(x.shape, ints(shape), strict=True)])


def _doubled(x: Any, n: int, dim: int) -> Any:
    """The gradient of the half that IRFFT takes: those places count twice that stand for two."""
    half = x.shape[dim]
    factor = np.full(half, 2, np.int32)
    factor[0] = 1
    if n % 2 == 0 and half == n // 2 + 1:
        factor[-1] = 1
    return x * np.reshape(factor, [-1 if k == dim % x.ndim else 1 for k in range(x.ndim)])


def _reduced_shape(x: tuple[int, ...], axes: tuple[int, ...], skip: bool = False) -> Any:
    """The shape of a sum that keeps its axes, and how often each axis repeats in the operand."""
    chosen = {axis % len(x) for axis in axes} or (set() if skip else set(range(len(x))))
    kept = tuple(1 if k in chosen else n for k, n in enumerate(x))
    return kept, tuple(n if k in chosen else 1 for k, n in enumerate(x))


def _cut_broadcast_axes(x: tuple[int, ...], y: tuple[int, ...], rest: int = 0) -> Any:
    """The axes along which shapes are broadcast, without their last ``rest`` axes."""
    return _broadcast_axes(x[: len(x) - rest], y[: len(y) - rest])


#: What ShapeCalc computes, by its functor: a function of shapes and of small integers.
_OF_SHAPES: dict[str, Callable[..., Any]] = {
    "ShapeCalc_BroadcastGradientArgs": _cut_broadcast_axes,
    "ShapeCalc_ReduceShape": _reduced_shape,
    "ShapeCalc_g_dyn_size": lambda x, _=None: (math.prod(x),),
}


def _shape_calc(*inputs: Any, functor: tuple[Any, ...], only_depend_shape: tuple[bool, ...]) -> Any:
    """Compute with the shapes of operands, or with those that are integers themselves."""
    name, *options = functor
    if name not in _OF_SHAPES:
        raise MindIRError(f"ShapeCalc with the functor {name} has no meaning in JAX")
    known = [
        jnp.shape(x) if of_shape else () if x is None else ints(x)
        for x, of_shape in zip(inputs, only_depend_shape, strict=True)
    ]
    return _OF_SHAPES[name](*known, *options)


ROWS: dict[str, Row] = {
    "BroadcastGradientArgs": _broadcast_axes,
    "DynamicBroadcastGradientArgs": _broadcast_axes,
    "CdistGrad": Gradient("dout x y out p", "Cdist", "x y p"),
    "CholeskyGrad": _cholesky,
    "EmbeddingDenseBackward": _embedding,
    "FFTShapeCopy": _overlap,
    "IRFFTDouble": _doubled,
    "FlattenGrad": lambda dout, shape: jnp.reshape(dout, ints(shape)),
    "GatherDGradV2": Gradient("x dim index dout", "GatherD", "x dim index"),
    "MaskedSelectGrad": _masked_select,
    "PdistGrad": Gradient("dout x out", "Pdist", "x"),
    "RepeatInterleaveGrad": _repeat,
    "ListAppendAndInsertGrad": _without_inserted,
    "MedianGrad": _median,
    "SequenceSliceGrad": _slice_of_sequence,
    "ShapeCalc": _shape_calc,
    "SliceGrad": Transpose("dout like begin extent", "Slice", "sought begin extent"),
    "StridedSliceGrad": Transpose(
        "dout shape begin end strides begin_mask end_mask ellipsis_mask new_axis_mask "
        "shrink_axis_mask",
        "StridedSlice",
        "sought begin end strides begin_mask end_mask ellipsis_mask new_axis_mask shrink_axis_mask",
    ),
    "TraceGrad": _trace,
    "TraceV2Grad": _trace,
}

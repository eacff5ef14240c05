"""Operators that move data: shapes, parts, joins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.typing import DTypeLike

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.values import Const, Dim, Tensor
from msckpt_jax.lowering.context import Array, Context, dims_of
from msckpt_jax.lowering.rule import Rule, rule
from msckpt_jax.lowering.sizes import SCALAR

#: BroadcastTo, Slice, StridedSlice and ReverseV2 take no more axes on the CPU.
MOST_AXES = 8


def ints(*numbers: int) -> tuple[Const, ...]:
    """A tuple argument."""
    return tuple(Const(int(n)) for n in numbers)


def reshaped(ctx: Context, x: Array, shape: tuple[Dim, ...]) -> Array:
    """``x`` in another shape."""
    type = ctx.type(x)
    if type.shape == shape:
        return x
    if isinstance(x, Const) and all(isinstance(n, int) for n in shape):
        return Const(x.value.reshape(shape))
    return ctx("Reshape", x, ctx.sizes(shape), type=Tensor(type.dtype, shape))


def transposed(ctx: Context, x: Array, order: tuple[int, ...]) -> Array:
    type = ctx.type(x)
    if order == tuple(range(len(order))):
        return x
    turned = tuple(type.shape[axis] for axis in order)
    return ctx("Transpose", x, ints(*order), type=Tensor(type.dtype, turned))


def broadcast(ctx: Context, x: Array, shape: tuple[Dim, ...]) -> Array:
    type = ctx.type(x)
    if type.shape == shape:
        return x
    _few_axes(shape)
    # -1 keeps the size of the operand, which it has at the end of the shape.
    kept = (None,) * (len(shape) - len(type.shape)) + type.shape
    sizes = tuple(
        Const(-1) if isinstance(dim, str) and dim == old else ctx.size(dim)
        for dim, old in zip(shape, kept, strict=True)
    )
    return ctx("BroadcastTo", x, sizes, type=Tensor(type.dtype, shape))


def sliced(ctx: Context, x: Array, begin: Sequence[Dim], shape: tuple[Dim, ...]) -> Array:
    """The part of ``x`` that begins at ``begin`` and has that shape."""
    type = ctx.type(x)
    if type.shape == shape:
        return x
    _few_axes(shape)
    sizes = tuple(
        Const(-1) if isinstance(dim, str) and dim == old else ctx.size(dim)  # to the end
        for dim, old in zip(shape, type.shape, strict=True)
    )
    begins = tuple(map(ctx.size, begin))
    return ctx("Slice", x, begins, sizes, type=Tensor(type.dtype, shape))


def concatenated(ctx: Context, parts: list[Array], axis: int, type: Tensor) -> Array:
    parts = [x for x in parts if 0 not in ctx.type(x).shape]
    if not parts:
        return empty(type)
    if len(parts) == 1:
        return parts[0]
    return ctx("Concat", tuple(parts), Const(int(axis)), type=type)


def empty(type: Tensor) -> Array:
    """An array of no elements."""
    if not all(isinstance(dim, int) for dim in type.shape):
        raise UnsupportedError(f"an array without elements has dynamic sizes, {type.shape}")
    return Const(np.zeros(type.shape, type.dtype))  # type: ignore[arg-type]


def _few_axes(shape: tuple[Dim, ...]) -> None:
    if len(shape) > MOST_AXES:
        raise UnsupportedError(f"MindSpore's CPU takes {MOST_AXES} axes here, not {len(shape)}")


def _broadcast_in_dim(ctx: Context, x: Array, *, broadcast_dimensions: Sequence[int]) -> Array:
    shape, places = ctx.result.shape, broadcast_dimensions
    old = dict(zip(places, ctx.type(x).shape, strict=True))
    first = min(places, default=len(shape))
    # Leading axes come of themselves.
    return broadcast(
        ctx, reshaped(ctx, x, tuple(old.get(i, 1) for i in range(first, len(shape)))), shape
    )


def _reshape(ctx: Context, x: Array, *, dimensions: Sequence[int] | None) -> Array:
    if dimensions is not None:
        raise UnsupportedError(f"dimensions are {dimensions}, but axes must stay in their order")
    return reshaped(ctx, x, ctx.result.shape)


def _squeeze(ctx: Context, x: Array, *, dimensions: Sequence[int]) -> Array:
    return ctx("Squeeze", x, ints(*dimensions)) if dimensions else x


def _transpose(ctx: Context, x: Array, *, permutation: Sequence[int]) -> Array:
    return transposed(ctx, x, tuple(permutation))


def _concatenate(ctx: Context, *parts: Array, dimension: int) -> Array:
    return concatenated(ctx, list(parts), dimension, ctx.result)


def _pad(
    ctx: Context, x: Array, value: Array, *, padding_config: Sequence[tuple[Any, Any, int]]
) -> Array:
    if any(inner for _, _, inner in padding_config):
        raise UnsupportedError("it pads between elements, which MindSpore's PadV3 does not")
    return padded(ctx, x, value, [dims_of(pad[:2]) for pad in padding_config], ctx.result.shape)


def padded(
    ctx: Context, x: Array, value: Array, pads: Sequence[Sequence[Dim]], shape: tuple[Dim, ...]
) -> Array:
    """Emit PadV3, whose paddings are a tensor and begin with the last axis."""
    if not any(low or high for low, high in pads):
        return x
    numbers = tuple(ctx.size(n) for pad in reversed(pads) for n in pad)
    i64 = np.dtype(np.int64)
    if all(isinstance(n, Const) for n in numbers):
        flat: Array = Const(np.array([n.value for n in numbers], i64))  # type: ignore[union-attr]
    else:
        flat = ctx("TupleToTensor", numbers, Const(i64), type=Tensor(i64, (len(numbers),)))
    attrs = {"mode": "constant", "paddings_contiguous": True}
    return ctx("PadV3", x, flat, value, type=Tensor(ctx.type(x).dtype, shape), attrs=attrs)


def _rev(ctx: Context, x: Array, *, dimensions: Sequence[int]) -> Array:
    _few_axes(ctx.result.shape)
    return ctx("ReverseV2", x, ints(*dimensions)) if dimensions else x


def _slice(
    ctx: Context,
    x: Array,
    *,
    start_indices: Sequence[Any],
    limit_indices: Sequence[Any],
    strides: Sequence[int] | None,
) -> Array:
    begin = dims_of(start_indices)
    if strides is None or all(s == 1 for s in strides):
        return sliced(ctx, x, begin, ctx.result.shape)
    _few_axes(begin)
    ends = dims_of(limit_indices)
    if _inside(begin, ends, ctx.type(x).shape):
        whole = [end - start for start, end in zip(start_indices, limit_indices, strict=True)]
        x = sliced(ctx, x, begin, dims_of(whole))
        begin, ends = (0,) * len(begin), dims_of(whole)
    begins, ends = (tuple(map(ctx.size, places)) for places in (begin, ends))
    return ctx("StridedSlice", x, begins, ends, ints(*strides), *ints(0, 0, 0, 0, 0))


def _inside(begin: Sequence[Dim], ends: Sequence[Dim], shape: Sequence[Dim]) -> bool:
    """Tell whether bounds must be computed: they are dynamic, and not the end of an axis."""
    pairs = zip(ends, shape, strict=True)
    computed = [end for end, size in pairs if end != size]
    return any(isinstance(bound, str) for bound in (*begin, *computed))


def _iota(ctx: Context, *, dimension: int) -> Array:
    type = ctx.result
    size = type.shape[dimension]
    column = reshaped(
        ctx, counted(ctx, size, type.dtype), (size,) + (1,) * (len(type.shape) - dimension - 1)
    )
    return broadcast(ctx, column, type.shape)


def counted(ctx: Context, size: Dim, dtype: DTypeLike) -> Array:
    """0, 1, 2, ... as a vector of that size."""
    if isinstance(size, int):
        return ctx.constant(np.arange(size).astype(dtype))
    line = ctx("Range", Const(0), ctx.size(size), Const(1), Const(1 << 31),
               type=Tensor(np.dtype(np.int64), (size,)))  # fmt: skip
    return ctx.cast(line, dtype)


def _split(ctx: Context, x: Array, *, sizes: Sequence[int], axis: int) -> list[Array]:
    if len(sizes) == 1:
        return [x]
    if len(set(sizes)) == 1 and sizes[0]:
        return list(ctx.several("Split", x, Const(int(axis)), Const(len(sizes)), types=ctx.results))
    out: list[Array] = []
    begin = 0
    for type, size in zip(ctx.results, sizes, strict=True):
        corner = tuple(begin if a == axis else 0 for a in range(len(type.shape)))
        out.append(sliced(ctx, x, corner, type.shape))
        begin += size
    return out


def _stack(ctx: Context, *parts: Array, axis: int) -> Array:
    return ctx("Stack", tuple(parts), attrs={"axis": int(axis)})


def _unstack(ctx: Context, x: Array, *, axis: int) -> list[Array]:
    number = len(ctx.results)
    if number == 1:
        return [reshaped(ctx, x, ctx.result.shape)]
    attrs = {"axis": int(axis), "num": number}
    return list(ctx.several("Unstack", x, types=ctx.results, attrs=attrs))


def _tile(ctx: Context, x: Array, *, reps: Sequence[int]) -> Array:
    return ctx("Tile", x, ints(*reps))


def _dimension(ctx: Context, *, dim: Any) -> Array:
    """A dynamic size, or a number computed of dynamic sizes, as a tensor of rank 0."""
    return ctx.cast(number(ctx, str(dim)), ctx.result.dtype)


def number(ctx: Context, dim: Dim) -> Array:
    """A size as a tensor of rank 0."""
    size = ctx.size(dim)
    if isinstance(size, Const):
        return Const(np.array(size.value, np.int64))
    return ctx("ScalarToTensor", size, Const(np.dtype(np.int64)), type=SCALAR)


RULES: dict[str, Rule] = {
    "broadcast_in_dim": rule(
        _broadcast_in_dim, "Reshape", "BroadcastTo", ignores=("shape", "sharding")
    ),
    "concatenate": rule(_concatenate, "Concat"),
    "dim_as_value": rule(_dimension, "ScalarToTensor"),
    "iota": rule(_iota, "Range", "Reshape", "BroadcastTo", ignores=("dtype", "shape", "sharding")),
    "pad": rule(_pad, "PadV3", "TupleToTensor"),
    "reshape": rule(_reshape, "Reshape", ignores=("new_sizes", "sharding")),
    "rev": rule(_rev, "ReverseV2"),
    "slice": rule(_slice, "Slice", "StridedSlice"),
    "split": rule(_split, "Split", "Slice"),
    "squeeze": rule(_squeeze, "Squeeze"),
    "stack": rule(_stack, "Stack"),
    "tile": rule(_tile, "Tile"),
    "transpose": rule(_transpose, "Transpose"),
    "unstack": rule(_unstack, "Unstack", "Reshape"),
}

"""Operators that move data: shapes, parts, joins."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import numpy as np

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.lowering.context import Array, Context, Rule, dims_of
from msckpt_jax.lowering.graph import Const, Dim, Size, Tensor

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


def sliced(ctx: Context, x: Array, begin: Sequence[Any], shape: tuple[Dim, ...]) -> Array:
    """The part of ``x`` that begins there and has that shape; a dynamic size runs to the end."""
    type = ctx.type(x)
    if type.shape == shape:
        return x
    _few_axes(shape)
    sizes = ints(*(dim if isinstance(dim, int) else -1 for dim in shape))
    return ctx("Slice", x, ints(*begin), sizes, type=Tensor(type.dtype, shape))


def concatenated(ctx: Context, parts: list[Array], axis: int, type: Tensor) -> Array:
    parts = [x for x in parts if 0 not in ctx.type(x).shape] or parts[:1]
    if len(parts) == 1:
        return parts[0]
    return ctx("Concat", tuple(parts), Const(int(axis)), type=type)


def _few_axes(shape: tuple[Dim, ...]) -> None:
    if len(shape) > MOST_AXES:
        raise UnsupportedError(f"MindSpore's CPU takes {MOST_AXES} axes here, not {len(shape)}")


def _broadcast_in_dim(ctx: Context, eqn: Any, x: Array, *sizes: Array) -> Array:
    shape, places = ctx.result.shape, eqn.params["broadcast_dimensions"]
    old = dict(zip(places, ctx.type(x).shape, strict=True))
    first = min(places, default=len(shape))
    # Leading axes come of themselves.
    return broadcast(
        ctx, reshaped(ctx, x, tuple(old.get(i, 1) for i in range(first, len(shape)))), shape
    )


def _reshape(ctx: Context, eqn: Any, x: Array, *sizes: Array) -> Array:
    order = eqn.params.get("dimensions")
    if order is not None:
        x = transposed(ctx, x, tuple(map(int, order)))
    return reshaped(ctx, x, ctx.result.shape)


def _squeeze(ctx: Context, eqn: Any, x: Array) -> Array:
    axes = eqn.params["dimensions"]
    return ctx("Squeeze", x, ints(*axes)) if axes else x


def _transpose(ctx: Context, eqn: Any, x: Array) -> Array:
    return transposed(ctx, x, tuple(eqn.params["permutation"]))


def _concatenate(ctx: Context, eqn: Any, *parts: Array) -> Array:
    return concatenated(ctx, list(parts), eqn.params["dimension"], ctx.result)


def _pad(ctx: Context, eqn: Any, x: Array, value: Array) -> Array:
    config = eqn.params["padding_config"]
    if any(inner for _, _, inner in config):
        raise UnsupportedError("padding between elements")
    return padded(ctx, x, value, [(low, high) for low, high, _ in config])


def padded(ctx: Context, x: Array, value: Array, pads: list[tuple[int, int]]) -> Array:
    """PadV3; its paddings are a tensor and begin with the last axis."""
    if not any(low or high for low, high in pads):
        return x
    type = ctx.type(x)
    shape = tuple(
        d + low + high if isinstance(d, int) else (d if low == high == 0 else None)
        for d, (low, high) in zip(type.shape, pads, strict=True)
    )
    if None in shape:
        shape = ctx.result.shape
    flat = np.array([n for pad in reversed(pads) for n in pad], np.int64)
    attrs = {"mode": "constant", "paddings_contiguous": True}
    return ctx("PadV3", x, Const(flat), value, type=Tensor(type.dtype, shape), attrs=attrs)  # type: ignore[arg-type]


def _rev(ctx: Context, eqn: Any, x: Array) -> Array:
    _few_axes(ctx.result.shape)
    axes = eqn.params["dimensions"]
    return ctx("ReverseV2", x, ints(*axes)) if axes else x


def _slice(ctx: Context, eqn: Any, x: Array) -> Array:
    begin, strides = dims_of(eqn.params["start_indices"]), eqn.params["strides"]
    old = ctx.type(x).shape
    begin = [n for n in begin if isinstance(n, int)]
    if len(begin) < len(old):
        raise UnsupportedError("it begins at a dynamic index")
    if strides is None or all(s == 1 for s in strides):
        limits = dims_of(eqn.params["limit_indices"])
        for dim, size, limit in zip(ctx.result.shape, old, limits, strict=True):
            if isinstance(dim, str) and limit != size:
                raise UnsupportedError(f"it ends at {limit} of {size}")
        return sliced(ctx, x, begin, ctx.result.shape)
    _few_axes(old)
    ends = []
    for limit, size in zip(dims_of(eqn.params["limit_indices"]), old, strict=True):
        if isinstance(limit, str) and limit != size:
            raise UnsupportedError(f"it ends at {limit} of {size}")
        ends.append(ctx.size(limit))
    masks = ints(0, 0, 0, 0, 0)
    return ctx("StridedSlice", x, ints(*begin), tuple(ends), ints(*strides), *masks)


def _iota(ctx: Context, eqn: Any, *sizes: Array) -> Array:
    type, axis = ctx.result, eqn.params["dimension"]
    size = type.shape[axis]
    if isinstance(size, str):
        i64 = np.dtype(np.int64)
        line: Array = ctx("Range", Const(0), ctx.size(size), Const(1), Const(1 << 31),
                          type=Tensor(i64, (size,)))  # fmt: skip
        line = ctx.cast(line, type.dtype)
    else:
        line = ctx.constant(np.arange(size).astype(type.dtype))
    column = reshaped(ctx, line, (size,) + (1,) * (len(type.shape) - axis - 1))
    return broadcast(ctx, column, type.shape)


def _split(ctx: Context, eqn: Any, x: Array) -> list[Array]:
    sizes, axis = eqn.params["sizes"], int(eqn.params["axis"])
    if len(sizes) == 1:
        return [x]
    if len(set(sizes)) == 1 and sizes[0]:
        return list(ctx.several("Split", x, Const(axis), Const(len(sizes)), types=ctx.results))
    out: list[Array] = []
    begin = 0
    for type, size in zip(ctx.results, sizes, strict=True):
        corner = tuple(begin if a == axis else 0 for a in range(len(type.shape)))
        out.append(sliced(ctx, x, corner, type.shape))
        begin += size
    return out


def _stack(ctx: Context, eqn: Any, *parts: Array) -> Array:
    axis = eqn.params["axis"]
    return ctx("Stack", tuple(parts), attrs={"axis": int(axis)})


def _unstack(ctx: Context, eqn: Any, x: Array) -> list[Array]:
    axis, number = int(eqn.params["axis"]), len(ctx.results)
    if number == 1:
        return [reshaped(ctx, x, ctx.result.shape)]
    attrs = {"axis": axis, "num": number}
    return list(ctx.several("Unstack", x, types=ctx.results, attrs=attrs))


def _tile(ctx: Context, eqn: Any, x: Array) -> Array:
    return ctx("Tile", x, ints(*eqn.params["reps"]))


def _dimension(ctx: Context, eqn: Any) -> Array:
    """A dynamic size, or what is computed of some, as a tensor of rank 0."""
    text = str(eqn.params["dim"]).replace("^", "**")
    return ctx.cast(_computed(ctx, ast.parse(text, mode="eval").body), ctx.result.dtype)


#: How jax.export writes what is computed of dynamic sizes.
_ARITHMETIC = {
    ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.Pow: "Pow",
    "floordiv": "FloorDiv", "mod": "FloorMod", "max": "Maximum", "min": "Minimum",
}  # fmt: skip


def _computed(ctx: Context, tree: ast.expr) -> Array:
    scalar = Tensor(np.dtype(np.int64), ())
    match tree:
        case ast.Constant():
            return Const(np.array(tree.value, np.int64))
        case ast.Name():
            return _size_of(ctx, tree.id)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return ctx("Neg", _computed(ctx, operand), type=scalar)
        case ast.BinOp(left=left, op=op, right=right):
            operands = _computed(ctx, left), _computed(ctx, right)
            return ctx(_ARITHMETIC[type(op)], *operands, type=scalar)
        case ast.Call(func=ast.Name(id=name), args=[left, right]) if name in _ARITHMETIC:
            operands = _computed(ctx, left), _computed(ctx, right)
            return ctx(_ARITHMETIC[name], *operands, type=scalar)
    raise UnsupportedError(f"the size {ast.unparse(tree)}")


def _size_of(ctx: Context, dim: str) -> Array:
    """The size of a dynamic axis."""
    size = ctx.size(dim)
    assert isinstance(size, Size)
    rank, i64 = len(size.of.type.shape), np.dtype(np.int64)
    whole = ctx("TensorShape", size.of, type=Tensor(i64, (rank,)))
    return reshaped(ctx, sliced(ctx, whole, (size.axis,), (1,)), ())


RULES: dict[str, Rule] = {
    "broadcast_in_dim": _broadcast_in_dim,
    "concatenate": _concatenate,
    "dim_as_value": _dimension,
    "expand_dims": lambda ctx, eqn, x: reshaped(ctx, x, ctx.result.shape),
    "iota": _iota,
    "pad": _pad,
    "reshape": _reshape,
    "rev": _rev,
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
    "unstack": _unstack,
}

"""Reductions, cumulative operators, sorting."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.values import Const, Dim, Tensor
from msckpt_jax.lowering.context import Array, Context
from msckpt_jax.lowering.rule import Rule, rule
from msckpt_jax.lowering.rules.elementwise import is_float, is_nan, kind_of
from msckpt_jax.lowering.rules.shape import broadcast, ints, sliced

_I32, _I64, _F32, _BOOL = (np.dtype(d) for d in (np.int32, np.int64, np.float32, bool))
#: keep_dims, and ReduceSum's skip_mode.
_FLAGS = {"ReduceSum": (Const(False), Const(False))}
_WITH_NAN = ("NotEqual", "ReduceSum", "Greater", "Select")


def _reduce(op: str, logical: str, empty: Callable[[np.dtype], Any]) -> Rule:
    """A reduction; ``logical`` is the operator for bools, ``empty`` the result of no elements."""
    loses_nan = op in ("ReduceMax", "ReduceMin")
    sums = op == "ReduceSum"

    def emit(ctx: Context, x: Array, *, axes: Sequence[int]) -> Array:
        type = ctx.type(x)
        if not axes:
            return x
        if 0 in type.shape and 0 not in ctx.result.shape:
            return broadcast(ctx, ctx.like(empty(type.dtype), x), ctx.result.shape)
        name = logical if type.dtype == bool else op
        if not name:
            raise UnsupportedError(f"MindSpore has no operator for {type.dtype}")
        if sums and type.dtype.kind in "iu" and ctx.options.kernels:
            return _whole_sum(ctx, x, axes)
        result = ctx(name, x, ints(*axes), *_FLAGS.get(name, (Const(False),)))
        guarded = loses_nan and ctx.options.guarded and is_float(ctx, x)
        return _with_nan(ctx, x, axes, result) if guarded else result

    guards = _WITH_NAN if loses_nan else _WHOLE_SUM if sums else ()
    names = [name for name in (op, logical) if name]
    return rule(emit, *names, "BroadcastTo", *guards, ignores=("out_sharding",))


def _some_nan(ctx: Context, x: Array, axes: Sequence[int], shape: tuple[Dim, ...]) -> Array:
    """Tell where a part along these axes has NaN: count them, as ReduceAny is slow."""
    marks = ctx.cast(is_nan(ctx, x), _F32)
    count = ctx("ReduceSum", marks, ints(*axes), *_FLAGS["ReduceSum"], type=Tensor(_F32, shape))
    return ctx("Greater", count, ctx.like(0, count), type=Tensor(_BOOL, shape))


def _with_nan(ctx: Context, x: Array, axes: Sequence[int], result: Array) -> Array:
    """MindSpore's and onnxruntime's ReduceMax and ReduceMin do not propagate NaN, a sum does."""
    some = _some_nan(ctx, x, axes, ctx.result.shape)
    total = ctx("ReduceSum", x, ints(*axes), *_FLAGS["ReduceSum"])
    return ctx("Select", some, total, result)


#: Bits of a whole number that float64 holds.
_MANTISSA = 53
_WHOLE_SUM = ("RightShift", "BitwiseAnd", "LeftShift", "Add")


def _whole_sum(ctx: Context, x: Array, axes: Sequence[int]) -> Array:
    """The sum of integers modulo 2 to their width: MindSpore adds in float64, and saturates.

    The bits are added in parts, whose sums float64 holds. A dynamic size counts as a million.
    """
    shape, result = ctx.type(x).shape, ctx.result
    count = math.prod(n if isinstance(n := shape[axis], int) else 1 << 20 for axis in axes)
    step, width = _MANTISSA - count.bit_length(), result.dtype.itemsize * 8
    wide, sums = Tensor(_I64, shape), Tensor(_I64, result.shape)
    x, total = ctx.cast(x, _I64), None
    for first in range(0, width, step):
        part = ctx("RightShift", x, ctx.like(first, x), type=wide) if first else x
        if first + step < width:
            part = ctx("BitwiseAnd", part, ctx.like((1 << step) - 1, x), type=wide)
        part = ctx("ReduceSum", part, ints(*axes), *_FLAGS["ReduceSum"], type=sums)
        part = ctx("LeftShift", part, ctx.like(first, part), type=sums) if first else part
        total = part if total is None else ctx("Add", total, part, type=sums)
    assert total is not None
    return ctx.cast(total, result.dtype)


def _lowest(dtype: np.dtype) -> Any:
    return np.iinfo(dtype).min if dtype.kind in "iu" else (-np.inf if dtype != _BOOL else False)


def _highest(dtype: np.dtype) -> Any:
    return np.iinfo(dtype).max if dtype.kind in "iu" else (np.inf if dtype != _BOOL else True)


def _arg(op: str) -> Rule:
    def emit(ctx: Context, x: Array, *, axes: Sequence[int]) -> Array:
        dtype = ctx.type(x).dtype
        if dtype == _BOOL:
            x = ctx.cast(x, np.uint8)
        index = _I64 if ctx.result.dtype.itemsize == 8 else _I32

        def place(op: str, x: Array) -> Array:
            type = Tensor(index, ctx.result.shape)
            return ctx(op, x, Const(int(axes[0])), Const(index), type=type)

        position = place(op, x)
        if ctx.options.guarded and kind_of(dtype) == "f":  # JAX: the first NaN
            first = place("Argmax", ctx.cast(is_nan(ctx, x), _F32))
            some = _some_nan(ctx, x, axes, ctx.result.shape)
            position = ctx("Select", some, first, position, type=ctx.type(position))
        return ctx.cast(position, ctx.result.dtype)

    return rule(emit, op, "Argmax", *_WITH_NAN, ignores=("index_dtype",))


def _cumulative(op: str) -> Rule:
    def emit(ctx: Context, x: Array, *, axis: int, reverse: bool) -> Array:
        return ctx(op, x, Const(int(axis)), Const(False), Const(bool(reverse)))

    return rule(emit, op)


def _cumulative_extreme(op: str, index: np.dtype) -> Rule:
    def emit(ctx: Context, x: Array, *, axis: int, reverse: bool) -> Array:
        if reverse:
            raise UnsupportedError("reverse is True, but MindSpore's operator goes forwards")
        types = [ctx.result, Tensor(index, ctx.result.shape)]
        return ctx.several(op, x, Const(int(axis)), types=types)[0]

    return rule(emit, op)


#: The operators that ``_sorted_last`` emits, besides those that turn numbers round.
_SORTED = ("Sort", "TopK", "NotEqual", "BroadcastTo", "Select", "GatherD")


def _sorted_last(ctx: Context, x: Array, descending: bool) -> tuple[Array, Array]:
    """Values and indices (int32) along the last axis; stable."""
    if ctx.options.guarded and is_float(ctx, x):
        return _sorted_with_nan(ctx, x, descending)
    return _sort_op(ctx, x, descending)


def _sort_op(ctx: Context, x: Array, descending: bool) -> tuple[Array, Array]:
    type = ctx.type(x)
    if type.dtype in (np.dtype(np.float64), np.dtype(np.uint64)):
        return _sorted_by_top_k(ctx, x, descending)
    types = [type, Tensor(_I32, type.shape)]
    attrs = {"axis": -1, "descending": descending}
    values, indices = ctx.several("Sort", x, types=types, attrs=attrs)
    return values, indices


def _sorted_with_nan(ctx: Context, x: Array, descending: bool) -> tuple[Array, Array]:
    """NaN is larger than infinity: sort by the numbers, then stably by which of them are NaN."""
    type = ctx.type(x)
    order, marks = Tensor(_I32, type.shape), Tensor(np.dtype(np.uint8), type.shape)
    is_nan = ctx("NotEqual", x, x, type=Tensor(_BOOL, type.shape))
    top = broadcast(ctx, ctx.like(np.inf, x), type.shape)
    first = _sort_op(ctx, ctx("Select", is_nan, top, x, type=type), descending)[1]
    last = Const(len(type.shape) - 1)
    is_nan = ctx("GatherD", ctx.cast(is_nan, np.uint8), last, first, type=marks)
    second = _sort_op(ctx, is_nan, descending)[1]
    indices = ctx("GatherD", first, last, second, type=order)
    return ctx("GatherD", x, last, indices, type=type), indices


def _sorted_by_top_k(ctx: Context, x: Array, descending: bool) -> tuple[Array, Array]:
    """Sort by TopK of all elements, which is stable: Sort has no kernel for these dtypes."""
    type = ctx.type(x)
    turn = "Neg" if kind_of(type.dtype) == "f" else "Invert"
    size = type.shape[-1]
    if not isinstance(size, int):
        raise UnsupportedError("the axis that is sorted has a dynamic size")
    keys = x if descending else ctx(turn, x, type=type)
    values, indices = _top_k_op(ctx, keys, size)
    return values if descending else ctx(turn, values, type=type), indices


def _top_k_op(ctx: Context, x: Array, k: int) -> tuple[Array, Array]:
    type = ctx.type(x)
    shape = (*type.shape[:-1], k)
    count = Const(np.array(k, _I32))
    types = [Tensor(type.dtype, shape), Tensor(_I32, shape)]
    values, indices = ctx.several("TopK", x, count, types=types, attrs={"sorted": True})
    return values, indices


def _sort(ctx: Context, key: Array, *rest: Array, dimension: int, num_keys: int) -> list[Array]:
    if dimension != len(ctx.result.shape) - 1 or num_keys != 1 or len(rest) > 1:
        raise UnsupportedError("it must be by one key along the last axis")
    ordered = _sorted_last(ctx, key, descending=False)
    return [ctx.cast(x, t.dtype) for x, t in zip(ordered, ctx.results, strict=False)]


def _top_k(ctx: Context, x: Array, *, axis: int) -> list[Array]:
    type = ctx.type(x)
    if axis not in (-1, len(type.shape) - 1):
        raise UnsupportedError(f"the axis is {axis}, but must be the last axis")
    # TopK itself takes any of equal elements; JAX, and a stable sort, the first.
    values, indices = _sorted_last(ctx, x, descending=True)
    corner = (0,) * len(type.shape)
    parts = [
        sliced(ctx, v, corner, t.shape) for v, t in zip((values, indices), ctx.results, strict=True)
    ]
    return [ctx.cast(v, t.dtype) for v, t in zip(parts, ctx.results, strict=True)]


RULES: dict[str, Rule] = {
    "argmax": _arg("Argmax"),
    "argmin": _arg("Argmin"),
    "cummax": _cumulative_extreme("Cummax", _I64),
    "cummin": _cumulative_extreme("Cummin", _I32),
    "cumprod": _cumulative("CumProd"),
    "cumsum": _cumulative("CumSum"),
    "reduce_and": _reduce("", "ReduceAll", empty=lambda d: True),
    "reduce_max": _reduce("ReduceMax", "ReduceAny", empty=_lowest),
    "reduce_min": _reduce("ReduceMin", "ReduceAll", empty=_highest),
    "reduce_or": _reduce("", "ReduceAny", empty=lambda d: False),
    "reduce_prod": _reduce("ReduceProd", "", empty=lambda d: 1),
    "reduce_sum": _reduce("ReduceSum", "", empty=lambda d: 0),
    "sort": rule(_sort, *_SORTED, "Neg", "Invert", ignores=("is_stable",)),
    "top_k": rule(_top_k, *_SORTED, "Slice", ignores=("k", "is_stable")),
}

"""MindSpore's Softmax and LogSoftmax, and what their CPU kernels do not give: rows of NaN.

A kernel leaves a NaN where it is, and that of Softmax stops at a row that is -inf throughout, such
as one that a mask covers: the rows after it become 0 (MindSpore 2.10.0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

from msckpt_jax.graph.values import Const, Tensor
from msckpt_jax.lowering.context import Array, Context
from msckpt_jax.lowering.rules.shape import broadcast, ints, sliced


def _softmax(ctx: Context, x: Array, *, axis: tuple[int, ...]) -> Array:
    """The operator of finite numbers; a row of -inf, all of whose parts are equal then, is NaN."""
    lowest = ctx.like(jnp.finfo(ctx.result.dtype).min, x)
    result = ctx("Softmax", ctx("Maximum", lowest, x), ints(*axis))
    total = _total(ctx, result, *axis)
    row, corner = ctx.type(total), (0,) * len(ctx.result.shape)
    bools = Tensor(np.dtype(bool), row.shape)
    first, part = (sliced(ctx, each, corner, row.shape) for each in (x, result))
    least = ctx("Equal", first, ctx.like(-np.inf, x), type=bools)
    masked = ctx("LogicalAnd", least, ctx("Greater", part, ctx.like(0, x), type=bools), type=bools)
    nan = broadcast(ctx, ctx.like(np.nan, x), row.shape)
    zero = ctx("Mul", total, ctx.like(0, x), type=row)
    return ctx("Add", result, ctx("Select", masked, nan, zero, type=row))


def _log_softmax(ctx: Context, x: Array, *, axis: int) -> Array:
    result = ctx("LogSoftmax", x, Const(axis))
    total = _total(ctx, ctx("Exp", result), axis)
    return ctx("Add", result, ctx("Mul", total, ctx.like(0, x), type=ctx.type(total)))


def _total(ctx: Context, x: Array, axis: int) -> Array:
    """The sums of rows, as an axis of size 1; NaN where a row has any."""
    shape = list(ctx.result.shape)
    shape[axis] = 1
    type, keep, skip = Tensor(ctx.result.dtype, tuple(shape)), Const(True), Const(False)
    return ctx("ReduceSum", x, ints(axis), keep, skip, type=type)


#: The operators of which these are made.
OPERATORS = (
    "Softmax", "LogSoftmax", "Maximum", "ReduceSum", "Slice", "Equal", "Greater", "LogicalAnd",
    "BroadcastTo", "Mul", "Select", "Add", "Exp",
)  # fmt: skip
RULES: Mapping[str, Callable[..., Array]] = {"Softmax": _softmax, "LogSoftmax": _log_softmax}

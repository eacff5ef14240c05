"""Maxima, minima and signs, of NaN too, which MindSpore's CPU loses."""

from __future__ import annotations

import numpy as np

from msckpt_jax.graph.values import Const
from msckpt_jax.lowering.context import Array, Context
from msckpt_jax.lowering.rule import Rule, rule
from msckpt_jax.lowering.rules.elementwise import full, is_float, is_nan, shaped


def _maximum(ctx: Context, x: Array, y: Array) -> Array:
    return _extreme(ctx, "Maximum", "LogicalOr", x, y)


def _minimum(ctx: Context, x: Array, y: Array) -> Array:
    return _extreme(ctx, "Minimum", "LogicalAnd", x, y)


def _extreme(ctx: Context, op: str, logical: str, x: Array, y: Array) -> Array:
    """The operator: of MindSpore's the second operand's NaN comes through, so a constant is first.

    A processor's ``x > y ? x : y`` takes ``y`` where either is NaN.
    """
    if ctx.result.dtype == bool:
        return ctx(logical, x, y)
    x, y = (y, x) if isinstance(y, Const) else (x, y)
    result = ctx(op, x, y)
    if not is_float(ctx, x):
        return result
    lost = (x,) if ctx.options.kernels else (x, y) if ctx.options.exact else ()
    for operand in lost:
        if not isinstance(operand, Const) or np.isnan(operand.array).any():
            operand = full(ctx, operand)
            result = ctx("Select", is_nan(ctx, operand), operand, result)
    return result


def _clamp(ctx: Context, low: Array, x: Array, high: Array) -> Array:
    return _minimum(ctx, _maximum(ctx, x, low), high)


def _sign(ctx: Context, x: Array) -> Array:
    """The sign; a zero is its own, and NaN, which MindSpore and onnxruntime make 0."""
    if ctx.result.dtype.kind == "u":
        return ctx("Minimum", x, ctx.like(1, x))
    result = ctx("Sign", x)
    if not ctx.options.guarded or not is_float(ctx, x):
        return result
    some = ctx("NotEqual", result, ctx.like(0, result), type=shaped(ctx))
    return ctx("Select", some, result, x)  # onnxruntime keeps -0.0 of the second branch alone


#: The operators of which guards are made.
_GUARDS = ("NotEqual", "BroadcastTo", "Select")
_MAXIMUM = ("Maximum", "LogicalOr", *_GUARDS)
_MINIMUM = ("Minimum", "LogicalAnd", *_GUARDS)

RULES: dict[str, Rule] = {
    "clamp": rule(_clamp, *_MAXIMUM, *_MINIMUM),
    "max": rule(_maximum, *_MAXIMUM),
    "min": rule(_minimum, *_MINIMUM),
    "sign": rule(_sign, "Sign", "Minimum", "NotEqual", "Select"),
}

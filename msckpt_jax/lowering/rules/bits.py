"""Bits: logic, shifts, counts."""

from __future__ import annotations

import numpy as np

from msckpt_jax.graph.values import Const, Tensor
from msckpt_jax.lowering.context import Array, Context
from msckpt_jax.lowering.rule import Rule, rule
from msckpt_jax.lowering.rules.elementwise import by_kind, full, shaped


def _shift(op: str, sign_fills: bool = False) -> Rule:
    def emit(ctx: Context, x: Array, count: Array) -> Array:
        dtype = ctx.result.dtype
        kind = "i" if sign_fills else "u"
        if op == "RightShift" and dtype.kind != kind:  # the operator goes by the dtype
            converted = Tensor(np.dtype(f"{kind}{dtype.itemsize}"), ctx.result.shape)
            operands = ctx.cast(x, converted.dtype), ctx.cast(count, converted.dtype)
            result = ctx.cast(ctx(op, *operands, type=converted), dtype)
        else:
            result = ctx(op, x, count)
        bits = dtype.itemsize * 8
        if isinstance(count, Const):  # seeds of PRNG keys are shifted past their width
            inside = np.all((count.value >= 0) & (count.value < bits))
        else:
            inside = not ctx.options.guarded
        return result if inside else _guarded(ctx, x, count, result, sign_fills)

    return rule(emit, op, "Less", "BroadcastTo", "Select")


def _guarded(ctx: Context, x: Array, count: Array, result: Array, sign_fills: bool) -> Array:
    """JAX defines shifts past the width; MindSpore leaves them to the processor."""
    dtype = ctx.result.dtype
    bits, unsigned = dtype.itemsize * 8, np.dtype(f"u{dtype.itemsize}")
    count = full(ctx, count)
    inside = ctx("Less", ctx.cast(count, unsigned), ctx.constant(np.array(bits, unsigned)),
                 type=shaped(ctx))  # fmt: skip
    past: Array = ctx.like(0, x)
    if sign_fills:
        signed = Tensor(np.dtype(f"i{dtype.itemsize}"), ctx.type(x).shape)
        whole = ctx.cast(x, signed.dtype)
        sign = ctx("RightShift", whole, ctx.like(bits - 1, whole), type=signed)
        past = ctx.cast(sign, dtype)
    return ctx("Select", inside, result, full(ctx, past))


def _population_count(ctx: Context, x: Array) -> Array:
    count = ctx("PopulationCount", x, type=Tensor(np.dtype(np.uint8), ctx.result.shape))
    return ctx.cast(count, ctx.result.dtype)


_LOGICAL = {
    "and": ("LogicalAnd", "BitwiseAnd"),
    "or": ("LogicalOr", "BitwiseOr"),
    "xor": ("LogicalXor", "BitwiseXor"),
    "not": ("LogicalNot", "Invert"),
}

RULES: dict[str, Rule] = {
    **{name: by_kind(b=b, i=i, u=i) for name, (b, i) in _LOGICAL.items()},
    "population_count": rule(_population_count, "PopulationCount"),
    "shift_left": _shift("LeftShift"),
    "shift_right_arithmetic": _shift("RightShift", sign_fills=True),
    "shift_right_logical": _shift("RightShift"),
}

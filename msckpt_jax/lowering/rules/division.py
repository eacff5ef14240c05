"""Division and its rest: what JAX defines where processors stop, and what MindSpore rounds."""

from __future__ import annotations

import numpy as np

from msckpt_jax.graph.values import Const, Tensor
from msckpt_jax.lowering.context import Array, Context
from msckpt_jax.lowering.rule import Rule, rule
from msckpt_jax.lowering.rules.elementwise import full, is_float, shaped

_I64 = np.dtype(np.int64)


def _div(ctx: Context, x: Array, y: Array) -> Array:
    if ctx.result.dtype.kind not in "iu":
        return _float_div(ctx, x, y) if ctx.options.kernels else ctx("Div", x, y)
    if not ctx.options.guarded or _harmless(y):
        return _quotient(ctx, x, y)
    # JAX: -1 (all bits set) for a divisor of 0, and the lowest number stays itself over -1.
    safe, zero, minus = _safe_divisor(ctx, y)
    result = _quotient(ctx, x, safe)
    if minus is not None:
        result = ctx("Select", minus, full(ctx, ctx("Neg", x, type=ctx.type(x))), result)
    ones = ctx.like(-1 if ctx.result.dtype.kind == "i" else np.iinfo(ctx.result.dtype).max, x)
    return ctx("Select", zero, full(ctx, ones), result)


def _float_div(ctx: Context, x: Array, y: Array) -> Array:
    """MindSpore's Div takes a divisor of -0.0 for 0, and NaN over 0 for an infinity."""
    if not is_float(ctx, y) or (isinstance(y, Const) and np.all(y.array != 0)):
        return ctx("Div", x, y)
    if isinstance(x, Const) and np.all(x.array == 1) and ctx.type(y).shape == ctx.result.shape:
        return ctx("Reciprocal", y)
    zero = ctx("Equal", y, ctx.like(0, y), type=Tensor(np.dtype(bool), ctx.type(y).shape))
    infinite = ctx("Mul", x, ctx("Reciprocal", y, type=ctx.type(y)))
    return ctx("Select", full(ctx, zero), infinite, ctx("Div", x, y))


def _harmless(y: Array) -> bool:
    """Tell whether a divisor is known and nowhere 0 or -1, over which processors stop."""
    return isinstance(y, Const) and not np.any((y.array == 0) | (y.array + 1 == 0))


def _safe_divisor(ctx: Context, y: Array) -> tuple[Array, Array, Array | None]:
    """The divisor with 1 in the place of 0 and -1, and where it is 0, and where it is -1."""
    y = full(ctx, y)
    unsafe = zero = ctx("Equal", y, ctx.like(0, y), type=shaped(ctx))
    minus = None
    if ctx.result.dtype.kind == "i":
        minus = ctx("Equal", y, ctx.like(-1, y), type=shaped(ctx))
        unsafe = ctx("LogicalOr", zero, minus, type=shaped(ctx))
    return ctx("Select", unsafe, full(ctx, ctx.like(1, y)), y), zero, minus


def _quotient(ctx: Context, x: Array, y: Array) -> Array:
    """The whole number of times that ``y``, which is nowhere 0, is in ``x``."""
    if ctx.result.dtype.itemsize < 8 or not ctx.options.kernels:
        return ctx("TruncateDiv", x, y)
    x, y = full(ctx, x), full(ctx, y)
    if ctx.result.dtype.kind == "u":
        x, y = ctx.cast(x, _I64), ctx.cast(y, _I64)
        return ctx.cast(_times(ctx, x, y), ctx.result.dtype)
    sign = ctx("Mul", ctx("Sign", x), ctx("Sign", y))
    return ctx("Mul", sign, _times(ctx, ctx("Abs", x), ctx("Abs", y)))


def _times(ctx: Context, x: Array, y: Array) -> Array:
    """The quotient of uint64 numbers that are given as int64, exactly.

    MindSpore divides 64-bit integers in float64. Twice the quotient of half of ``x``, which is
    positive in int64, is the result, or less by 1. A number that int64 does not hold is negative:
    as a divisor it is in ``x`` once or not at all.
    """
    i64, outer = Tensor(_I64, ctx.result.shape), ctx.results
    ctx.results = (i64,)
    half = ctx("RightShift", x, full(ctx, ctx.like(1, x)))
    half = ctx("BitwiseAnd", half, ctx.like(np.iinfo(np.int64).max, x))
    large = ctx("Less", y, ctx.like(0, y), type=shaped(ctx))
    twice = _positive_quotient(ctx, half, ctx("Select", large, full(ctx, ctx.like(1, y)), y))
    twice = ctx("Add", twice, twice)
    rest = ctx("Sub", x, ctx("Mul", twice, y))
    small = ctx("Add", twice, _at_least(ctx, rest, y))
    quotient = ctx("Select", large, _at_least(ctx, x, y), small)
    ctx.results = outer
    return quotient


def _positive_quotient(ctx: Context, x: Array, y: Array) -> Array:
    """Divide, then divide the rest: float64 is right up to 2**53, so that 1 at most is left."""

    def rest(quotient: Array) -> Array:
        return ctx("Sub", x, ctx("Mul", quotient, y))

    quotient = ctx("TruncateDiv", x, y)
    quotient = ctx("Add", quotient, ctx("TruncateDiv", rest(quotient), y))
    beyond = ctx("Less", rest(quotient), ctx.like(0, x), type=shaped(ctx))
    quotient = ctx("Sub", quotient, ctx.cast(beyond, _I64))
    short = ctx("GreaterEqual", rest(quotient), y, type=shaped(ctx))
    return ctx("Add", quotient, ctx.cast(short, _I64))


def _at_least(ctx: Context, x: Array, y: Array) -> Array:
    """1 where x >= y as uint64 numbers."""
    flipped = (ctx("BitwiseXor", z, ctx.like(np.iinfo(np.int64).min, z)) for z in (x, y))
    return ctx.cast(ctx("GreaterEqual", *flipped, type=shaped(ctx)), _I64)


def _rem(ctx: Context, x: Array, y: Array) -> Array:
    if ctx.result.dtype.kind not in "iu":
        return _float_rem(ctx, x, y) if ctx.options.kernels else ctx("Mod", x, y)
    if not ctx.options.guarded or _harmless(y):
        return _rest(ctx, x, y)
    safe, zero, _ = _safe_divisor(ctx, y)
    return ctx("Select", zero, full(ctx, x), _rest(ctx, x, safe))  # JAX: x for a divisor of 0


def _rest(ctx: Context, x: Array, y: Array) -> Array:
    if ctx.result.dtype.itemsize < 8:
        return ctx("Mod", x, y)
    # MindSpore's Mod has no kernel for uint64, and computes that for int64 in float64.
    return ctx("Sub", x, ctx("Mul", _quotient(ctx, x, y), y))


#: Each step of a remainder in float64 reduces the quotient by so many bits, and is exact.
_STEP, _STEPS = 28, 10


def _float_rem(ctx: Context, x: Array, y: Array) -> Array:
    """The rest in steps of MindSpore's Mod, x - trunc(x / y) * y, which are exact in float64.

    Numbers of 24 bits and quotients below 2**28 have products of 52 bits. A divisor that is a power
    of two takes one step. Other rests in float64 are made by ``algorithms.remainder``.
    """
    steps = 1 if _power_of_two(y) else _STEPS
    result, x, y = ctx.result, full(ctx, x), full(ctx, y)
    wide = Tensor(np.dtype(np.float64), result.shape)
    rest, divisor = ctx.cast(x, wide.dtype), ctx.cast(y, wide.dtype)
    for step in reversed(range(steps)):
        scale = ctx.like(2.0 ** (_STEP * step), divisor)
        scaled = ctx("Mul", divisor, scale, type=wide) if step else divisor
        rest = ctx("Mod", rest, scaled, type=wide)
    rest = ctx.cast(rest, result.dtype)
    nothing = ctx("Equal", rest, ctx.like(0, rest), type=shaped(ctx))
    rest = ctx("Select", nothing, ctx("Mul", x, ctx.like(0, x)), rest)  # with the sign of x
    inside = ctx("Less", ctx("Abs", x), ctx("Abs", y), type=shaped(ctx))  # y may be infinite
    rest = ctx("Select", inside, x, rest)
    zero = ctx("Equal", y, ctx.like(0, y), type=shaped(ctx))
    return ctx("Select", zero, full(ctx, ctx.like(np.nan, y)), rest)


def _power_of_two(y: Array) -> bool:
    return isinstance(y, Const) and bool(np.all(np.abs(np.frexp(np.float64(y.array))[0]) == 0.5))


#: The operators of which a quotient of integers is made.
_QUOTIENT = (
    "TruncateDiv", "Equal", "BroadcastTo", "Select", "Abs", "Sign", "Mul", "Add", "Sub", "Less",
    "GreaterEqual", "RightShift", "BitwiseAnd", "BitwiseXor", "LogicalOr",
)  # fmt: skip

RULES: dict[str, Rule] = {
    "div": rule(_div, "Div", "Reciprocal", "Neg", *_QUOTIENT),
    "rem": rule(_rem, "Mod", *_QUOTIENT),
}

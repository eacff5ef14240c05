"""Arithmetic, comparisons, bits, casts: operands of one shape, or of rank 0."""

from __future__ import annotations

import numpy as np
from jax.lax import RoundingMethod

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.values import Const, Tensor
from msckpt_jax.lowering.context import Array, Context
from msckpt_jax.lowering.rule import Rule, rule

_I64 = np.dtype(np.int64)


def operator(op: str, *ignores: str) -> Rule:
    """The rule that is one operator of the same operands; ``ignores`` are parameters."""

    def emit(ctx: Context, *operands: Array) -> Array:
        return ctx(op, *operands)

    return rule(emit, op, ignores=ignores)


def of_full_shapes(op: str) -> Rule:
    """The rule that is one operator, which does not take a scalar beside an array."""

    def emit(ctx: Context, *operands: Array) -> Array:
        return ctx(op, *(full(ctx, x) for x in operands))

    return rule(emit, op, "BroadcastTo")


def by_kind(*ignores: str, **ops: str) -> Rule:
    """The rule that is one operator by the kind of the first operand's dtype: b, i, u, f or c."""

    def emit(ctx: Context, *operands: Array) -> Array:
        kind = kind_of(ctx.type(operands[0]).dtype)
        if kind not in ops:
            raise UnsupportedError(f"MindSpore has no operator for {ctx.type(operands[0]).dtype}")
        return ctx(ops[kind], *operands)

    return rule(emit, *ops.values(), ignores=ignores)


def kind_of(dtype: np.dtype) -> str:
    """NumPy's kind; ``f`` for bfloat16 too."""
    return "f" if dtype.kind == "V" else dtype.kind


def _bool_like(ctx: Context, x: Array) -> Tensor:
    return Tensor(np.dtype(bool), ctx.type(x).shape)


def _is_nan(ctx: Context, x: Array) -> Array:
    return ctx("NotEqual", x, x, type=_bool_like(ctx, x))


def shaped(ctx: Context) -> Tensor:
    """Bools in the shape of the result."""
    return Tensor(np.dtype(bool), ctx.result.shape)


def _is_float(ctx: Context, x: Array) -> bool:
    return kind_of(ctx.type(x).dtype) == "f"


def _abs(ctx: Context, x: Array) -> Array:
    kind = kind_of(ctx.type(x).dtype)
    if kind == "u":
        return x
    return ctx("ComplexAbs" if kind == "c" else "Abs", x)


def _cbrt(ctx: Context, x: Array) -> Array:
    return ctx("Mul", ctx("Sign", x), ctx("Pow", ctx("Abs", x), ctx.like(1 / 3, x)))


def _clamp(ctx: Context, low: Array, x: Array, high: Array) -> Array:
    return _minimum(ctx, _maximum(ctx, x, low), high)


def _convert(ctx: Context, x: Array) -> Array:
    old, new = ctx.type(x).dtype, ctx.result.dtype
    if old.kind == "c" and new.kind != "c":
        part = Tensor(np.dtype(f"f{old.itemsize // 2}"), ctx.result.shape)
        x = ctx("Real", x, type=part)
    if _is_float(ctx, x) and new.kind in "iu" and ctx.options.guarded:
        return _saturating(ctx, x, new)
    return ctx.cast(x, new)


def _saturating(ctx: Context, x: Array, dtype: np.dtype) -> Array:
    """XLA's conversion: a value out of range becomes the nearest value, NaN becomes 0."""
    if isinstance(x, Const):
        return ctx.cast(x, dtype)  # folded by JAX before
    wide = x if ctx.type(x).dtype.itemsize > 2 else ctx.cast(x, np.float32)
    of, info = ctx.type(wide), np.iinfo(dtype)
    number = ctx("Select", _is_nan(ctx, wide), full(ctx, ctx.like(0, wide)), wide, type=of)
    highest = _floats_below(of.dtype, info.max)
    inside = ctx("Maximum", number, ctx.like(info.min, wide), type=of)
    result = ctx.cast(ctx("Minimum", inside, ctx.like(highest, wide), type=of), dtype)
    if highest == info.max:
        return result
    beyond = ctx("Greater", number, ctx.like(highest, wide), type=shaped(ctx))
    return ctx("Select", beyond, full(ctx, ctx.like(info.max, result)), result)


def _floats_below(dtype: np.dtype, most: int) -> int:
    """The largest number of a float's dtype that is not above ``most``."""
    bits = np.finfo(dtype).nmant + 1
    return most >> max(0, most.bit_length() - bits) << max(0, most.bit_length() - bits)


def _div(ctx: Context, x: Array, y: Array) -> Array:
    if ctx.result.dtype.kind not in "iu":
        return ctx("Div", x, y)
    if not ctx.options.guarded or _harmless(y):
        return _quotient(ctx, x, y)
    # JAX: -1 (all bits set) for a divisor of 0, and the lowest number stays itself over -1.
    safe, zero, minus = _safe_divisor(ctx, y)
    result = _quotient(ctx, x, safe)
    if minus is not None:
        result = ctx("Select", minus, full(ctx, ctx("Neg", x, type=ctx.type(x))), result)
    ones = ctx.like(-1 if ctx.result.dtype.kind == "i" else np.iinfo(ctx.result.dtype).max, x)
    return ctx("Select", zero, full(ctx, ones), result)


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


def full(ctx: Context, x: Array) -> Array:
    """``x`` in the shape of the result."""
    if ctx.type(x).shape == ctx.result.shape:
        return x
    return ctx("BroadcastTo", x, ctx.sizes(ctx.result.shape, infer=False),
               type=Tensor(ctx.type(x).dtype, ctx.result.shape))  # fmt: skip


def _rem(ctx: Context, x: Array, y: Array) -> Array:
    if ctx.result.dtype.kind not in "iu":
        return ctx("Mod", x, y)
    if not ctx.options.guarded or _harmless(y):
        return _rest(ctx, x, y)
    safe, zero, _ = _safe_divisor(ctx, y)
    return ctx("Select", zero, full(ctx, x), _rest(ctx, x, safe))  # JAX: x for a divisor of 0


def _rest(ctx: Context, x: Array, y: Array) -> Array:
    if ctx.result.dtype.itemsize < 8:
        return ctx("Mod", x, y)
    # MindSpore's Mod has no kernel for uint64, and computes that for int64 in float64.
    return ctx("Sub", x, ctx("Mul", _quotient(ctx, x, y), y))


def _exp2(ctx: Context, x: Array) -> Array:
    return ctx("Pow", ctx.like(2, x), x)  # Exp2 has no CPU kernel


def _integer_pow(ctx: Context, x: Array, *, y: int) -> Array:
    if y == 0:
        return full(ctx, ctx.like(1, x))
    result, square, rest = None, x, abs(y)
    while rest:
        if rest & 1:
            result = square if result is None else ctx("Mul", result, square)
        rest >>= 1
        square = ctx("Mul", square, square) if rest else square
    assert result is not None
    return result if y > 0 else ctx("Div", ctx.like(1, x), result)


def _maximum(ctx: Context, x: Array, y: Array) -> Array:
    return _extreme(ctx, "Maximum", "LogicalOr", x, y)


def _minimum(ctx: Context, x: Array, y: Array) -> Array:
    return _extreme(ctx, "Minimum", "LogicalAnd", x, y)


def _extreme(ctx: Context, op: str, logical: str, x: Array, y: Array) -> Array:
    if ctx.result.dtype == bool:
        return ctx(logical, x, y)
    result = ctx(op, x, y)
    if ctx.options.exact and _is_float(ctx, x):  # MindSpore's do not propagate NaN
        for operand in (full(ctx, y), full(ctx, x)):
            result = ctx("Select", _is_nan(ctx, operand), operand, result)
    return result


def _nextafter(ctx: Context, x: Array, y: Array) -> Array:
    if ctx.options.exact:
        raise UnsupportedError("MindSpore's operator is wrong on infinities and subnormal numbers")
    return ctx("NextAfter", full(ctx, x), full(ctx, y))


def _mul(ctx: Context, x: Array, y: Array, *, out_dtype: np.dtype | None = None) -> Array:
    if out_dtype is not None and out_dtype != ctx.type(x).dtype:
        raise UnsupportedError(f"out_dtype is {out_dtype}, but must be the dtype of the operands")
    return ctx("Mul", x, y)


def _pow(ctx: Context, x: Array, y: Array) -> Array:
    return ctx("Pow", x, ctx.cast(y, ctx.result.dtype))


def _round(ctx: Context, x: Array, *, rounding_method: RoundingMethod) -> Array:
    if rounding_method == RoundingMethod.TO_NEAREST_EVEN:
        return ctx("Rint", x)
    # Away from zero. Floor(|x| + 0.5) would be wrong for the number below 0.5.
    size = ctx("Abs", x)
    whole = ctx("Floor", size)
    rest = ctx("GreaterEqual", ctx("Sub", size, whole), ctx.like(0.5, x), type=shaped(ctx))
    return ctx("Mul", ctx("Sign", x), ctx("Add", whole, ctx.cast(rest, ctx.result.dtype)))


def _select_n(ctx: Context, which: Array, *cases: Array) -> Array:
    if len(cases) != 2 or ctx.type(which).dtype != bool:
        raise UnsupportedError("there must be two cases, chosen by a bool")
    otherwise, then = cases
    return ctx("Select", which, then, otherwise)


def _sign(ctx: Context, x: Array) -> Array:
    if ctx.result.dtype.kind == "u":
        return ctx("Minimum", x, ctx.like(1, x))
    result = ctx("Sign", x)
    if ctx.options.exact and _is_float(ctx, x):
        return ctx("Select", _is_nan(ctx, x), x, result)
    return result


def _tanh(ctx: Context, x: Array) -> Array:
    if ctx.result.dtype != np.float32 or not ctx.options.kernels:
        return ctx("Tanh", x)
    # 2 sigmoid(2x) - 1: the float32 kernel of Tanh is off by 1e-4, that of Sigmoid by 8e-7;
    # in float16 this would lose numbers near zero.
    two = ctx.like(2, x)
    twice = ctx("Mul", x, two)
    return ctx("Sub", ctx("Mul", ctx("Sigmoid", twice), two), ctx.like(1, x))


def _log1p(ctx: Context, x: Array) -> Array:
    """Compute float16 in float32: the kernel adds the 1 first, and is 1.4 % off for 0.035."""
    if ctx.result.dtype != np.float16 or not ctx.options.kernels:
        return ctx("Log1p", x)
    wide = Tensor(np.dtype(np.float32), ctx.result.shape)
    return ctx.cast(ctx("Log1p", ctx.cast(x, np.float32), type=wide), np.float16)


_FULL = {
    "igamma": "Igamma", "igamma_grad_a": "IgammaGradA", "igammac": "Igammac",
    "regularized_incomplete_beta": "Betainc", "zeta": "Zeta",
}  # fmt: skip

_SAME = {
    "acos": "ACos", "acosh": "Acosh", "add": "Add", "add_any": "Add", "asin": "Asin",
    "asinh": "Asinh", "atan": "Atan", "atan2": "Atan2", "atanh": "Atanh", "bessel_i0e": "BesselI0e",
    "bessel_i1e": "BesselI1e", "ceil": "Ceil", "complex": "Complex", "cosh": "Cosh",
    "digamma": "Digamma", "eq": "Equal", "erf": "Erf", "erf_inv": "Erfinv", "floor": "Floor",
    "ge": "GreaterEqual", "gt": "Greater", "imag": "Imag", "is_finite": "IsFinite",
    "le": "LessEqual", "lgamma": "Lgamma", "lt": "Less", "ne": "NotEqual", "neg": "Neg",
    "real": "Real", "sinh": "Sinh", "square": "Square", "sub": "Sub",
}  # fmt: skip
#: Primitives that XLA computes as accurately as it is told to.
_ACCURATE = {
    "cos": "Cos", "erfc": "Erfc", "exp": "Exp", "expm1": "Expm1", "log": "Log",
    "logistic": "Sigmoid", "rsqrt": "Rsqrt", "sin": "Sin", "sqrt": "Sqrt", "tan": "Tan",
}  # fmt: skip
_ACCURACY = ("accuracy",)

#: Comparisons of bools, and the operators of which guards are made.
_MAXIMUM = ("Maximum", "LogicalOr", "NotEqual", "BroadcastTo", "Select")
_MINIMUM = ("Minimum", "LogicalAnd", "NotEqual", "BroadcastTo", "Select")
_QUOTIENT = (
    "TruncateDiv", "Equal", "BroadcastTo", "Select", "Abs", "Sign", "Mul", "Add", "Sub", "Less",
    "GreaterEqual", "RightShift", "BitwiseAnd", "BitwiseXor", "LogicalOr",
)  # fmt: skip

RULES: dict[str, Rule] = {
    **{name: operator(op) for name, op in _SAME.items()},
    **{name: operator(op, *_ACCURACY) for name, op in _ACCURATE.items()},
    **{name: of_full_shapes(op) for name, op in _FULL.items()},
    "abs": rule(_abs, "Abs", "ComplexAbs"),
    "cbrt": rule(_cbrt, "Abs", "Pow", "Sign", "Mul", ignores=_ACCURACY),
    "clamp": rule(_clamp, *_MAXIMUM, *_MINIMUM),
    "conj": by_kind("input_dtype", c="Conj"),
    "convert_element_type": rule(
        _convert, "Real", "NotEqual", "Maximum", "Minimum", "Greater", "BroadcastTo", "Select",
        ignores=("new_dtype", "weak_type", "sharding"),
    ),
    "div": rule(_div, "Div", "Neg", *_QUOTIENT),
    "exp2": rule(_exp2, "Pow", ignores=_ACCURACY),
    "integer_pow": rule(_integer_pow, "Mul", "Div", "BroadcastTo"),
    "log1p": rule(_log1p, "Log1p", ignores=_ACCURACY),
    "max": rule(_maximum, *_MAXIMUM),
    "min": rule(_minimum, *_MINIMUM),
    "mul": rule(_mul, "Mul"),
    "nextafter": rule(_nextafter, "NextAfter", "BroadcastTo"),
    "pow": rule(_pow, "Pow"),
    "rem": rule(_rem, "Mod", *_QUOTIENT),
    "round": rule(_round, "Rint", "Abs", "Floor", "Sub", "GreaterEqual", "Sign", "Add", "Mul"),
    "select_n": rule(_select_n, "Select"),
    "sign": rule(_sign, "Sign", "Minimum", "NotEqual", "Select"),
    "tanh": rule(_tanh, "Tanh", "Sigmoid", "Mul", "Sub", ignores=_ACCURACY),
}  # fmt: skip

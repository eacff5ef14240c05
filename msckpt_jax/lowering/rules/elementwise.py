"""Arithmetic, comparisons, bits, casts: operands of one shape, or of rank 0."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.values import Const, Tensor
from msckpt_jax.lowering.context import Array, Context, Rule

_I64 = np.dtype(np.int64)


def operator(op: str) -> Rule:
    """A rule that is one operator of the same operands."""

    def rule(ctx: Context, eqn: Any, *operands: Array) -> Array:
        return ctx(op, *operands)

    return rule


def of_full_shapes(op: str) -> Rule:
    """A rule that is one operator which does not take a scalar beside an array."""

    def rule(ctx: Context, eqn: Any, *operands: Array) -> Array:
        return ctx(op, *(full(ctx, x) for x in operands))

    return rule


def by_kind(**ops: str) -> Rule:
    """A rule that is one operator by the kind of the first operand's dtype: b, i, u, f or c."""

    def rule(ctx: Context, eqn: Any, *operands: Array) -> Array:
        kind = kind_of(ctx.type(operands[0]).dtype)
        if kind not in ops:
            raise UnsupportedError(f"no operator for {ctx.type(operands[0]).dtype}")
        return ctx(ops[kind], *operands)

    return rule


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


def _abs(ctx: Context, eqn: Any, x: Array) -> Array:
    kind = kind_of(ctx.type(x).dtype)
    if kind == "u":
        return x
    return ctx("ComplexAbs" if kind == "c" else "Abs", x)


def _cbrt(ctx: Context, eqn: Any, x: Array) -> Array:
    return ctx("Mul", ctx("Sign", x), ctx("Pow", ctx("Abs", x), ctx.like(1 / 3, x)))


def _conj(ctx: Context, eqn: Any, x: Array) -> Array:
    if ctx.type(x).dtype.kind == "c":
        return ctx("Conj", x)
    return ctx("Complex", x, full(ctx, ctx.like(0, x)))


def _clamp(ctx: Context, eqn: Any, low: Array, x: Array, high: Array) -> Array:
    return _minimum(ctx, eqn, _maximum(ctx, eqn, x, low), high)


def _convert(ctx: Context, eqn: Any, x: Array) -> Array:
    old, new = ctx.type(x).dtype, ctx.result.dtype
    if old.kind == "c" and new.kind != "c":
        part = Tensor(np.dtype(f"f{old.itemsize // 2}"), ctx.result.shape)
        return ctx.cast(ctx("Real", x, type=part), new)
    if kind_of(old) == "f" and new.kind in "iu" and ctx.options.exact:
        return _saturating(ctx, x, new)
    return ctx.cast(x, new)


def _saturating(ctx: Context, x: Array, dtype: np.dtype) -> Array:
    """XLA's conversion: values out of range become the nearest one, NaN becomes 0."""
    info = np.iinfo(dtype)
    wide = ctx.cast(x, np.float64)
    result = ctx.cast(wide, dtype)
    for op, limit in (("LessEqual", info.min), ("GreaterEqual", info.max)):
        beyond = ctx(op, wide, ctx.like(limit, wide), type=shaped(ctx))
        result = ctx("Select", beyond, full(ctx, ctx.like(limit, result)), result)
    return ctx("Select", _is_nan(ctx, wide), full(ctx, ctx.like(0, result)), result)


def _div(ctx: Context, eqn: Any, x: Array, y: Array) -> Array:
    if ctx.result.dtype.kind not in "iu":
        return ctx("Div", x, y)
    if not ctx.options.exact:
        return ctx("TruncateDiv", x, y)
    # JAX: -1 (all bits set) for a divisor of 0, and the lowest number stays itself over -1.
    safe, zero = _without_zero(ctx, y)
    least = ctx.like(-1 if ctx.result.dtype.kind == "i" else np.iinfo(ctx.result.dtype).max, x)
    return ctx("Select", zero, full(ctx, least), _quotient(ctx, x, safe))


def _quotient(ctx: Context, x: Array, y: Array) -> Array:
    """The whole number of times that ``y``, which is nowhere 0, is in ``x``."""
    if ctx.result.dtype.itemsize < 8 or not ctx.options.exact:
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
    positive in int64, is the result, or one less. What int64 does not hold is negative: as a
    divisor it is in ``x`` once or not at all.
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
    found = ctx("Select", large, _at_least(ctx, x, y), small)
    ctx.results = outer
    return found


def _positive_quotient(ctx: Context, x: Array, y: Array) -> Array:
    """In float64 it is right up to 2**53: the rest is divided, too, which leaves one at most."""

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


def _without_zero(ctx: Context, y: Array) -> tuple[Array, Array]:
    y = full(ctx, y)
    zero = ctx("Equal", y, ctx.like(0, y), type=shaped(ctx))
    return ctx("Select", zero, full(ctx, ctx.like(1, y)), y), zero


def full(ctx: Context, x: Array) -> Array:
    """``x`` in the shape of the result."""
    if ctx.type(x).shape == ctx.result.shape:
        return x
    return ctx("BroadcastTo", x, ctx.sizes(ctx.result.shape, infer=False),
               type=Tensor(ctx.type(x).dtype, ctx.result.shape))  # fmt: skip


def _rem(ctx: Context, eqn: Any, x: Array, y: Array) -> Array:
    dtype, zero = ctx.result.dtype, None
    if dtype.kind in "iu" and ctx.options.exact:  # JAX: x for a divisor of 0
        y, zero = _without_zero(ctx, y)
    if dtype.kind in "iu" and dtype.itemsize == 8:
        # Mod has no kernel for uint64, and computes that for int64 in float64.
        result = ctx("Sub", x, ctx("Mul", _quotient(ctx, x, y), y))
    else:
        result = ctx("Mod", x, y)
    return result if zero is None else ctx("Select", zero, full(ctx, x), result)


def _exp2(ctx: Context, eqn: Any, x: Array) -> Array:
    return ctx("Pow", ctx.like(2, x), x)  # Exp2 has no CPU kernel


def _integer_pow(ctx: Context, eqn: Any, x: Array) -> Array:
    power = eqn.params["y"]
    if power == 0:
        return full(ctx, ctx.like(1, x))
    result, square, rest = None, x, abs(power)
    while rest:
        if rest & 1:
            result = square if result is None else ctx("Mul", result, square)
        rest >>= 1
        square = ctx("Mul", square, square) if rest else square
    assert result is not None
    return result if power > 0 else ctx("Div", ctx.like(1, x), result)


def _maximum(ctx: Context, eqn: Any, x: Array, y: Array) -> Array:
    return _extreme(ctx, "Maximum", "LogicalOr", x, y)


def _minimum(ctx: Context, eqn: Any, x: Array, y: Array) -> Array:
    return _extreme(ctx, "Minimum", "LogicalAnd", x, y)


def _extreme(ctx: Context, op: str, logical: str, x: Array, y: Array) -> Array:
    if ctx.result.dtype == bool:
        return ctx(logical, x, y)
    result = ctx(op, x, y)
    if ctx.options.exact and _is_float(ctx, x):  # MindSpore's do not propagate NaN
        for operand in (full(ctx, y), full(ctx, x)):
            result = ctx("Select", _is_nan(ctx, operand), operand, result)
    return result


def _nextafter(ctx: Context, eqn: Any, x: Array, y: Array) -> Array:
    if ctx.options.exact:
        raise UnsupportedError("MindSpore's operator is wrong on infinities and subnormal numbers")
    return ctx("NextAfter", full(ctx, x), full(ctx, y))


def _polygamma(ctx: Context, eqn: Any, order: Array, x: Array) -> Array:
    """MindSpore takes one order for all elements: the first of those that it is given."""
    if not isinstance(order, Const) or not np.all(order.value == order.value.ravel()[:1]):
        raise UnsupportedError("only of one order that is a constant")
    one = Const(np.full((), order.value.ravel()[0], np.int64))
    return ctx("Polygamma", one, full(ctx, x))


def _pow(ctx: Context, eqn: Any, x: Array, y: Array) -> Array:
    return ctx("Pow", x, ctx.cast(y, ctx.result.dtype))


def _round(ctx: Context, eqn: Any, x: Array) -> Array:
    if int(eqn.params["rounding_method"]) == 1:  # to the nearest even
        return ctx("Rint", x)
    # Away from zero. Floor(|x| + 0.5) would be wrong for the number below 0.5.
    size = ctx("Abs", x)
    whole = ctx("Floor", size)
    rest = ctx("GreaterEqual", ctx("Sub", size, whole), ctx.like(0.5, x), type=shaped(ctx))
    return ctx("Mul", ctx("Sign", x), ctx("Add", whole, ctx.cast(rest, ctx.result.dtype)))


def _select_n(ctx: Context, eqn: Any, which: Array, *cases: Array) -> Array:
    if len(cases) != 2 or ctx.type(which).dtype != bool:
        raise UnsupportedError("only two cases and a predicate of bools")
    otherwise, then = cases
    return ctx("Select", which, then, otherwise)


def _sign(ctx: Context, eqn: Any, x: Array) -> Array:
    if ctx.result.dtype.kind == "u":
        return ctx("Minimum", x, ctx.like(1, x))
    result = ctx("Sign", x)
    if ctx.options.exact and _is_float(ctx, x):
        return ctx("Select", _is_nan(ctx, x), x, result)
    return result


def _tanh(ctx: Context, eqn: Any, x: Array) -> Array:
    if ctx.result.dtype != np.float32 or not ctx.options.kernels:
        return ctx("Tanh", x)
    # 2 sigmoid(2x) - 1: the float32 kernel of Tanh is off by 1e-4, that of Sigmoid by 8e-7;
    # in float16 this would lose what is near zero.
    two = ctx.like(2, x)
    twice = ctx("Mul", x, two)
    return ctx("Sub", ctx("Mul", ctx("Sigmoid", twice), two), ctx.like(1, x))


def _log1p(ctx: Context, eqn: Any, x: Array) -> Array:
    """In float16 the kernel adds the 1 first: 1.4 % off for 0.035."""
    if ctx.result.dtype != np.float16 or not ctx.options.kernels:
        return ctx("Log1p", x)
    wide = Tensor(np.dtype(np.float32), ctx.result.shape)
    return ctx.cast(ctx("Log1p", ctx.cast(x, np.float32), type=wide), np.float16)


def _reduce_precision(ctx: Context, eqn: Any, x: Array) -> Array:
    bits = eqn.params["exponent_bits"], eqn.params["mantissa_bits"]
    for dtype in _FLOATS:
        if bits == (jnp.finfo(dtype).nexp, jnp.finfo(dtype).nmant):
            return ctx.cast(ctx.cast(x, dtype), ctx.result.dtype)
    raise UnsupportedError(f"no dtype has {bits[0]} bits of exponent and {bits[1]} of mantissa")


_FLOATS = jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64

_FULL = {
    "igamma": "Igamma", "igamma_grad_a": "IgammaGradA", "igammac": "Igammac",
    "regularized_incomplete_beta": "Betainc", "zeta": "Zeta",
}  # fmt: skip

_SAME = {
    "acos": "ACos", "acosh": "Acosh", "add": "Add", "add_any": "Add", "asin": "Asin",
    "asinh": "Asinh", "atan": "Atan", "atan2": "Atan2", "atanh": "Atanh", "bessel_i0e": "BesselI0e",
    "bessel_i1e": "BesselI1e", "ceil": "Ceil", "complex": "Complex", "cos": "Cos", "cosh": "Cosh",
    "digamma": "Digamma", "eq": "Equal", "erf": "Erf", "erf_inv": "Erfinv", "erfc": "Erfc",
    "exp": "Exp", "expm1": "Expm1", "floor": "Floor", "ge": "GreaterEqual", "gt": "Greater",
    "imag": "Imag", "is_finite": "IsFinite", "le": "LessEqual", "lgamma": "Lgamma", "log": "Log",
    "logistic": "Sigmoid", "lt": "Less", "mul": "Mul", "ne": "NotEqual",
    "neg": "Neg", "real": "Real", "rsqrt": "Rsqrt", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt",
    "square": "Square", "sub": "Sub", "tan": "Tan",
}  # fmt: skip

RULES: dict[str, Rule] = {
    **{name: operator(op) for name, op in _SAME.items()},
    **{name: of_full_shapes(op) for name, op in _FULL.items()},
    "abs": _abs,
    "cbrt": _cbrt,
    "clamp": _clamp,
    "conj": _conj,
    "convert_element_type": _convert,
    "div": _div,
    "exp2": _exp2,
    "integer_pow": _integer_pow,
    "max": _maximum,
    "min": _minimum,
    "nextafter": _nextafter,
    "polygamma": _polygamma,
    "pow": _pow,
    "reduce_precision": _reduce_precision,
    "rem": _rem,
    "round": _round,
    "select_n": _select_n,
    "sign": _sign,
    "log1p": _log1p,
    "tanh": _tanh,
}

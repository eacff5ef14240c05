"""Arithmetic, comparisons, bits, casts: operands of one shape, or of rank 0."""

from __future__ import annotations

import numpy as np
from jax.lax import RoundingMethod

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.values import Const, Tensor
from msckpt_jax.lowering.context import Array, Context
from msckpt_jax.lowering.rule import Rule, rule


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


def is_nan(ctx: Context, x: Array) -> Array:
    return ctx("NotEqual", x, x, type=_bool_like(ctx, x))


def shaped(ctx: Context) -> Tensor:
    """Bools in the shape of the result."""
    return Tensor(np.dtype(bool), ctx.result.shape)


def is_float(ctx: Context, x: Array) -> bool:
    return kind_of(ctx.type(x).dtype) == "f"


def _abs(ctx: Context, x: Array) -> Array:
    kind = kind_of(ctx.type(x).dtype)
    if kind == "u":
        return x
    return ctx("ComplexAbs" if kind == "c" else "Abs", x)


def _cbrt(ctx: Context, x: Array) -> Array:
    """Raise to a third, and take a step of Newton's: 1/3 is rounded, more than 16 bits bear."""
    dtype = ctx.result.dtype
    x = ctx.cast(x, np.float32) if dtype.itemsize == 2 else x
    t, third = ctx.type(x), ctx.like(1 / 3, x)
    size = ctx("Abs", x, type=t)
    root = ctx("Pow", size, third, type=t)
    cubed = ctx("Mul", ctx("Div", root, size, type=t), ctx("Mul", root, root, type=t), type=t)
    rest = ctx("Mul", ctx("Sub", ctx.like(1, x), cubed, type=t), third, type=t)
    better = ctx("Add", root, ctx("Mul", root, rest, type=t), type=t)
    small = ctx("Less", ctx("Abs", rest, type=t), ctx.like(0.5, x), type=shaped(ctx))
    root = ctx("Select", small, better, root, type=t)  # the step is endless at 0 and infinity
    return ctx.cast(ctx("Mul", ctx("Sign", x, type=t), root, type=t), dtype)


def _convert(ctx: Context, x: Array) -> Array:
    old, new = ctx.type(x).dtype, ctx.result.dtype
    if old.kind == "c" and new.kind != "c":
        part = Tensor(np.dtype(f"f{old.itemsize // 2}"), ctx.result.shape)
        x = ctx("Real", x, type=part)
    if is_float(ctx, x) and new.kind in "iu" and ctx.options.guarded:
        return _saturating(ctx, x, new)
    return ctx.cast(x, new)


def _saturating(ctx: Context, x: Array, dtype: np.dtype) -> Array:
    """XLA's conversion: a value out of range becomes the nearest value, NaN becomes 0."""
    if isinstance(x, Const):
        return ctx.cast(x, dtype)  # folded by JAX before
    wide = x if ctx.type(x).dtype.itemsize > 2 else ctx.cast(x, np.float32)
    of, info = ctx.type(wide), np.iinfo(dtype)
    number = ctx("Select", is_nan(ctx, wide), full(ctx, ctx.like(0, wide)), wide, type=of)
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


def full(ctx: Context, x: Array) -> Array:
    """``x`` in the shape of the result."""
    if ctx.type(x).shape == ctx.result.shape:
        return x
    return ctx("BroadcastTo", x, ctx.sizes(ctx.result.shape, infer=False),
               type=Tensor(ctx.type(x).dtype, ctx.result.shape))  # fmt: skip


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
    if y > 0:
        return result
    return ctx("Reciprocal", result) if is_float(ctx, x) else ctx("Div", ctx.like(1, x), result)


def _nextafter(ctx: Context, x: Array, y: Array) -> Array:
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


_FULL = {
    "complex": "Complex",
    "igamma": "Igamma", "igamma_grad_a": "IgammaGradA", "igammac": "Igammac",
    "regularized_incomplete_beta": "Betainc", "zeta": "Zeta",
}  # fmt: skip

_SAME = {
    "acos": "ACos", "acosh": "Acosh", "add": "Add", "add_any": "Add", "asin": "Asin",
    "asinh": "Asinh", "atan": "Atan", "atan2": "Atan2", "atanh": "Atanh", "bessel_i0e": "BesselI0e",
    "bessel_i1e": "BesselI1e", "ceil": "Ceil", "cosh": "Cosh",
    "digamma": "Digamma", "eq": "Equal", "erf": "Erf", "erf_inv": "Erfinv", "floor": "Floor",
    "ge": "GreaterEqual", "gt": "Greater", "imag": "Imag", "is_finite": "IsFinite",
    "le": "LessEqual", "lgamma": "Lgamma", "lt": "Less", "ne": "NotEqual", "neg": "Neg",
    "real": "Real", "sinh": "Sinh", "square": "Square", "sub": "Sub",
}  # fmt: skip
#: Primitives that XLA computes as accurately as it is told to.
_ACCURATE = {
    "cos": "Cos", "erfc": "Erfc", "exp": "Exp",
    "logistic": "Sigmoid", "rsqrt": "Rsqrt", "sin": "Sin", "sqrt": "Sqrt", "tan": "Tan",
}  # fmt: skip
ACCURACY = ("accuracy",)

RULES: dict[str, Rule] = {
    **{name: operator(op) for name, op in _SAME.items()},
    **{name: operator(op, *ACCURACY) for name, op in _ACCURATE.items()},
    **{name: of_full_shapes(op) for name, op in _FULL.items()},
    "abs": rule(_abs, "Abs", "ComplexAbs"),
    "cbrt": rule(
        _cbrt, "Abs", "Pow", "Sign", "Mul", "Div", "Sub", "Add", "Less", "Select",
        ignores=ACCURACY,
    ),
    "conj": by_kind("input_dtype", c="Conj"),
    "convert_element_type": rule(
        _convert, "Real", "NotEqual", "Maximum", "Minimum", "Greater", "BroadcastTo", "Select",
        ignores=("new_dtype", "weak_type", "sharding"),
    ),
    "exp2": rule(_exp2, "Pow", ignores=ACCURACY),
    "integer_pow": rule(_integer_pow, "Mul", "Div", "Reciprocal", "BroadcastTo"),
    "mul": rule(_mul, "Mul"),
    "nextafter": rule(_nextafter, "NextAfter", "BroadcastTo"),
    "pow": rule(_pow, "Pow"),
    "round": rule(_round, "Rint", "Abs", "Floor", "Sub", "GreaterEqual", "Sign", "Add", "Mul"),
    "select_n": rule(_select_n, "Select"),
}  # fmt: skip

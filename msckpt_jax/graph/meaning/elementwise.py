"""Operators that act on each element: arithmetic, comparison, logic, casts, special functions."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.scipy import special


def cast(x: Any, dtype: Any, *_: Any) -> Any:
    return jnp.asarray(x).astype(dtype)


def _abs(x: Any) -> Any:
    # MindSpore's Abs of complex numbers is complex, too; ComplexAbs is real.
    return jnp.abs(x) + 0j if jnp.iscomplexobj(x) else jnp.abs(x)


def _trunc_div(x: Any, y: Any) -> Any:
    x, y = jnp.broadcast_arrays(x, y)
    return lax.div(x, y) if jnp.issubdtype(x.dtype, jnp.integer) else jnp.trunc(x / y)


def _quotient(whole: Callable[..., Any], rounded: Callable[..., Any]) -> Callable[..., Any]:
    """A whole quotient or what is left, as MindSpore has it: from the rounded quotient of float64.

    Of narrower numbers, too, which are exact by ``whole``, but at infinity and at zeros' signs.
    """

    def run(x: Any, y: Any) -> Any:
        dtype = jnp.result_type(x, y)
        if not jnp.issubdtype(dtype, jnp.floating):
            return whole(x, y)
        if dtype == np.float64:
            return rounded(x, y)
        plain = (x != 0) & jnp.isfinite(x) & jnp.isfinite(y)
        return jnp.where(plain, whole(x, y), rounded(x, y))

    return run


_floor_div = _quotient(jnp.floor_divide, lambda x, y: jnp.floor(x / y))
_floor_mod = _quotient(jnp.mod, lambda x, y: x - jnp.floor(x / y) * y)
_mod = _quotient(
    jnp.fmod, lambda x, y: jnp.where((x == 0) & ~jnp.isnan(y), x, x - jnp.trunc(x / y) * y)
)


def _scaled(y: Any, alpha: Any) -> Any:
    """The product; truth values, which MindSpore adds to each other, stay what they are."""
    return y if isinstance(alpha, int | float) and alpha == 1 else y * alpha


def _squared_difference(x: Any, y: Any) -> Any:
    """The square of the difference; of complex numbers, the square of its absolute value."""
    difference = x - y
    return difference * jnp.conj(difference)


#: MindSpore's RoundingMode: the quotient is kept, rounded to zero, or rounded down.
_ROUNDED: dict[Any, Callable[..., Any]] = {
    None: jnp.true_divide, 0: jnp.true_divide, 1: _trunc_div, 2: _floor_div,
}  # fmt: skip


def _div_mod(x: Any, y: Any, rounding_mode: Any = None) -> Any:
    return _ROUNDED[rounding_mode](x, y)


def _real_div(x: Any, y: Any) -> Any:
    return _trunc_div(x, y) if jnp.issubdtype(jnp.result_type(x), jnp.integer) else x / y


def _round(x: Any, decimals: int = 0) -> Any:
    return jnp.round(x, decimals)


def _clamp(x: Any, low: Any = None, high: Any = None) -> Any:
    x = x if low is None else jnp.maximum(x, low)
    return x if high is None else jnp.minimum(x, high)


def _xdivy(x: Any, y: Any) -> Any:
    return jnp.where(x == 0, 0, x / jnp.where(x == 0, 1, y))


def _nan_to_num(x: Any, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    return jnp.nan_to_num(x, nan=nan or 0.0, posinf=posinf, neginf=neginf)


def _logical(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y: fn(jnp.asarray(x, bool), jnp.asarray(y, bool))


def _population_count(x: Any) -> Any:
    return lax.population_count(x).astype(jnp.uint8)


def _frac(x: Any) -> Any:
    return x - jnp.trunc(x)


def _is_close(x: Any, y: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: Any = True) -> Any:
    return jnp.isclose(x, y, rtol, atol, bool(equal_nan))


def _logit(x: Any, eps: Any = None) -> Any:
    x = x if eps is None or eps < 0 else jnp.clip(x, eps, 1 - eps)
    return jnp.log(x / (1 - x))


def _mvlgamma(x: Any, *, p: int) -> Any:
    return special.multigammaln(x, p)


def _scalar_cast(x: Any, dtype: Any) -> Any:
    if isinstance(x, bool | int | float):
        return {"b": bool, "i": int, "u": int, "f": float}[np.dtype(dtype).kind](x)
    return cast(x, dtype)


def _of_scalars(known: Callable[..., Any], traced: Callable[..., Any]) -> Callable[..., Any]:
    """The meaning that Python has for numbers, and JAX for those not known while tracing."""

    def run(*args: Any) -> Any:
        return (traced if any(isinstance(arg, Tracer) for arg in args) else known)(*args)

    return run


_UNARY: dict[str, Callable[..., Any]] = {
    "Abs": _abs, "ComplexAbs": jnp.abs, "Neg": jnp.negative, "Sign": jnp.sign,
    "Square": jnp.square, "Sqrt": jnp.sqrt, "Rsqrt": lax.rsqrt, "Reciprocal": jnp.reciprocal,
    "Inv": lambda x: jnp.reciprocal(x * 1.0).astype(x.dtype),
    "Exp": jnp.exp, "Exp2": jnp.exp2, "Expm1": jnp.expm1,
    "Log": jnp.log, "Log1p": jnp.log1p, "Log2": jnp.log2, "Log10": jnp.log10,
    "Sin": jnp.sin, "Cos": jnp.cos, "Tan": jnp.tan, "Asin": jnp.arcsin, "AsinExt": jnp.arcsin,
    "ACos": jnp.arccos, "AcosExt": jnp.arccos, "Atan": jnp.arctan, "AtanExt": jnp.arctan,
    "Sinh": jnp.sinh, "Cosh": jnp.cosh, "Asinh": jnp.arcsinh, "AsinhExt": jnp.arcsinh,
    "Acosh": jnp.arccosh, "AcoshExt": jnp.arccosh, "Atanh": jnp.arctanh,
    "Sinc": jnp.sinc, "Erf": special.erf, "Erfc": special.erfc, "Erfinv": special.erfinv,
    "Lgamma": special.gammaln, "Digamma": special.digamma,
    "BesselI0": special.i0, "BesselI0e": special.i0e,
    "BesselI1": special.i1, "BesselI1e": special.i1e,
    "Floor": jnp.floor, "Ceil": jnp.ceil, "Trunc": jnp.trunc, "Rint": jnp.rint, "Frac": _frac,
    "IsFinite": jnp.isfinite, "IsInf": jnp.isinf, "IsNan": jnp.isnan, "IsNegInf": jnp.isneginf,
    "LogicalNot": lambda x: ~jnp.asarray(x, bool), "Invert": jnp.invert, "BitwiseNot": jnp.invert,
    "PopulationCount": _population_count,
    "Real": jnp.real, "RealView": jnp.real, "Imag": jnp.imag, "ImagView": jnp.imag,
    "Conj": jnp.conj, "Angle": jnp.angle,
    "Identity": jnp.asarray, "Copy": jnp.asarray, "Clone": jnp.asarray, "Contiguous": jnp.asarray,
    "TensorMove": jnp.asarray, "StopGradient": lax.stop_gradient,
    "Detach": lambda x, *_: lax.stop_gradient(x),
}  # fmt: skip

_BINARY: dict[str, Callable[..., Any]] = {
    "Add": jnp.add, "AddV2": jnp.add, "Sub": jnp.subtract, "Mul": jnp.multiply,
    "Muls": jnp.multiply,
    "Div": jnp.true_divide, "Divs": jnp.true_divide, "RealDiv": _real_div,
    "TruncateDiv": _trunc_div, "FloorDiv": _floor_div, "FloorDivScalar": _floor_div,
    "Mod": _mod, "TruncateMod": jnp.fmod, "FmodScalar": jnp.fmod, "FmodTensor": jnp.fmod,
    "FloorMod": _floor_mod, "RemainderTensorTensor": _floor_mod,
    "RemainderTensorScalar": _floor_mod, "RemainderScalarTensor": _floor_mod,
    "DivNoNan": lambda x, y: jnp.where(y == 0, 0, x / jnp.where(y == 0, 1, y)),
    "MulNoNan": lambda x, y: jnp.where(y == 0, 0, x * y), "Xdivy": _xdivy, "Xlogy": special.xlogy,
    "XLogYScalarOther": special.xlogy, "XLogYScalarSelf": special.xlogy,
    "Pow": jnp.power, "PowTensorScalar": jnp.power, "PowScalarTensor": jnp.power,
    "SquaredDifference": _squared_difference, "Hypot": jnp.hypot,
    "Atan2": jnp.arctan2, "Atan2Ext": jnp.arctan2, "NextAfter": jnp.nextafter,
    "LogAddExp": jnp.logaddexp, "LogAddExp2": jnp.logaddexp2, "Gcd": jnp.gcd, "Lcm": jnp.lcm,
    "Maximum": jnp.maximum, "Minimum": jnp.minimum, "Fmax": jnp.fmax, "ClampMin": jnp.maximum,
    "Heaviside": lambda x, y: jnp.heaviside(x, y).astype(x.dtype),
    "Equal": jnp.equal, "EqScalar": jnp.equal, "NotEqual": jnp.not_equal,
    "NeScalar": jnp.not_equal, "Greater": jnp.greater, "GreaterEqual": jnp.greater_equal,
    "GreaterEqualScalar": jnp.greater_equal, "Less": jnp.less,
    "LessScalar": jnp.less, "LessEqual": jnp.less_equal,
    "LogicalAnd": _logical(jnp.logical_and), "LogicalOr": _logical(jnp.logical_or),
    "LogicalXor": _logical(jnp.logical_xor),
    "BitwiseAnd": jnp.bitwise_and, "BitwiseAndTensor": jnp.bitwise_and,
    "BitwiseAndScalar": jnp.bitwise_and, "BitwiseOr": jnp.bitwise_or,
    "BitwiseOrTensor": jnp.bitwise_or, "BitwiseOrScalar": jnp.bitwise_or,
    "BitwiseXor": jnp.bitwise_xor, "BitwiseXorTensor": jnp.bitwise_xor,
    "BitwiseXorScalar": jnp.bitwise_xor,
    "LeftShift": jnp.left_shift, "RightShift": jnp.right_shift,
    "Complex": lax.complex, "Polar": lambda r, a: lax.complex(r * jnp.cos(a), r * jnp.sin(a)),
    "Igamma": special.gammainc, "IgammaGradA": lax.igamma_grad_a,
    "Igammac": special.gammaincc, "Zeta": special.zeta,
    "Polygamma": special.polygamma,
    "TypeAs": lambda x, y: x.astype(y.dtype),
}  # fmt: skip

#: Operators of scalars: Python's numbers while they come from shapes, arrays from tensors.
_SCALARS: dict[str, Callable[..., Any]] = {
    "ScalarAdd": operator.add, "ScalarSub": operator.sub, "ScalarMul": operator.mul,
    "ScalarDiv": operator.truediv, "ScalarFloorDiv": operator.floordiv, "ScalarMod": operator.mod,
    "ScalarPow": operator.pow, "ScalarEq": operator.eq, "ScalarGt": operator.gt,
    "ScalarGe": operator.ge, "ScalarLt": operator.lt, "ScalarLe": operator.le,
    "ScalarUsub": operator.neg, "ScalarUadd": operator.pos, "ScalarCast": _scalar_cast,
    "ScalarMax": _of_scalars(max, jnp.maximum), "ScalarMin": _of_scalars(min, jnp.minimum),
    "ScalarToTensor": lambda x, dtype=None: jnp.asarray(x, dtype),
    "TensorToScalar": lambda x: x.item() if isinstance(x, np.ndarray) else x,
    "TupleToTensor": lambda x, dtype=None: jnp.asarray(x, dtype),
    "TensorToTuple": _of_scalars(lambda x: tuple(x.tolist()), lambda x: tuple(jnp.unstack(x))),
    "shape_mul": lambda x: reduce(operator.mul, x, 1),
    "BoolNot": _of_scalars(operator.not_, jnp.logical_not),
    "bool_and": _of_scalars(lambda x, y: x and y, jnp.logical_and),
    "bool_or": _of_scalars(lambda x, y: x or y, jnp.logical_or),
    "bool_eq": operator.eq, "tuple_equal": operator.eq, "list_equal": operator.eq,
    "sequence_len": len, "TupleGetItem": lambda x, index: x[index], "Shape": jnp.shape,
}  # fmt: skip

TABLE: dict[str, Callable[..., Any]] = {
    **_UNARY,
    **_BINARY,
    **_SCALARS,
    "AddN": lambda x: reduce(operator.add, x),
    "AddExt": lambda x, y, alpha=1: x + _scaled(y, alpha),
    "AddScalar": lambda x, y, alpha=1: x + y * alpha,
    "SubExt": lambda x, y, alpha=1: x - _scaled(y, alpha),
    "SubScalar": lambda x, y, alpha=1: x - y * alpha,
    "DivMod": _div_mod,
    "DivMods": _div_mod,
    "Addcmul": lambda x, a, b, value: x + value * a * b,
    "AddcmulExt": lambda x, a, b, value: x + value * a * b,
    "Addcdiv": lambda x, a, b, value: x + value * a / b,
    "AddcdivExt": lambda x, a, b, value: x + value * a / b,
    "Lerp": lambda x, end, weight: x + weight * (end - x),
    "LerpScalar": lambda x, end, weight: x + weight * (end - x),
    "Round": _round,
    "ClampTensor": _clamp,
    "ClampScalar": _clamp,
    "Select": jnp.where,
    "SelectV2": jnp.where,
    "MaskedFill": lambda x, mask, value: jnp.where(mask, jnp.asarray(value, x.dtype), x),
    "MaskedFillScalar": lambda x, mask, value: jnp.where(mask, jnp.asarray(value, x.dtype), x),
    "Cast": cast,
    "ToDtype": cast,
    "NanToNum": _nan_to_num,
    "IsClose": _is_close,
    "Logit": _logit,
    "Betainc": special.betainc,
    "Mvlgamma": _mvlgamma,
    "ViewDtype": lambda x, dtype: jax.lax.bitcast_convert_type(x, dtype),
}

"""Operators that act on each element: arithmetic, comparison, activations, dtypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy import special

from msckpt_jax.air.meaning.operands import Meaning, NotRunError, alike, along, dtype_of


def _alike(function: Callable[..., Any]) -> Meaning:
    """A function of operands of one dtype, which GE does not promote; they broadcast."""

    def meaning(*inputs: Any) -> Any:
        alike(*inputs)
        return function(*jnp.broadcast_arrays(*inputs))

    return meaning


def _where(condition: Any, *branches: Any) -> Any:
    return _alike(lambda x, y: jnp.where(condition, x, y))(*branches)


def _select(condition: Any, x: Any, y: Any) -> Any:
    """Select elements by a condition of the same shape, or rows by a vector or scalar."""
    alike(x, y)
    rank, shape = jnp.ndim(condition), jnp.shape(x)
    if jnp.shape(y) != shape or (rank > 1 and jnp.shape(condition) != shape):
        raise ValueError(f"Select of {jnp.shape(condition)}, {shape} and {jnp.shape(y)}")
    if rank == 1 and shape:
        condition = along(condition, len(shape), 0)
    return jnp.where(condition, x, y)


def _add_n(parts: Sequence[Any]) -> Any:
    alike(*parts)
    if len({jnp.shape(part) for part in parts}) > 1:
        raise ValueError("AddN of several shapes; GE does not broadcast them")
    return sum(parts[1:], parts[0])


def _complex(real: Any, imaginary: Any, *, Tout: int) -> Any:  # noqa: N803 - GE's name
    alike(real, imaginary)
    return _as_told(lax.complex(*jnp.broadcast_arrays(real, imaginary)), Tout)


def _part(function: Callable[[Any], Any]) -> Meaning:
    return lambda x, *, Tout: _as_told(function(x), Tout)  # noqa: N803 - GE's name


def _as_told(result: Any, number: int) -> Any:
    """The result, if it has the dtype that the attribute ``Tout`` says."""
    wanted = dtype_of(number)
    if result.dtype != wanted:
        raise ValueError(f"Tout is {wanted}, these operands give {result.dtype}")
    return result


def _softmax(x: Any, *, axes: Sequence[int], half_to_float: bool) -> Any:
    wide = half_to_float and x.dtype == jnp.float16
    return jax.nn.softmax(x.astype(jnp.float32) if wide else x, tuple(axes))


def _of_floats(function: Callable[..., Any]) -> Meaning:
    """A function of numbers with fractions; of integers GE gives integers, by no rule we know."""

    def meaning(*inputs: Any) -> Any:
        if jnp.issubdtype(jnp.asarray(inputs[0]).dtype, jnp.integer):
            raise NotRunError("GE rounds this function of integers in a way that is not defined")
        return function(*inputs)

    return meaning


def _hard_sigmoid(x: Any, *, alpha: float, beta: float) -> Any:
    return _of_floats(lambda x: jnp.clip(alpha * x + beta, 0, 1))(x)


def _affine(x: Any, scale: float, shift: float) -> Any:
    return scale * x + shift if (scale, shift) != (1.0, 0.0) else x


def _exp(x: Any, *, base: float, scale: float, shift: float) -> Any:
    power = _affine(x, scale, shift)
    return jnp.exp(power) if base == -1.0 else jnp.power(base, power).astype(x.dtype)


def _log(x: Any, *, base: float, scale: float, shift: float) -> Any:
    """The logarithm; of integers it is float32."""
    if x.dtype.kind in "biu":
        x = x.astype(jnp.float32)
    logarithm = jnp.log(_affine(x, scale, shift))
    return logarithm if base == -1.0 else logarithm / np.log(base)


def _elu(x: Any, *, alpha: float, scale: float, input_scale: float) -> Any:
    return scale * jax.nn.elu(x * input_scale, alpha)


def _cast(x: Any, *, dst_type: int) -> Any:
    """Convert; of a complex number the real part is left."""
    wanted = dtype_of(dst_type)
    if jnp.iscomplexobj(x) and not jnp.issubdtype(wanted, jnp.complexfloating):
        x = jnp.real(x)
    return lax.convert_element_type(x, wanted)


def _bitcast(x: Any, *, type: int) -> Any:
    return lax.bitcast_convert_type(x, dtype_of(type))


def _right_shift(x: Any, y: Any) -> Any:
    signed = jnp.issubdtype(x.dtype, jnp.signedinteger)
    return (lax.shift_right_arithmetic if signed else lax.shift_right_logical)(x, y)


TABLE: dict[str, Meaning] = {
    # One operand.
    "Abs": jnp.abs,
    "Acos": _of_floats(jnp.arccos),
    "Acosh": jnp.arccosh,
    "Asin": _of_floats(jnp.arcsin),
    "Asinh": jnp.arcsinh,
    "Atan": jnp.arctan,
    "Atanh": jnp.arctanh,
    "BesselI0e": special.i0e,
    "BesselI1e": special.i1e,
    "Ceil": jnp.ceil,
    "Conj": jnp.conj,
    "Cos": jnp.cos,
    "Cosh": jnp.cosh,
    "Digamma": special.digamma,
    "Erf": special.erf,
    "Erfc": special.erfc,
    "Erfinv": special.erfinv,
    "Exp": _exp,
    "Expm1": jnp.expm1,
    "Floor": jnp.floor,
    "Invert": jnp.invert,
    "IsFinite": jnp.isfinite,
    "IsInf": jnp.isinf,
    "IsNan": jnp.isnan,
    "Lgamma": special.gammaln,
    "Log": _log,
    "Log1p": jnp.log1p,
    "LogicalNot": jnp.logical_not,
    "Neg": jnp.negative,
    "PopulationCount": lambda x: lax.population_count(x).astype(jnp.uint8),
    "Reciprocal": jnp.reciprocal,
    "Rint": jnp.rint,
    "Round": lambda x, *, decimals: jnp.round(x, decimals),
    "Rsqrt": lax.rsqrt,
    "Sigmoid": jax.nn.sigmoid,
    "Sign": jnp.sign,
    "Sin": jnp.sin,
    "Sinh": jnp.sinh,
    "Sqrt": jnp.sqrt,
    "Square": jnp.square,
    "Tan": _of_floats(jnp.tan),
    "Tanh": jnp.tanh,
    "Trunc": jnp.trunc,
    # Two or three operands, broadcast.
    "Add": _alike(jnp.add),
    "AddN": _add_n,
    "Adds": lambda x, *, value: x + jnp.asarray(value, x.dtype),
    "Atan2": _alike(jnp.arctan2),
    "Betainc": _alike(special.betainc),
    "BitwiseAnd": _alike(jnp.bitwise_and),
    "BitwiseOr": _alike(jnp.bitwise_or),
    "BitwiseXor": _alike(jnp.bitwise_xor),
    "ClipByValue": _alike(lambda x, low, high: jnp.minimum(jnp.maximum(x, low), high)),
    "ClipByValueV2": _alike(lambda x, low, high: jnp.minimum(jnp.maximum(x, low), high)),
    "Div": _alike(lax.div),
    "Equal": _alike(jnp.equal),
    "FloorDiv": _alike(jnp.floor_divide),
    "FloorMod": _alike(jnp.mod),
    "Greater": _alike(jnp.greater),
    "GreaterEqual": _alike(jnp.greater_equal),
    "Igamma": _alike(special.gammainc),
    "Igammac": _alike(special.gammaincc),
    "LeftShift": _alike(lax.shift_left),
    "Less": _alike(jnp.less),
    "LessEqual": _alike(jnp.less_equal),
    "LogicalAnd": _alike(jnp.logical_and),
    "LogicalOr": _alike(jnp.logical_or),
    "Maximum": _alike(jnp.maximum),
    "Minimum": _alike(jnp.minimum),
    "Mod": _alike(lax.rem),
    "Mul": _alike(jnp.multiply),
    "Muls": lambda x, *, value: x * jnp.asarray(value, x.dtype),
    "NextAfter": _alike(jnp.nextafter),
    "NotEqual": _alike(jnp.not_equal),
    "Pow": _alike(jnp.power),
    "RealDiv": _of_floats(_alike(jnp.true_divide)),
    "RightShift": _alike(_right_shift),
    "Select": _select,
    "SelectV2": _where,
    "Sub": _alike(jnp.subtract),
    "TruncateDiv": _alike(lax.div),
    "TruncateMod": _alike(lax.rem),
    "Zeta": _alike(special.zeta),
    # Activations.
    "Elu": _elu,
    "Gelu": lambda x: jax.nn.gelu(x, approximate=True),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": jax.nn.hard_swish,
    "LeakyRelu": lambda x, *, negative_slope: jax.nn.leaky_relu(x, negative_slope),
    "LogSoftmaxV2": lambda x, *, axes: jax.nn.log_softmax(x, tuple(axes)),
    "Mish": jax.nn.mish,
    "PRelu": lambda x, w: jnp.where(x > 0, x, x * (w if w.size == 1 else along(w, x.ndim, 1))),
    "Relu": jax.nn.relu,
    "Relu6": lambda x: jnp.minimum(jnp.maximum(x, 0), 6),
    "Selu": jax.nn.selu,
    "SoftmaxV2": _softmax,
    "Softplus": jax.nn.softplus,
    "Softsign": jax.nn.soft_sign,
    "Swish": lambda x, *, scale: x * jax.nn.sigmoid(scale * x),
    # Dtypes and complex numbers.
    "Bitcast": _bitcast,
    "Cast": _cast,
    "Complex": _complex,
    "ComplexAbs": _part(jnp.abs),
    "Imag": _part(jnp.imag),
    "Real": _part(jnp.real),
}

"""Elementary functions in float64, which onnxruntime has in float32 only, and ``atan2``."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.polynomial import chebyshev
from scipy import special

from msckpt_jax.lowering.rewrites.declined import Declined
from msckpt_jax.lowering.rewrites.ignoring import ignoring
from msckpt_jax.lowering.rewrites.numeric import giles

#: Cephes' ``atan``: x + x z P(z) / Q(z), z the square of x, up to 0.66.
_ATAN_P = (
    -8.750608600031904122785e-1, -1.615753718733365076637e1, -7.500855792314704667340e1,
    -1.228866684490136173410e2, -6.485021904942025371773e1,
)  # fmt: skip
_ATAN_Q = (
    1.0, 2.485846490142306297962e1, 1.650270098316988542046e2, 4.328810604912902668951e2,
    4.853903996359136964868e2, 1.945506571482613964425e2,
)  # fmt: skip


def atan2(y: Array, x: Array) -> Array:
    """The angle in the first quadrant with its signs; a zero shows its sign in its reciprocal."""

    def negative(value: Array) -> Array:
        return (value < 0) | ((value == 0) & (1 / value < 0))

    up, along = jnp.abs(y), jnp.abs(x)
    ratio = jnp.where(up == along, 1, up / along)  # also where both are infinite
    first = jnp.where(up == 0, 0, lax.atan(ratio.astype(x.dtype)))
    angle = jnp.where(negative(x), np.pi - first, first)
    angle = jnp.where(jnp.isnan(x) | jnp.isnan(y), jnp.nan, angle)
    sign = jnp.where(negative(y), -1.0, 1.0)  # a choice loses the sign of -0.0 in onnxruntime
    return (angle * sign).astype(x.dtype)


def _atan(x: Array) -> Array:
    size = jnp.abs(x)
    large, middle = size > math.tan(3 * math.pi / 8), size > 0.66
    reduced = jnp.where(middle, (size - 1) / (size + 1), size)
    reduced = jnp.where(large, -1 / size, reduced)
    z = reduced * reduced
    part = reduced + reduced * z * jnp.polyval(np.array(_ATAN_P), z) / jnp.polyval(
        np.array(_ATAN_Q), z
    )
    start = jnp.where(large, np.pi / 2, jnp.where(middle, np.pi / 4, 0))
    return jnp.where(x < 0, -(start + part), jnp.where(x == 0, x, start + part))


def _asin(x: Array) -> Array:
    return lax.atan(x / jnp.sqrt((1 - x) * (1 + x)))


def _acos(x: Array) -> Array:
    return 2 * lax.atan(jnp.sqrt((1 - x) / (1 + x)))


def _sinh(x: Array) -> Array:
    small = jnp.expm1(jnp.clip(x, -1, 1))
    near = (small + small / (small + 1)) / 2
    return jnp.where(jnp.abs(x) < 1, near, (jnp.exp(x) - jnp.exp(-x)) / 2)


def _asinh(x: Array) -> Array:
    size = jnp.abs(x)
    square = jnp.minimum(size, 1e100) ** 2
    near = jnp.log1p(size + square / (1 + jnp.sqrt(square + 1)))
    positive = jnp.where(size < 1e100, near, jnp.log(size) + np.log(2))
    return jnp.where(x < 0, -positive, positive)


def _acosh(x: Array) -> Array:
    size = jnp.minimum(x, 1e100)
    near = jnp.log1p(size - 1 + jnp.sqrt((size - 1) * (size + 1)))
    near = jnp.where(x < 1, jnp.nan, near)
    return jnp.where(x < 1e100, near, jnp.log(x) + np.log(2))


@cache
def complement(degree: int) -> np.ndarray:
    """Chebyshev's coefficients of log(erfc(z) / t) + z² over t = 2 / (2 + z)."""

    def wanted(x: Any) -> Any:
        t = (np.asarray(x) + 1) / 2
        return np.log(special.erfcx(2 / t - 2) / t)

    return chebyshev.chebinterpolate(wanted, degree)


def clenshaw(coefficients: np.ndarray, t: Array) -> Array:
    """The sum of Chebyshev's polynomials of ``t``, which lies between -1 and 1."""
    first, second = jnp.zeros_like(t), jnp.zeros_like(t)
    for c in coefficients[:0:-1]:
        first, second = 2 * t * first - second + float(c), first
    return t * first - second + float(coefficients[0])


def _erfc(x: Array) -> Array:
    size = jnp.minimum(jnp.abs(x), 1e3)
    t = 2 / (2 + size)
    # In two steps, since the square is rounded: that of the first part is not.
    part = jnp.round(size * 16) / 16
    power = clenshaw(complement(32), 2 * t - 1) - (size - part) * (size + part)
    far = t * jnp.exp(power) * jnp.exp(-part * part)
    result = jnp.where(x < 0, 2 - far, far)
    return jnp.where(jnp.abs(x) < 0.5, 1 - _small_erf(x), jnp.where(jnp.isnan(x), x, result))


def _erf(x: Array) -> Array:
    return jnp.where(jnp.abs(x) < 0.5, _small_erf(x), 1 - _erfc(x))


def _small_erf(x: Array) -> Array:
    """The error function of a small number, by its series."""
    z = jnp.minimum(x * x, 0.25)
    terms = [(-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(13)]
    return 2 / math.sqrt(math.pi) * x * jnp.polyval(np.array(terms[::-1]), z)


def _erf_inv(x: Array) -> Array:
    """Refine the formula for float32 by Newton's steps: on erf near 0, else on its complement."""
    size = jnp.abs(x)
    w = -jnp.log((1 - size) * (1 + size))
    start = giles(size, w)
    near = jnp.minimum(start, 0.5)
    for _ in range(2):
        slope = 2 / math.sqrt(math.pi) * jnp.exp(-near * near)
        near = near - (_small_erf(near) - size) / slope
    wanted = jnp.log(jnp.maximum(1 - size, 1e-17))
    far = jnp.sqrt(jnp.maximum(-wanted - jnp.log(np.pi * jnp.maximum(-wanted, 1)) / 2, 0.1))
    far = jnp.where(w < 16, jnp.maximum(start, 0.4), far)
    for _ in range(3):
        t = 2 / (2 + far)
        scaled = clenshaw(complement(32), 2 * t - 1) + jnp.log(t)  # log(erfc(far)) + far²
        off = scaled - far * far - wanted
        far = far + off * math.sqrt(math.pi) / 2 * jnp.exp(scaled)
    near = jnp.where(size < 1e-9, math.sqrt(math.pi) / 2 * size, near)  # a step would be subnormal
    result = jnp.where(size < 0.5, near, far)
    result = jnp.where(size == 1, np.inf, jnp.where(size <= 1, result, np.nan))
    return jnp.where(x < 0, -result, jnp.where(x == 0, x, result))


def _in_float64(function: Callable[[Array], Array], x: Array) -> Array:
    if x.dtype != np.float64:
        raise Declined
    return function(x)


_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "acos": _acos,
    "acosh": _acosh,
    "asin": _asin,
    "asinh": _asinh,
    "atan": _atan,
    "atanh": lambda x: (jnp.log1p(x) - jnp.log1p(-x)) / 2,
    "cosh": lambda x: (jnp.exp(x) + jnp.exp(-x)) / 2,
    "erf": _erf,
    "erf_inv": _erf_inv,
    "erfc": _erfc,
    "sinh": _sinh,
    "tan": lambda x: jnp.sin(x) / jnp.cos(x),
}
FLOAT64 = {
    name: ignoring(partial(_in_float64, function), "accuracy")
    for name, function in _FUNCTIONS.items()
}
REWRITES = {"atan2": atan2}

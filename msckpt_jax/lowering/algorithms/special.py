"""Special functions, by the series and fractions that XLA and Cephes use."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.polynomial import chebyshev

from msckpt_jax.lowering.algorithms.elementary import clenshaw

#: Lanczos's approximation for g = 7, as in XLA's ``lgamma`` and ``digamma``.
_G = 7.0
_LANCZOS_0 = 0.99999999999980993227684700473478
_LANCZOS = (
    676.520368121885098567009190444019, -1259.13921672240287047156078755283,
    771.3234287776530788486528258894, -176.61502916214059906584551354,
    12.507343278686904814458936853, -0.13857109526572011689554707,
    9.984369578019570859563e-6, 1.50563273514931155834e-7,
)  # fmt: skip
#: (2k)! / B_2k for Euler and Maclaurin's formula, as in Cephes' ``zeta``.
_MACLAURIN = (
    12.0, -720.0, 30240.0, -1209600.0, 47900160.0, -1.8924375803183791606e9,
    7.47242496e10, -2.950130727918164224e12, 1.1646782814350067249e14,
    -4.5979787224074726105e15, 1.8152105401943546773e17, -7.1661652561756670113e18,
)  # fmt: skip
#: The most terms of a series or fraction.
_STEPS = 2000
_State: TypeAlias = tuple[Array, ...]


def _mirrored(x: Array) -> tuple[Array, Array]:
    """The places that need the reflection formula, and the argument of Lanczos's formula."""
    left = x < 0.5
    return left, jnp.where(left, -x, x - 1)


def _to_period(x: Array) -> Array:
    """The distance to the nearest whole number: |sin(pi x)| and tan(pi x) have period 1."""
    return x - jnp.round(x)


def lgamma(x: Array) -> Array:
    left, z = _mirrored(x)
    total = _LANCZOS_0 + sum(c / (z + (i + 1)) for i, c in enumerate(_LANCZOS))
    log_t = np.log(_G + 0.5) + jnp.log1p(z / (_G + 0.5))
    t = _G + 0.5 + z
    right = np.log(2 * np.pi) / 2 + (z + 0.5 - t / log_t) * log_t + jnp.log(total)
    sine = jnp.abs(jnp.sin(np.pi * _to_period(x)))
    result = jnp.where(left, np.log(np.pi) - jnp.log(sine) - right, right)
    pole = (x <= 0) & (x == jnp.floor(x))
    return jnp.where(pole | jnp.isinf(x), jnp.inf, result).astype(x.dtype)


def digamma(x: Array) -> Array:
    left, z = _mirrored(x)
    places = [(z + (i + 1), c) for i, c in enumerate(_LANCZOS)]
    slope = -sum(c / (at * at) for at, c in places)
    total = _LANCZOS_0 + sum(c / at for at, c in places)
    t = _G + 0.5 + z
    log_t = np.log(_G + 0.5) + jnp.log1p(z / (_G + 0.5))
    right = log_t + slope / total - _G / t
    angle = np.pi * _to_period(x)
    result = jnp.where(left, right - np.pi * jnp.cos(angle) / jnp.sin(angle), right)
    pole = (x <= 0) & (x == jnp.floor(x))
    result = jnp.where(pole, jnp.nan, result)
    return jnp.where(x == 0, _of_jax(lax.digamma, 0.0), result).astype(x.dtype)


@cache
def _of_jax(function: Callable[..., Array], *operands: float) -> float:
    """The value that this version of JAX computes: 0.11 has changed those at some ends."""
    with jax.ensure_compile_time_eval():
        return float(function(*map(jnp.float32, operands)))


def zeta(x: Array, q: Array) -> Array:
    """Hurwitz's zeta function: terms one by one, then the formula of Euler and Maclaurin."""
    count = 9
    total = sum((q + k) ** -x for k in range(count))
    a = q + count
    power = a**-x
    total = total + power * a / (x - 1) + power / 2
    factor, power = x, power / a
    for k, divisor in enumerate(_MACLAURIN):
        total = total + factor * power / divisor
        factor = factor * (x + (2 * k + 1)) * (x + (2 * k + 2))
        power = power / (a * a)
    whole = q == jnp.floor(q)
    total = jnp.where((q <= 0) & (whole | (x != jnp.floor(x))), jnp.nan, total)
    even = jnp.floor(x / 2) * 2 == x
    total = jnp.where((q <= 0) & whole & even, jnp.inf, total)
    total = jnp.where(x < 1, jnp.nan, total)
    return jnp.where(x == 1, jnp.inf, total).astype(x.dtype)


def _until_all(
    step: Callable[[_State], tuple[_State, Array]], state: _State, active: Array
) -> _State:
    """Take ``step`` where ``active``, until nothing changes any more."""

    def going(carry: Any) -> Array:
        _, active, count = carry
        return jnp.any(active) & (count < _STEPS)

    def once(carry: Any) -> Any:
        state, active, count = carry
        new, more = step(state)
        kept = tuple(jnp.where(active, n, o) for n, o in zip(new, state, strict=True))
        return kept, active & more, count + np.int32(1)

    return lax.while_loop(going, once, (state, active, np.int32(0)))[0]


def _front(a: Array, x: Array) -> Array:
    """x^a e^-x / gamma(a)."""
    return jnp.exp(a * jnp.log(x) - x - lgamma(a))


def _lower_series(a: Array, x: Array, active: Array) -> Array:
    tiny = jnp.finfo(x.dtype).eps

    def step(state: _State) -> tuple[_State, Array]:
        r, c, total = state
        r = r + 1
        c = c * (x / r)
        return (r, c, total + c), c > tiny * (total + c)

    ones = jnp.ones_like(x)
    total = _until_all(step, (a, ones, ones), active)[2]
    return total * _front(a, x) / a


def _upper_fraction(a: Array, x: Array, active: Array, least: int) -> Array:
    """Sum the continued fraction by Lentz's method, in ``least`` steps or more."""
    tiny, small = jnp.finfo(x.dtype).eps, jnp.finfo(x.dtype).tiny * 4

    def step(state: _State) -> tuple[_State, Array]:
        i, b, c, d, h = state
        i, b = i + 1, b + 2
        an = -i * (i - a)
        d = an * d + b
        c = b + an / c
        d = 1 / jnp.where(jnp.abs(d) < small, small, d)
        c = jnp.where(jnp.abs(c) < small, small, c)
        return (i, b, c, d, h * (d * c)), (jnp.abs(d * c - 1) > tiny) | (i < least)

    b = x + 1 - a
    d = 1 / jnp.where(b == 0, small, b)
    last = _until_all(step, (jnp.zeros_like(x), b, jnp.full_like(x, 1 / small), d, d), active)
    return _front(a, x) * last[4]


def _incomplete(a: Array, x: Array, *, upper: bool, least: int = 0) -> Array:
    series = (x <= 1) | (x <= a)
    right = (x > 0) & (a > 0) & jnp.isfinite(x) & jnp.isfinite(a)
    # Elsewhere the operands are 1 and 2, with which the loops end.
    ones = jnp.ones_like(x)
    by_series, by_fraction = right & series, right & ~series
    low = _lower_series(jnp.where(by_series, a, ones), jnp.where(by_series, x, ones), by_series)
    a2, x2 = jnp.where(by_fraction, a, ones), jnp.where(by_fraction, x, 2 * ones)
    high = _upper_fraction(a2, x2, by_fraction, least)
    inner = jnp.where(series, 1 - low, high) if upper else jnp.where(series, low, 1 - high)
    none, all_ = (1.0, 0.0) if upper else (0.0, 1.0)
    result = jnp.where(x == 0, none, jnp.where(jnp.isinf(x), all_, inner))
    settled = not math.isnan(_of_jax(lax.igamma, math.inf, 1.0))
    at_none = jnp.isinf(a) if settled else jnp.isinf(a) & (x < 1)
    result = jnp.where(at_none, none, jnp.where(a == 0, all_, result))
    wrong = (x < 0) | (a < 0) | jnp.isnan(x) | jnp.isnan(a)
    wrong |= (a == 0) & ((x == 0) if upper else (x < 1))  # as in JAX
    wrong |= jnp.isinf(a) & (jnp.isinf(x) if settled else (x >= 1) & jnp.isfinite(x))
    return jnp.where(wrong, jnp.nan, result).astype(x.dtype)


def igamma_grad_a(a: Array, x: Array) -> Array:
    """Differentiate series and fraction, by more steps: the slope converges after the fraction."""
    function = partial(_incomplete, x=x, upper=False, least=64)
    return jax.jvp(function, (a,), (jnp.ones_like(a),))[1]


def _beta_fraction(a: Array, b: Array, x: Array, active: Array) -> Array:
    """Sum the continued fraction by Lentz's method."""
    tiny, small = jnp.finfo(x.dtype).eps, jnp.finfo(x.dtype).tiny * 4

    def kept(value: Array) -> Array:
        return jnp.where(jnp.abs(value) < small, small, value)

    def step(state: _State) -> tuple[_State, Array]:
        m, c, d, h = state
        m = m + 1
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / kept(1 + even * d), kept(1 + even / c)
        h = h * d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / kept(1 + odd * d), kept(1 + odd / c)
        return (m, c, d, h * d * c), jnp.abs(d * c - 1) > tiny

    d = 1 / kept(1 - (a + b) * x / (a + 1))
    return _until_all(step, (jnp.zeros_like(x), jnp.ones_like(x), d, d), active)[3]


def betainc(a: Array, b: Array, x: Array) -> Array:
    right = (a > 0) & (b > 0) & (x > 0) & (x < 1)
    half = jnp.full_like(x, 0.5)
    a1, b1, x1 = (jnp.where(right, v, half) for v in (a, b, x))
    swap = x1 > (a1 + 1) / (a1 + b1 + 2)
    p, q = jnp.where(swap, b1, a1), jnp.where(swap, a1, b1)
    y = jnp.where(swap, 1 - x1, x1)
    logs = lgamma(p + q) - lgamma(p) - lgamma(q) + p * jnp.log(y) + q * jnp.log1p(-y)
    part = jnp.exp(logs) * _beta_fraction(p, q, y, right) / p
    result = jnp.where(swap, 1 - part, part)
    result = jnp.where(x == 0, 0.0, jnp.where(x == 1, 1.0, result))
    outside = ~((a > 0) & (b > 0) & (x >= 0) & (x <= 1))
    return jnp.where(outside, jnp.nan, result).astype(x.dtype)


def _bessel(x: Array, *, order: int) -> Array:
    """exp(-|x|) I(x), by Chebyshev's polynomials in x up to 8 and in 8/x from there."""
    size = jnp.abs(x)
    near, far = _coefficients(order)
    small = clenshaw(near, jnp.minimum(size, 8) / 4 - 1)
    small = small * jnp.minimum(size, 8) if order else small
    large = clenshaw(far, 16 / jnp.maximum(size, 8) - 1)
    result = jnp.where(size <= 8, small, large * lax.rsqrt(jnp.maximum(size, 8)))
    return (result * jnp.sign(x) if order else result).astype(x.dtype)


@cache
def _coefficients(order: int) -> tuple[np.ndarray, np.ndarray]:
    def scaled(x: np.ndarray) -> np.ndarray:
        """Integrate over the angle, where the trapezoidal rule is exact to rounding."""
        angle = (np.arange(4096) + 0.5) * np.pi / 4096
        cosine = np.cos(angle)
        return np.mean(np.exp(np.outer(x, cosine - 1)) * np.cos(order * angle), 1)

    def near_zero(t: Any) -> Any:
        """The function, or that over x: it is as small as x, near zero."""
        x = 4 * (t + 1)
        return scaled(x) / x if order else scaled(x)

    def far_away(t: Any) -> Any:
        return scaled(16 / (t + 1)) * np.sqrt(16 / (t + 1))

    near = chebyshev.chebinterpolate(near_zero, 30)
    far = chebyshev.chebinterpolate(far_away, 24)
    return near, far


def nextafter(x: Array, y: Array) -> Array:
    """Step the bits as whole numbers: among numbers of equal sign they have the same order."""
    bits = np.dtype(f"i{x.dtype.itemsize}")
    unit = bits.type(1)
    number = lax.bitcast_convert_type(x, bits)
    sign = lax.bitcast_convert_type(y, bits) & np.iinfo(bits).min
    step = jnp.where((x > y) == (x > 0), -unit, unit)
    moved = jnp.where(x == 0, sign | unit, number + step)
    result = lax.bitcast_convert_type(jnp.where(x == y, lax.bitcast_convert_type(y, bits), moved),
                                      x.dtype)  # fmt: skip
    return jnp.where(jnp.isnan(x) | jnp.isnan(y), jnp.nan, result).astype(x.dtype)


REWRITES = {
    "bessel_i0e": partial(_bessel, order=0),
    "bessel_i1e": partial(_bessel, order=1),
    "digamma": digamma,
    "igamma": partial(_incomplete, upper=False),
    "igamma_grad_a": igamma_grad_a,
    "igammac": partial(_incomplete, upper=True),
    "lgamma": lgamma,
    "regularized_incomplete_beta": betainc,
    "zeta": zeta,
}
#: These work on the bits of a dtype, in that dtype.
EXACT = {"nextafter": nextafter}

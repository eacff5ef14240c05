"""Elementwise primitives that targets lack, in terms of those that they have."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax._compat import Atom, Equation, Literal
from msckpt_jax.lowering.rewrites import calls
from msckpt_jax.lowering.rewrites.cumulative import accumulated
from msckpt_jax.lowering.rewrites.declined import Declined
from msckpt_jax.lowering.rewrites.ignoring import ignoring
from msckpt_jax.lowering.rewrites.peephole import Made, Shorter
from msckpt_jax.lowering.rewrites.widening import widened


def select_n(which: Array, *cases: Array) -> Array:
    """``lax.select_n`` of any number of cases: two at a time."""
    if isinstance(which, np.ndarray) and which.ndim == 0:
        return cases[min(max(int(which), 0), len(cases) - 1)]
    first, *rest = cases
    if not rest:
        return first
    if which.dtype == np.bool_:
        return lax.select_n(which, *cases)
    return lax.select(which <= 0, first, select_n(which - which.dtype.type(1), *rest))


def known_case(eqn: Equation, operands: list[Atom], made: Made) -> Shorter | None:
    known = isinstance(operands[0], Literal) and operands[0].aval.shape == ()
    return (select_n, operands) if known else None


def _shifted_out(x: Array, count: Array) -> Array:
    return jnp.zeros(jnp.broadcast_shapes(x.shape, count.shape), x.dtype)


def known_shift(eqn: Equation, operands: list[Atom], made: Made) -> Shorter | None:
    """Give zeros where all bits are shifted out: targets leave that case open."""
    x, count = operands
    if not isinstance(count, Literal) or not isinstance(count.val, np.ndarray):
        return None
    return (_shifted_out, operands) if (count.val >= x.aval.dtype.itemsize * 8).all() else None


def conj(x: Array) -> Array:
    """The complex array of a real array."""
    return lax.complex(x, jnp.zeros_like(x))


def clz(x: Array) -> Array:
    """Count leading zeros: set all bits below the highest set bit, count the zeros."""
    bits = x.dtype.itemsize * 8
    shift = 1
    while shift < bits:
        x = x | lax.shift_right_logical(x, np.array(shift, x.dtype))
        shift *= 2
    return lax.population_count(~x)


def cumlogsumexp(x: Array, *, axis: int, reverse: bool) -> Array:
    return accumulated(jnp.logaddexp, x, axis, reverse)


def reversed_first(cumulative: Callable[..., Array]) -> Callable[..., Array]:
    def rewrite(x: Array, *, axis: int, reverse: bool) -> Array:
        return lax.rev(cumulative(lax.rev(x, (axis,)), axis=axis), (axis,))

    return rewrite


_FORMATS = {(8, 7): jnp.bfloat16, (5, 10): np.float16, (8, 23): np.float32}


def reduce_precision(x: Array, *, exponent_bits: int, mantissa_bits: int) -> Array:
    """Convert to a narrower type and back; numbers subnormal there become zero, as in XLA."""
    narrow = _FORMATS.get((exponent_bits, mantissa_bits))
    if narrow is None:
        return _rounded(x, exponent_bits, mantissa_bits)
    result = x.astype(narrow).astype(x.dtype)
    if exponent_bits == jnp.finfo(x.dtype).nexp:
        return result
    # the smallest number that rounds to the smallest normal number
    least = float(jnp.finfo(narrow).tiny) * (1 - 2.0 ** -(mantissa_bits + 2))
    return lax.select(jnp.abs(x) < least, x * x.dtype.type(0), result)


def _rounded(x: Array, exponent_bits: int, mantissa_bits: int) -> Array:
    """Round to a format that is no dtype: the mantissa as a whole number, half to even."""
    info = jnp.finfo(x.dtype)
    out, drop = x, info.nmant - mantissa_bits
    if drop > 0:
        unit = np.dtype(f"uint{info.bits}").type(1)
        bits = lax.bitcast_convert_type(x, unit.dtype)
        even = (bits >> (unit * drop)) & unit
        bits = bits + even + ((unit << (drop - 1)) - unit)
        out = lax.bitcast_convert_type(bits & ~((unit << drop) - unit), x.dtype)
    if exponent_bits < info.nexp:
        bias = 2 ** (exponent_bits - 1) - 1
        size = jnp.abs(out)
        out = jnp.where(size >= 2.0 ** (bias + 1), out * np.inf, out)
        out = jnp.where(size < 2.0 ** (1 - bias), out * 0, out)
    return jnp.where(jnp.isfinite(x), out, x)


def lt_to(x: Array, y: Array) -> Array:
    """The total order: -0 before 0, NaN last. The sign of NaN is not seen."""
    if not jnp.issubdtype(x.dtype, np.floating):
        return x < y
    zeros = (x == 0) & (y == 0) & (1 / x < 1 / y)
    return (x < y) | zeros | ((y != y) & (x == x))


def le_to(x: Array, y: Array) -> Array:
    return ~lt_to(y, x)


def eq_to(x: Array, y: Array) -> Array:
    return ~(lt_to(x, y) | lt_to(y, x))


# M. Giles, "Approximating the erfinv function", which XLA computes, too; highest power first.
_CENTRAL = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087)
_CENTRAL += (-0.00125372503, -0.00417768164, 0.246640727, 1.50140941)
_TAIL = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773)
_TAIL += (-0.0076224613, 0.00943887047, 1.00167406, 2.83297682)


def erf_inv(x: Array) -> Array:
    """Invert erf in float32 and narrower; MindSpore's own kernel is wrong by 0.3 at the ends."""
    wide = x.astype(np.float32)
    ends = wide * np.float32(np.inf)
    inner = giles(wide, -jnp.log1p(-wide * wide))
    return lax.select(jnp.abs(wide) == 1, ends, inner).astype(x.dtype)


def giles(x: Array, w: Array) -> Array:
    """The inverse of erf to seven digits; ``w`` is -log(1 - x²)."""
    number = x.dtype.type
    central = w < 5
    w = lax.select(central, w - number(2.5), jnp.sqrt(w) - number(3))
    p = number(0)
    for near, far in zip(_CENTRAL, _TAIL, strict=True):
        pair = [jnp.full(w.shape, k, x.dtype) for k in (near, far)]
        p = p * w + lax.select(central, *pair)
    return p * x


def _over_positions(reduction: Callable[..., Array]) -> Callable[..., list[Array]]:
    """A collective over an axis that vmap has numbered; over named axes there is one device."""

    def rewrite(*operands: Array, axes: Sequence[Any], axis_index_groups: Any) -> list[Array]:
        if axis_index_groups is not None:
            raise Declined
        where = tuple(axis for axis in axes if calls.is_position(axis))
        return [reduction(x, where) for x in operands]

    return rewrite


def polygamma(n: Array, x: Array) -> Array:
    """Digamma where ``n`` is 0, else ``(-1)**(n + 1) * n! * zeta(n + 1, x)``."""
    sign = jnp.where(n % 2 == 1, 1, -1).astype(x.dtype)
    derivative = sign * jnp.exp(lax.lgamma(n + 1)) * lax.zeta(n + 1, x)
    return jnp.where(n == 0, lax.digamma(x), derivative)


def mul(x: Array, y: Array, *, out_dtype: np.dtype) -> Array:
    return x.astype(out_dtype) * y.astype(out_dtype)


def log2(x: Array) -> Array:
    """The logarithm to base 2, as JAX computes it, which has a primitive for it from 0.11 on."""
    log = lax.log(x)
    if not jnp.issubdtype(x.dtype, jnp.complexfloating):
        return log * np.array(1 / math.log(2), x.dtype)
    factor = np.array(1 / math.log(2), lax.real(x).dtype)
    return lax.complex(lax.real(log) * factor, lax.imag(log) * factor)


def one_minus_square(x: Array) -> Array:
    """``1 - x * x`` without cancellation near 1."""
    unit = jnp.ones((), x.dtype)
    return (unit + x) * (unit - x)


def polynomial(x: Array, *coefficients: Array) -> Array:
    """The value of a polynomial at ``x``, the constant term first, by Horner's rule."""
    *lower, out = coefficients
    for term in reversed(lower):
        out = out * x + term
    return jnp.broadcast_to(out, jnp.broadcast_shapes(*map(jnp.shape, (x, *coefficients))))


REWRITES = {
    "clz": clz,
    "conj": ignoring(conj, "input_dtype", "_input_dtype"),
    "cumlogsumexp": widened(cumlogsumexp),
    "cumprod": reversed_first(lax.cumprod),
    "cumsum": reversed_first(lax.cumsum),
    "empty": ignoring(lambda *, shape, dtype: jnp.zeros(shape, dtype), "out_sharding"),
    "empty2": ignoring(lambda *, dtype: jnp.zeros((), dtype), "memory_space"),
    "eq_to": eq_to,
    "erf_inv": erf_inv,
    "le_to": le_to,
    "lt_to": lt_to,
    "log2": ignoring(log2, "accuracy"),
    "mul": mul,
    "one_minus_square": one_minus_square,
    "pmax": _over_positions(lax.reduce_max),
    "pmin": _over_positions(lax.reduce_min),
    "polygamma": widened(polygamma),
    "polynomial": ignoring(polynomial, "unroll"),
    "psum": _over_positions(lax.reduce_sum),
    "reduce_precision": reduce_precision,
    "select_n": select_n,
}

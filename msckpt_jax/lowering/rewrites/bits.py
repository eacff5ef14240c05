"""``bitcast_convert_type`` in arithmetic, which has no bits: exact but for the payload of NaN."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from msckpt_jax._compat import Atom, Equation, Literal
from msckpt_jax.lowering.rewrites.declined import Declined
from msckpt_jax.lowering.rewrites.peephole import Made, Shorter

_FLOATS = (jnp.bfloat16, np.float16, np.float32, np.float64)
_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def bitcast_convert_type(x: Array, *, new_dtype: DTypeLike) -> Array:
    """Convert to whole numbers of equal width, to those of the new width, to the new type."""
    if any(jnp.dtype(t).kind == "c" or jnp.dtype(t) == np.bool_ for t in (x.dtype, new_dtype)):
        raise Declined
    bits = _encoded(x)
    unsigned = _UNSIGNED[jnp.dtype(new_dtype).itemsize]
    bits = _regrouped(bits, unsigned)
    if jnp.issubdtype(new_dtype, np.integer):
        return bits.astype(new_dtype)
    return _decoded(bits, new_dtype)


def _regrouped(bits: Array, new: DTypeLike) -> Array:
    """The bits in words of another width along the last axis, the lowest first (little-endian)."""
    old_bits, new_bits = bits.dtype.itemsize * 8, np.dtype(new).itemsize * 8
    if old_bits > new_bits:
        parts = range(0, old_bits, new_bits)
        return jnp.stack([(bits >> bits.dtype.type(k)).astype(new) for k in parts], axis=-1)
    if old_bits < new_bits:
        parts = range(new_bits // old_bits)
        wide = [bits[..., k].astype(new) << np.dtype(new).type(k * old_bits) for k in parts]
        return sum(wide[1:], wide[0])
    return bits


def _decoded(bits: Array, dtype: DTypeLike) -> Array:
    """Mantissa times a power of two from a table."""
    info = _format(dtype)
    unsigned = bits.dtype.type
    exponent = (bits >> unsigned(info.nmant)) & unsigned((1 << info.nexp) - 1)
    mantissa = bits & unsigned((1 << info.nmant) - 1)
    wide = np.float64 if dtype == np.float64 else np.float32
    powers = [info.minexp, *range(info.minexp, info.maxexp)]
    table = np.array([*(2.0**power for power in powers), np.inf], wide)
    scale = jnp.take(table, exponent.astype(np.int32), mode="clip")
    fraction = mantissa.astype(wide) * wide(2.0**-info.nmant)
    value = (fraction + jnp.where(exponent > 0, wide(1), wide(0))) * scale
    value = jnp.where((mantissa > 0) & jnp.isinf(scale), wide(np.nan), value)
    negative = (bits >> unsigned(bits.dtype.itemsize * 8 - 1)) > 0
    sign = jnp.where(negative, wide(-1), wide(1))  # a choice of values loses that of -0.0 in ONNX
    return (value * sign).astype(dtype)


def _encoded(x: Array) -> Array:
    """The bits of a number: its exponent by bisection, its mantissa as a whole number."""
    unsigned = _UNSIGNED[x.dtype.itemsize]
    if jnp.issubdtype(x.dtype, np.integer):
        return x.astype(unsigned)
    info = _format(x.dtype)
    wide = np.float64 if x.dtype == np.float64 else np.float32
    value = x.astype(wide)
    rest, exponent = jnp.abs(value), jnp.zeros(x.shape, np.int32)
    steps = [1 << k for k in reversed(range(info.nexp - 1))]
    for step in steps:
        large = rest >= wide(2.0**step)
        rest = jnp.where(large, rest * wide(2.0**-step), rest)
        exponent = jnp.where(large, exponent + np.int32(step), exponent)
    for step in steps:
        small = rest < wide(2.0 ** (1 - step))
        rest = jnp.where(small, rest * wide(2.0**step), rest)
        exponent = jnp.where(small, exponent - np.int32(step), exponent)
    subnormal = exponent < info.minexp
    mantissa = jnp.where(subnormal, rest * wide(0.5), rest - wide(1)) * wide(2.0**info.nmant)
    biased = jnp.where(subnormal, np.int32(0), exponent - np.int32(info.minexp - 1))
    bits = (biased.astype(unsigned) << unsigned(info.nmant)) + mantissa.astype(unsigned)
    infinite = unsigned(((1 << info.nexp) - 1) << info.nmant)
    bits = jnp.where(jnp.isinf(value), infinite, bits)
    bits = jnp.where(jnp.isnan(value), infinite + unsigned(1 << (info.nmant - 1)), bits)
    negative = (value < 0) | ((value == 0) & (wide(1) / value < 0))
    return jnp.where(negative, bits + unsigned(1 << (x.dtype.itemsize * 8 - 1)), bits)


def _format(dtype: DTypeLike) -> Any:
    if jnp.dtype(dtype) not in _FLOATS:
        raise Declined
    return jnp.finfo(dtype)


#: The bits of 1.0.
_ONE = {np.dtype(t): np.array(1, t).view(_UNSIGNED[np.dtype(t).itemsize]) for t in _FLOATS}


def mantissa_of_one(eqn: Equation, operands: list[Atom], made: Made) -> Shorter | None:
    """Recognise ``jax.random.uniform``: random bits as the mantissa of a number from 1 to 2.

    Matches ``bitcast_convert_type(shift_right_logical(bits, n) | bits_of(1.0))``. Returns the
    shorter rewrite and its operands.
    """
    unit = _ONE.get(np.dtype(eqn.params["new_dtype"]))
    joined = None if isinstance(operands[0], Literal) else made.get(operands[0])
    if unit is None or joined is None or joined.primitive.name != "or":
        return None
    mantissa, rest = joined.invars
    shifted = None if isinstance(mantissa, Literal) else made.get(mantissa)
    if shifted is None or shifted.primitive.name != "shift_right_logical":
        return None
    count, bits = shifted.invars[1], mantissa.aval.dtype.itemsize * 8
    known = isinstance(rest, Literal) and isinstance(count, Literal)
    if not known or rest.val != unit or count.val < bits - _format(eqn.params["new_dtype"]).nmant:
        return None
    return _one_and_more, [mantissa]


def _one_and_more(mantissa: Array, *, new_dtype: DTypeLike) -> Array:
    scalar = np.dtype(new_dtype).type
    return mantissa.astype(new_dtype) * scalar(2.0 ** -_format(new_dtype).nmant) + scalar(1)


REWRITES = {"bitcast_convert_type": bitcast_convert_type}

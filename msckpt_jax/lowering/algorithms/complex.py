"""Rewrites of primitives on complex numbers, in terms of their real and imaginary parts.

A rewrite takes the operands of an equation, a ``Pair`` for each complex array, and its parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.lowering.rewrites.ignoring import Ignoring, ignoring


class Pair(NamedTuple):
    """Real and imaginary part: arrays of equal shape and dtype, NumPy's where they are known."""

    real: Any
    imag: Any


#: Primitives that do to each part what they do to a number.
BY_PARTS = frozenset((
    "add", "add_any", "broadcast_in_dim", "concatenate", "copy", "cumsum", "dynamic_slice",
    "dynamic_update_slice", "gather", "neg", "pad", "reduce_sum", "reshape", "rev",
    "scatter", "scatter-add", "scatter-sub", "select_n", "slice", "split", "squeeze", "stack",
    "sub", "tile", "transpose", "unstack",
))  # fmt: skip


def _mul(x: Pair, y: Pair) -> Pair:
    return Pair(x.real * y.real - x.imag * y.imag, x.real * y.imag + x.imag * y.real)


def _div(x: Pair, y: Pair) -> Pair:
    """Divide by Smith's method: by the larger part first, so that nothing overflows."""
    flat = jnp.abs(y.real) >= jnp.abs(y.imag)
    large, small = jnp.where(flat, y.real, y.imag), jnp.where(flat, y.imag, y.real)
    ratio = small / large
    size = large + small * ratio
    first, second = jnp.where(flat, x.real, x.imag), jnp.where(flat, x.imag, x.real)
    real, imaginary = (first + second * ratio) / size, (second - first * ratio) / size
    return Pair(real, jnp.where(flat, imaginary, -imaginary))


def _abs(x: Pair) -> Array:
    first, second = jnp.abs(x.real), jnp.abs(x.imag)
    large, small = jnp.maximum(first, second), jnp.minimum(first, second)
    ratio = small / jnp.where(large == 0, 1, large)
    length = large * jnp.sqrt(1 + ratio * ratio)
    return jnp.where(jnp.isinf(large), large, length)


def _exp(x: Pair) -> Pair:
    size = jnp.exp(x.real)
    return Pair(size * jnp.cos(x.imag), size * jnp.sin(x.imag))


def _exp2(x: Pair) -> Pair:
    size, angle = jnp.exp2(x.real), x.imag * np.log(2).astype(x.imag.dtype)
    return Pair(size * jnp.cos(angle), size * jnp.sin(angle))


def _log(x: Pair) -> Pair:
    return Pair(jnp.log(_abs(x)), jnp.arctan2(x.imag, x.real))


def _sqrt(x: Pair) -> Pair:
    """The root with a real part that is not negative."""
    large = jnp.sqrt((_abs(x) + jnp.abs(x.real)) / 2)
    small = jnp.abs(x.imag) / jnp.where(large == 0, 1, 2 * large)
    right = x.real >= 0
    imaginary = jnp.where(right, small, large)
    return Pair(jnp.where(right, large, small), jnp.where(x.imag < 0, -imaginary, imaginary))


def _integer_pow(x: Pair, *, y: int) -> Pair:
    power = Pair(jnp.ones_like(x.real), jnp.zeros_like(x.real))
    square, rest = x, abs(y)
    while rest:
        power = _mul(power, square) if rest & 1 else power
        square, rest = _mul(square, square), rest >> 1
    return power if y >= 0 else _div(Pair(jnp.ones_like(x.real), jnp.zeros_like(x.real)), power)


def _pow(x: Pair, y: Array | Pair) -> Pair:
    y = y if isinstance(y, Pair) else Pair(y.astype(x.real.dtype), jnp.zeros_like(x.real))
    power = _exp(_mul(_log(x), y))
    none = (x.real == 0) & (x.imag == 0)
    unit = (y.real == 0) & (y.imag == 0)
    zero = jnp.where(unit, 1, 0).astype(x.real.dtype)
    return Pair(jnp.where(none, zero, power.real), jnp.where(none, 0, power.imag))


def _sin(x: Pair) -> Pair:
    return Pair(jnp.sin(x.real) * jnp.cosh(x.imag), jnp.cos(x.real) * jnp.sinh(x.imag))


def _cos(x: Pair) -> Pair:
    return Pair(jnp.cos(x.real) * jnp.cosh(x.imag), -jnp.sin(x.real) * jnp.sinh(x.imag))


def _sinh(x: Pair) -> Pair:
    return Pair(jnp.sinh(x.real) * jnp.cos(x.imag), jnp.cosh(x.real) * jnp.sin(x.imag))


def _cosh(x: Pair) -> Pair:
    return Pair(jnp.cosh(x.real) * jnp.cos(x.imag), jnp.sinh(x.real) * jnp.sin(x.imag))


def _tanh(x: Pair) -> Pair:
    """The quotient of sinh and cosh, which would overflow for a large real part, cut off here."""
    part = jnp.clip(x.real, -30, 30)
    return _div(_sinh(Pair(part, x.imag)), _cosh(Pair(part, x.imag)))


def _tan(x: Pair) -> Pair:
    turned = _tanh(Pair(-x.imag, x.real))
    return Pair(turned.imag, -turned.real)


def _sign(x: Pair) -> Pair:
    size = _abs(x)
    safe = jnp.where(size == 0, 1, size)
    return Pair(x.real / safe, x.imag / safe)


def _rsqrt(x: Pair) -> Pair:
    return _div(Pair(jnp.ones_like(x.real), jnp.zeros_like(x.real)), _sqrt(x))


def _expm1(x: Pair) -> Pair:
    half = jnp.sin(x.imag / 2)
    real = jnp.expm1(x.real) * jnp.cos(x.imag) - 2 * half * half
    return Pair(real, jnp.exp(x.real) * jnp.sin(x.imag))


def _log1p(x: Pair) -> Pair:
    near = jnp.log1p(x.real * (x.real + 2) + x.imag * x.imag) / 2
    far = jnp.log(_abs(_shifted(x, 1)))
    small = _abs(x) < 0.5
    return Pair(jnp.where(small, near, far), jnp.arctan2(x.imag, x.real + 1))


def _logistic(x: Pair) -> Pair:
    half = _tanh(Pair(x.real / 2, x.imag / 2))
    return Pair((1 + half.real) / 2, half.imag / 2)


# The inverses are Kahan's, from products of roots, in which nothing cancels.


def _shifted(x: Pair, by: int) -> Pair:
    return Pair(x.real + by, x.imag)


def _negative(x: Pair) -> Pair:
    return Pair(-x.real, -x.imag)


def _conjugate(x: Pair) -> Pair:
    return Pair(x.real, -x.imag)


def _roots(x: Pair) -> tuple[Pair, Pair]:
    """The roots of 1 - x and of 1 + x."""
    return _sqrt(_shifted(_negative(x), 1)), _sqrt(_shifted(x, 1))


def _asin_imag(x: Pair, less: Pair, more: Pair) -> Array:
    """The imaginary part of asin, on the cuts with JAX's sign: that of numbers above them."""
    size = jnp.abs(jnp.arcsinh(_mul(_conjugate(less), more).imag))
    return jnp.where(x.imag < 0, -size, size)


def _asin(x: Pair) -> Pair:
    less, more = _roots(x)
    return Pair(jnp.arctan2(x.real, _mul(less, more).real), _asin_imag(x, less, more))


def _acos(x: Pair) -> Pair:
    less, more = _roots(x)
    return Pair(2 * jnp.arctan2(less.real, more.real), -_asin_imag(x, less, more))


def _acosh(x: Pair) -> Pair:
    less, more = _sqrt(_shifted(x, -1)), _sqrt(_shifted(x, 1))
    real = jnp.arcsinh(_mul(_conjugate(less), more).real)
    return Pair(real, 2 * jnp.arctan2(less.imag, more.real))


def _atanh(x: Pair) -> Pair:
    less, more, square = 1 - x.real, 1 + x.real, x.imag * x.imag
    real = jnp.log1p(4 * x.real / (less * less + square)) / 4
    return Pair(real, jnp.arctan2(2 * x.imag, less * more - square) / 2)


def _turned(function: Callable[[Pair], Pair]) -> Callable[[Pair], Pair]:
    """The function of i x, divided by i."""

    def turned(x: Pair) -> Pair:
        result = function(Pair(-x.imag, x.real))
        return Pair(result.imag, -result.real)

    return turned


def _product(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    return tuple(_mul(Pair(*a), Pair(*b)))


def _cumprod(x: Pair, *, axis: int, reverse: bool) -> Pair:
    return Pair(*lax.associative_scan(_product, tuple(x), reverse=reverse, axis=axis))


def _reduce_prod(x: Pair, *, axes: Sequence[int]) -> Pair:
    units = x.real.dtype.type(1), x.real.dtype.type(0)
    return Pair(*lax.reduce(tuple(x), units, _product, tuple(axes)))


def _convert(x: Array | Pair, *, new_dtype: DTypeLike) -> Array | Pair:
    dtype = np.dtype(new_dtype)
    parts = x if isinstance(x, Pair) else Pair(x, jnp.zeros_like(x))
    if dtype.kind != "c":
        if dtype.kind == "b":
            return (parts.real != 0) | (parts.imag != 0)
        return parts.real.astype(dtype)
    part = np.dtype(f"f{dtype.itemsize // 2}")
    return Pair(parts.real.astype(part), parts.imag.astype(part))


def _equal(x: Pair, y: Pair) -> Array:
    return (x.real == y.real) & (x.imag == y.imag)


def _dot_general(
    x: Pair, y: Pair, *, dimension_numbers: lax.DotDimensionNumbers, precision: Any
) -> Pair:
    def product(left: Array, right: Array) -> Array:
        return lax.dot_general(left, right, dimension_numbers, precision, left.dtype)

    (a, b), (c, d) = x, y
    return Pair(product(a, c) - product(b, d), product(a, d) + product(b, c))


# Fourier transforms of the last axis


def _matrix(size: int, sign: int, dtype: np.dtype) -> Pair:
    angle = 2 * np.pi * (np.outer(np.arange(size), np.arange(size)) % size) / size
    return Pair(np.cos(angle).astype(dtype), (sign * np.sin(angle)).astype(dtype))


def _times(x: Pair, matrix: Pair) -> Pair:
    return Pair(x.real @ matrix.real - x.imag @ matrix.imag,
                x.real @ matrix.imag + x.imag @ matrix.real)  # fmt: skip


#: The largest size of which a transform is one product of matrices, not two smaller transforms.
_LARGEST = 64


def _transform(x: Pair, sign: int) -> Pair:
    """Cooley and Tukey's algorithm: columns, a rotation, rows."""
    *batch, size = x.real.shape
    dtype = x.real.dtype
    rows = next((n for n in range(math.isqrt(size), 1, -1) if size % n == 0), 1)
    if size <= _LARGEST or rows == 1:
        return _times(x, _matrix(size, sign, dtype))
    columns = size // rows
    x = Pair(*(jnp.swapaxes(part.reshape(*batch, rows, columns), -1, -2) for part in x))
    x = _transform(x, sign)
    angle = 2 * np.pi * np.outer(np.arange(columns), np.arange(rows)) / size
    x = _mul(x, Pair(np.cos(angle).astype(dtype), (sign * np.sin(angle)).astype(dtype)))
    x = _transform(Pair(*(jnp.swapaxes(part, -1, -2) for part in x)), sign)
    return Pair(*(jnp.swapaxes(part, -1, -2).reshape(*batch, size) for part in x))


def _along(x: Pair, axis: int, sign: int) -> Pair:
    x = Pair(*(jnp.moveaxis(part, axis, -1) for part in x))
    return Pair(*(jnp.moveaxis(part, -1, axis) for part in _transform(x, sign)))


def _whole_spectrum(x: Pair, size: int) -> Pair:
    """The given half of a spectrum, then its conjugates, which are the other half."""
    x = Pair(x.real[..., : size // 2 + 1], x.imag[..., : size // 2 + 1])
    rest = slice((size - 1) // 2, 0, -1)
    imaginary = jnp.concatenate([x.imag, -x.imag[..., rest]], -1)
    real = jnp.concatenate([x.real, x.real[..., rest]], -1)
    alone = np.array([k == 0 or 2 * k == size for k in range(size)])  # its own conjugate
    return Pair(real, jnp.where(alone, 0, imaginary))


def _fft(x: Array | Pair, *, fft_type: lax.FftType, fft_lengths: Sequence[Any]) -> Array | Pair:
    if not all(isinstance(n, int) for n in fft_lengths):
        raise UnsupportedError("its length is dynamic, but must be a number")
    name, count = lax.FftType(fft_type).name, len(fft_lengths)
    sign = 1 if name.startswith("I") else -1
    parts = x if isinstance(x, Pair) else Pair(x, jnp.zeros_like(x))
    axes = range(-count, -1) if name in ("RFFT", "IRFFT") else range(-count, 0)
    if name == "RFFT":
        parts = _transform(parts, sign)
        parts = Pair(*(part[..., : fft_lengths[-1] // 2 + 1] for part in parts))
    for axis in axes:
        parts = _along(parts, axis, sign)
    if name == "IRFFT":
        parts = _transform(_whole_spectrum(parts, fft_lengths[-1]), sign)
    if sign > 0:
        parts = Pair(*(part / math.prod(fft_lengths) for part in parts))
    return parts.real if name == "IRFFT" else parts


REWRITES: Mapping[str, Callable[..., Any] | Ignoring] = {
    "abs": _abs,
    "acos": ignoring(_acos, "accuracy"),
    "acosh": ignoring(_acosh, "accuracy"),
    "asin": ignoring(_asin, "accuracy"),
    "asinh": ignoring(_turned(_asin), "accuracy"),
    "atan": ignoring(_turned(_atanh), "accuracy"),
    "atanh": ignoring(_atanh, "accuracy"),
    "complex": lambda real, imag: Pair(*jnp.broadcast_arrays(real, imag)),
    "conj": ignoring(_conjugate, "input_dtype", "_input_dtype"),
    "convert_element_type": ignoring(_convert, "sharding", "weak_type"),
    "cos": ignoring(_cos, "accuracy"),
    "cosh": ignoring(_cosh, "accuracy"),
    "cumprod": _cumprod,
    "div": _div,
    "dot_general": ignoring(_dot_general, "preferred_element_type", "out_sharding"),
    "eq": _equal,
    "exp": ignoring(_exp, "accuracy"),
    "exp2": ignoring(_exp2, "accuracy"),
    "expm1": ignoring(_expm1, "accuracy"),
    "fft": _fft,
    "imag": lambda x: x.imag,
    "integer_pow": _integer_pow,
    "is_finite": lambda x: jnp.isfinite(x.real) & jnp.isfinite(x.imag),
    "log": ignoring(_log, "accuracy"),
    "log1p": ignoring(_log1p, "accuracy"),
    "logistic": ignoring(_logistic, "accuracy"),
    "mul": ignoring(_mul, "out_dtype"),
    "ne": lambda x, y: ~_equal(x, y),
    "pow": _pow,
    "real": lambda x: x.real,
    "reduce_prod": ignoring(_reduce_prod, "out_sharding"),
    "rsqrt": ignoring(_rsqrt, "accuracy"),
    "sign": _sign,
    "sin": ignoring(_sin, "accuracy"),
    "sinh": ignoring(_sinh, "accuracy"),
    "sqrt": ignoring(_sqrt, "accuracy"),
    "square": lambda x: _mul(x, x),
    "tan": ignoring(_tan, "accuracy"),
    "tanh": ignoring(_tanh, "accuracy"),
}

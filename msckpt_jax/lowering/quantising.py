"""Matrices in 8 or 4 bits: whole numbers, and the scales that they are multiplied by.

A scale belongs to a *block*: the numbers of a row or column that are multiplied and summed
together, all of them or so many in a row. It is the block's largest number, divided by 127 (8 bits)
or 7 (4 bits) and rounded to the weight's dtype; a block of zeros has the scale 1. A number is the
nearest multiple of its scale, ties to even, from -127 to 127 or from -7 to 7, so that it differs by
half a scale at most. Scales of 4-bit numbers in 16 bits are rounded to fewer, so that no multiple
has to be: then it does not matter whether a runtime rounds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from msckpt_jax import boxes
from msckpt_jax.errors import ExportError
from msckpt_jax.graph.values import Tensor

#: The dtypes of weights that are quantised.
FLOATS = frozenset(map(np.dtype, (np.float32, np.float16, ml_dtypes.bfloat16)))
#: Elements that are quantised at a time.
_PIECE = 1 << 18

I8, U8 = np.dtype(np.int8), np.dtype(np.uint8)


class Wish(NamedTuple):
    """The bits of a number, and how many numbers share a scale; None: all of an output channel."""

    bits: int
    block: int | None

    @property
    def most(self) -> int:
        """The largest number."""
        return (1 << (self.bits - 1)) - 1

    @property
    def text(self) -> str:
        where = "channel" if self.block is None else f"block of {self.block}"
        return f"int{self.bits}, a scale for each {where}"


@dataclass(eq=False)
class Sheets:
    """Matrices of one weight: one, or those of all layers.

    Attributes:
        name: the name of the weight.
        read: a function that gives the matrix of a number.
        count: the number of layers; None where the weight is a matrix by itself.
        type: the type of a matrix.
        axis: the axis along which products are summed, from the end.
    """

    name: str
    read: Callable[[int], np.ndarray]
    count: int | None
    type: Tensor
    axis: int


@dataclass(eq=False)
class Quantised:
    """Matrices as whole numbers and scales.

    Attributes:
        sheets: the matrices.
        wish: how they are quantised.
        block: the size of a block, along the axis of the sums.
        scale: the scales, of the rank of the numbers, in the dtype of the weight.
        error: the largest difference between a number and its weight, in scales.
    """

    sheets: Sheets
    wish: Wish
    block: int
    scale: np.ndarray
    error: float

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the numbers: layers first, where there are some."""
        own = tuple(int(n) for n in self.sheets.type.shape)
        return own if self.sheets.count is None else (self.sheets.count, *own)

    def numbers(self) -> np.ndarray:
        """The whole numbers, one a byte."""
        out = np.empty(self.shape, I8)
        for layer in range(self.sheets.count or 1):
            matrix, place = self.sheets.read(layer), _layer(out, self.sheets, layer)
            scale = _layer(self.scale, self.sheets, layer)
            for piece, blocks in _pieces(matrix.shape, self.sheets.axis):
                wide = _wide(_blocked(matrix[piece], self.sheets.axis, self.block))
                steps = _blocked(scale[blocks], self.sheets.axis, 1)
                place[piece] = _rounded(wide, steps, self.wish.most).reshape(place[piece].shape)
        return out

    def weight(self) -> np.ndarray:
        """The matrices that the numbers stand for, in the dtype of the weight."""
        numbers, axis = _blocked(self.numbers(), self.sheets.axis, self.block), self.sheets.axis
        product = numbers.astype(np.float32) * _blocked(self.scale, axis, 1).astype(np.float32)
        return product.reshape(self.shape).astype(self.scale.dtype)


def wish(weights: Any, block: Any) -> Wish | None:
    """Return the wish of ``export(weights=, weight_block_size=)``, None where there is none.

    Raises:
        TypeError, ValueError: there is no such way to quantise.
    """
    if weights is None:
        if block is not None:
            raise ValueError("weight_block_size is for weights='int8' and weights='int4'")
        return None
    if not isinstance(weights, str) or weights not in ("int8", "int4"):
        raise ValueError(f"weights must be None, 'int8' or 'int4', not {weights!r}")
    if block is None:
        return Wish(8, None) if weights == "int8" else Wish(4, 32)
    if not isinstance(block, int | np.integer) or isinstance(block, bool):
        raise TypeError(f"weight_block_size must be an int, not {type(block).__name__}")
    if block < 16 or block & (block - 1):
        raise ValueError(f"weight_block_size must be a power of two from 16 on, not {block}")
    return Wish(8 if weights == "int8" else 4, int(block))


def quantised(sheets: Sheets, how: Wish) -> Quantised:
    """Return matrices as whole numbers, which are computed again when they are written.

    Raises:
        ExportError: a weight is NaN or infinite.
    """
    length = int(sheets.type.shape[sheets.axis])
    block = how.block or length
    own = [int(n) for n in sheets.type.shape]
    own[sheets.axis] = length // block
    shape = own if sheets.count is None else [sheets.count, *own]
    scale, error = np.empty(shape, sheets.type.dtype), 0.0
    for layer in range(sheets.count or 1):
        matrix, place = sheets.read(layer), _layer(scale, sheets, layer)
        for piece, blocks in _pieces(matrix.shape, sheets.axis):
            wide = _wide(_blocked(matrix[piece], sheets.axis, block))
            peak = _largest(wide, sheets.axis).astype(np.float64)
            if not np.isfinite(peak).all():
                raise ExportError(
                    f"the weight {sheets.name!r} has numbers that are NaN or infinite, which no "
                    f"int{how.bits} stands for: mend it, or export without weights="
                )
            steps = _scales(peak, sheets.type.dtype, how.most)
            place[blocks] = steps.reshape(place[blocks].shape)
            exact = wide / steps.astype(np.float64)
            numbers = np.rint(exact).clip(-how.most, how.most)
            error = max(error, float(_largest(np.subtract(numbers, exact, out=exact), None)))
    return Quantised(sheets, how, block, scale, error)


def _scales(peak: np.ndarray, dtype: np.dtype, most: int) -> np.ndarray:
    """The scales of blocks by their largest numbers.

    A scale that is rounded to a number too small for half a step, or so large that the largest
    multiple overflows, is moved to the next number.
    """
    # Numbers below the least normal one are 0 to XLA; float16, computed in float32, keeps them.
    least = ml_dtypes.finfo(dtype).smallest_normal if dtype != np.float16 else 0
    with np.errstate(over="ignore"):
        scale = np.maximum(_few_bits(peak / most, dtype, most), float(least)).astype(dtype)
        low = peak > (most + 0.5) * scale.astype(np.float64)
        scale = np.where(low, np.nextafter(scale, np.array(np.inf, dtype)), scale)
        largest = (most * scale.astype(np.float64)).astype(dtype).astype(np.float64)
    scale = np.where(np.isinf(largest), np.nextafter(scale, np.array(0, dtype)), scale)
    return np.where(peak == 0, np.array(1, dtype), scale)


def _few_bits(scale: np.ndarray, dtype: np.dtype, most: int) -> np.ndarray:
    """Scales of 4-bit numbers in so few bits that their multiples need no rounding in 16 bits."""
    if dtype.itemsize > 2 or most > 7:
        return scale
    mantissa, exponent = np.frexp(scale)
    bits = ml_dtypes.finfo(dtype).nmant + 1 - most.bit_length()
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)


def _rounded(wide: np.ndarray, steps: np.ndarray, most: int) -> np.ndarray:
    exact = wide / steps.astype(np.float64)
    return np.rint(exact, out=exact).clip(-most, most, out=exact).astype(I8)


def _blocked(array: np.ndarray, axis: int, block: int) -> np.ndarray:
    """The array with its axis in two: blocks and places in them."""
    at = array.ndim + axis
    shape = (*array.shape[:at], array.shape[at] // block, block, *array.shape[at + 1 :])
    return array.reshape(shape)


def _wide(array: np.ndarray) -> np.ndarray:
    """Weights in float32, in which NumPy computes fast."""
    return array.astype(np.float32, copy=False)


def _largest(array: np.ndarray, axis: int | None) -> np.ndarray:
    """The largest magnitude along an axis that is kept; NaN where there is one."""
    keep = axis is not None
    high, low = array.max(axis, keepdims=keep), array.min(axis, keepdims=keep)
    return np.maximum(high, -low)


def _layer(array: np.ndarray, sheets: Sheets, layer: int) -> np.ndarray:
    return array if sheets.count is None else array[layer]


def _pieces(shape: tuple[int, ...], axis: int) -> Iterator[tuple[tuple[slice, ...], Any]]:
    """Cut a matrix, across the other axes; yield the slices of it, and those of its scales."""
    at = len(shape) + axis
    sizes = list(shape)
    for other, size in enumerate(shape):
        if other != at:
            rest = math.prod(sizes) // size
            sizes[other] = max(1, min(size, _PIECE // max(rest, 1)))
    for box in boxes.grid(shape, sizes):
        piece = tuple(slice(*side) for side in box)
        yield piece, (*piece[:at], slice(None), *piece[at + 1 :])


def halves(data: Quantised, axis: int) -> np.ndarray:
    """Two numbers a byte, 8 more than each: those of the first half of an axis in the low bits."""
    low, high = np.split(data.numbers().view(U8) + U8.type(8), 2, axis)
    return low | (high << U8.type(4))

"""Weights in few bits by NumPy, in the plainest way, and functions that multiply by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import ml_dtypes
import numpy as np


def dequantised(weight: np.ndarray, axis: int, bits: int, block: int | None) -> np.ndarray:
    """The weight that the file stands for: scales along ``axis``, for each block of it."""
    rows = np.moveaxis(weight, axis, -1)
    out = np.empty(rows.shape, weight.dtype)
    most = {8: 127, 4: 7}[bits]
    for place in np.ndindex(rows.shape[:-1]):
        size = block or rows.shape[-1]
        for start in range(0, rows.shape[-1], size):
            part = rows[place][start : start + size]
            scale = _scale(np.abs(part.astype(np.float64)).max(), weight.dtype, most)
            numbers = np.rint(part.astype(np.float64) / np.float64(scale))
            product = numbers.astype(np.float32) * scale.astype(np.float32)
            out[place][start : start + size] = product.astype(weight.dtype)
    return np.moveaxis(out, -1, axis)


def _scale(peak: float, dtype: np.dtype, most: int) -> Any:
    scale = peak / most
    if most == 7 and dtype.itemsize == 2:  # so few bits that multiples need no rounding
        digits = {"float16": 8, "bfloat16": 5}[dtype.name]
        unit = 2.0 ** (np.floor(np.log2(scale)) + 1 - digits)
        scale = np.rint(scale / unit) * unit
    return np.array(scale).astype(dtype)[()]


class Case(NamedTuple):
    """A function of weights and an input; the axis of the weight that is summed over."""

    function: Callable[[Any, Any], Any]
    weight: tuple[int, ...]
    input: tuple[int, ...]
    axis: int

    def arrays(self, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        return tuple(rng.standard_normal(n).astype(dtype) for n in (self.weight, self.input))  # type: ignore[return-value]


CASES: dict[str, Case] = {
    "right": Case(lambda p, x: x @ p["w"], (64, 40), (5, 64), 0),
    "transposed": Case(lambda p, x: x @ p["w"].T, (40, 64), (5, 64), 1),
    "left": Case(lambda p, x: p["w"] @ x, (40, 64), (64, 5), 1),
    "heads": Case(lambda p, x: jnp.einsum("btd,ndh->btnh", x, p["w"]), (4, 64, 8), (2, 3, 64), 1),
    "experts": Case(lambda p, x: jnp.einsum("ebd,edf->ebf", x, p["w"]), (3, 64, 16), (3, 5, 64), 1),
}
DTYPES = (np.float32, np.float16, ml_dtypes.bfloat16)
WISHES: dict[str, dict[str, Any]] = {
    "int8": {"weights": "int8"},
    "int8 in blocks": {"weights": "int8", "weight_block_size": 16},
    "int4": {"weights": "int4"},
}


def bits_and_block(wish: dict[str, Any]) -> tuple[int, int | None]:
    """What a wish of ``export`` means."""
    bits = {"int8": 8, "int4": 4}[wish["weights"]]
    return bits, wish.get("weight_block_size", None if bits == 8 else 32)


def expected(case: Case, dtype: Any, wish: dict[str, Any]) -> np.ndarray:
    """The result in float64, of the weight that the file stands for."""
    weight, x = case.arrays(dtype)
    rounded = dequantised(weight, case.axis, *bits_and_block(wish))
    assert not np.array_equal(rounded, weight)
    return np.asarray(case.function({"w": rounded.astype(np.float64)}, x.astype(np.float64)))


def check(result: np.ndarray, want: np.ndarray, dtype: Any) -> None:
    """Compare a result, which is a sum of 64 products, in units of the dtype."""
    result = np.asarray(result).astype(np.float64)
    unit = max(float(ml_dtypes.finfo(dtype).eps), float(np.finfo(np.float32).eps) * 8)
    np.testing.assert_allclose(result, want, rtol=unit, atol=unit * np.abs(want).max())

"""Values that do not fit a narrower dtype are refused while they are read, window by window.

NumPy's casts wrap integers (300 becomes 44 in int8) and turn large floats into infinity.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.deferred import jax, jnp
from msckpt_jax.errors import CheckpointError


def checked(
    pieces: Sequence[boxes.Piece], old: np.dtype, new: np.dtype, **where: Any
) -> Sequence[boxes.Piece]:
    """The pieces, which are ``old``, for a cast to ``new``; ``where`` is told in the error."""
    if not _narrows(old, new):
        return pieces
    return boxes.each(pieces, lambda source: _Checked(source, new, where))


def check(values: np.ndarray, dtype: np.dtype, **where: Any) -> None:
    """Refuse values that are out of the range of ``dtype``; NaN and infinities are in it.

    Raises:
        CheckpointError: with the value, and the range.
    """
    if not values.size:
        return
    low, high = _range(dtype)
    if _is_between(values, low, high):
        return
    outside = values[~_inside(values, dtype, low, high)]
    if outside.size:
        raise CheckpointError(
            f"values do not fit {dtype}; {_instead(values.dtype)}",
            expected=f"{low} to {high}",
            found=f"{outside.flat[0]}, one of {outside.size} that do not fit",
            **where,
        )


def _instead(dtype: np.dtype) -> str:
    wide = dtype.itemsize == 8 and not jax.config.jax_enable_x64  # type: ignore[attr-defined]
    return f"keep it as {dtype}{', in JAX with jax_enable_x64' if wide else ''}"


@functools.lru_cache(maxsize=256)
def _narrows(old: np.dtype, new: np.dtype) -> bool:
    """Tell whether some finite values of ``old`` are out of the range of ``new``."""
    if old == new or {_kind(old), _kind(new)} - {"i", "f"}:
        return False
    (low, high), (least, most) = _range(new), _range(old)
    return least < low or high < most


def _kind(dtype: np.dtype) -> str:
    whole, real = jnp.issubdtype(dtype, jnp.integer), jnp.issubdtype(dtype, jnp.floating)
    return "i" if whole else "f" if real else ""


def _range(dtype: np.dtype) -> tuple[Any, Any]:
    """The least and the largest finite number."""
    if _kind(dtype) == "i":
        about = jnp.iinfo(dtype)
        return int(about.min), int(about.max)
    limit = float(jnp.finfo(dtype).max)
    return -limit, limit


def _is_between(values: np.ndarray, low: Any, high: Any) -> bool:
    number = int if isinstance(low, int) else float  # a bfloat16 would round the limits
    with np.errstate(invalid="ignore"):  # a signalling NaN
        least, most = values.min(), values.max()
    return bool(np.isfinite(least)) and low <= number(least) and number(most) <= high


def _inside(values: np.ndarray, dtype: np.dtype, low: Any, high: Any) -> np.ndarray:
    if _kind(dtype) == "i":
        return (low <= values) & (values <= high)
    with np.errstate(over="ignore", invalid="ignore"):  # a value may round to the largest
        return np.isfinite(values.astype(dtype)) | ~np.isfinite(values)


class _Checked:
    """A source whose values are looked at when they are read."""

    def __init__(self, source: Any, dtype: np.dtype, where: dict[str, Any]):
        self.source, self.to, self.where = source, dtype, where
        if hasattr(source, "windows"):
            self.windows = source.windows

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        part = np.asarray(self.source[index])
        check(part, self.to, **self.where)
        return part

    def origins(self, box: boxes.Box) -> Iterator[boxes.Piece]:
        return boxes.origins(self.source, box)

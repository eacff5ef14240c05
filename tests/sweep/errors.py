"""The error of a result in units of its last place, and what is allowed."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np


def units(reference: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The errors of ``found``, whose dtype gives the unit; ``inf`` for NaN instead of a number.

    Subnormal numbers and 0 are equal, as are the largest number and infinity.
    """
    info = jnp.finfo(found.dtype)
    tiny, largest = float(info.tiny), float(info.max)
    have = found.astype(np.float64)
    with np.errstate(all="ignore"):
        rounded = reference.astype(found.dtype).astype(np.float64)
        size = np.maximum(np.abs(reference), tiny)
        apart = np.abs(have - reference) / 2.0 ** (np.floor(np.log2(size)) - info.nmant)
        equal = (rounded == have) | (np.isnan(rounded) & np.isnan(have))
        equal |= (np.abs(reference) < tiny) & (np.abs(have) < tiny)
        equal |= np.isinf(rounded) & (np.abs(have) > 0.999 * largest) & (rounded * have > 0)
    return np.where(equal, 0, np.where(np.isnan(apart), np.inf, apart))


class Row(NamedTuple):
    """The worst place of a function in a format and dtype, of those where JAX itself is right.

    Attributes:
        worst: the file's error there. jax: the largest error of JAX. beyond: at how many places of
            how many the error is not allowed. at: the worst place. range: the places beyond.
    """

    worst: float
    jax: float
    beyond: int
    places: int
    at: float
    range: tuple[float, float]

    @property
    def allowed(self) -> float:
        return max(4 * self.jax, 2.0)


def row(x: np.ndarray, reference: np.ndarray, by_jax: np.ndarray, found: np.ndarray) -> Row:
    """Compare a file's results with the reference, by the measure of JAX's own.

    JAX's largest error is that over the places where it is off by less than a thousand units: it
    takes subnormal numbers for zero, which is infinitely wrong in 1 / x. Those places do not count.
    """
    own, errors = units(reference, by_jax), units(reference, found)
    sane = own < 1000
    largest = float(np.max(own, initial=0, where=sane))
    errors = np.where(sane, errors, 0)
    worst = int(np.argmax(errors))
    beyond = np.flatnonzero(errors > max(4 * largest, 2.0))
    sizes = np.abs(x[beyond].astype(np.float64)) if beyond.size else np.zeros(1)
    reach = float(sizes.min()), float(sizes.max())
    return Row(float(errors[worst]), largest, beyond.size, x.size, float(x[worst]), reach)

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


#: JAX's own error from which a place is compared with the error there, not with JAX's largest.
ROUGH = 1000


class Part(NamedTuple):
    """Some of the places of a row.

    Attributes:
        places: how many they are. worst: the file's largest error at them. jax: JAX's.
        range: the sizes of the numbers from the smallest to the largest.
    """

    places: int
    worst: float
    jax: float
    range: tuple[float, float]


class Row(NamedTuple):
    """A function in a format and dtype.

    Attributes:
        worst: the file's largest error where JAX is right to ``ROUGH`` units. jax: JAX's there.
        at: the worst place. places: the number of all places.
        beyond: the places where the error is not allowed.
        rough: the places where JAX's own error is larger, but finite.
    """

    worst: float
    jax: float
    at: float
    places: int
    beyond: Part
    rough: Part

    @property
    def allowed(self) -> float:
        return max(4 * self.jax, 2.0)


def row(x: np.ndarray, reference: np.ndarray, by_jax: np.ndarray, found: np.ndarray) -> Row:
    """Compare a file's results with the reference, by the measure of JAX's own.

    Four times JAX's largest error is allowed; where JAX errs by more than a thousand units, four
    times that error. Places where JAX has infinity or NaN for a number do not count.
    """
    own, errors = units(reference, by_jax), units(reference, found)
    sane = own < ROUGH
    rough = ~sane & np.isfinite(own)
    largest = float(np.max(own, initial=0, where=sane))
    allowed = np.where(sane, max(4 * largest, 2.0), np.where(rough, 4 * own, np.inf))
    worst = int(np.argmax(np.where(sane, errors, 0)))

    def part(where: np.ndarray) -> Part:
        if not where.any():
            return Part(0, 0.0, 0.0, (0.0, 0.0))
        sizes = np.abs(x[where].astype(np.float64))
        reach = float(sizes.min()), float(sizes.max())
        return Part(int(where.sum()), float(errors[where].max()), float(own[where].max()), reach)

    beyond = part(errors > allowed)
    return Row(float(errors[worst]), largest, float(x[worst]), x.size, beyond, part(rough))

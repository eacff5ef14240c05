"""Operators that draw random numbers: from a key of JAX, so no number of theirs is MindSpore's.

The shares, means and ranges are. ``Seed0`` and ``Seed1`` are left aside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import random

from msckpt_jax.graph.meaning.arrays import ints


def _kept(rng: Any, share: float, shape: tuple[int, ...]) -> Any:
    return random.uniform(rng, shape, jnp.float32) < share


def _dropout(x: Any, keep_prob: float = 0.5, *_: Any, rng: Any) -> Any:
    keep = _kept(rng, keep_prob, jnp.shape(x))
    return jnp.where(keep, x / keep_prob, 0).astype(x.dtype), keep.astype(x.dtype)


def _dropout_channels(x: Any, *, keep_prob: float = 0.5, rng: Any) -> Any:
    """Drop whole channels; the mask has the shape of the tensor."""
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2))
    keep = jnp.broadcast_to(_kept(rng, keep_prob, shape), x.shape)
    scaled = jnp.where(keep, x / keep_prob if keep_prob else x, 0)
    return scaled.astype(x.dtype), keep


def _normal(shape: Any, *, rng: Any) -> Any:
    return random.normal(rng, ints(shape), jnp.float32)


def _uniform(shape: Any, *, rng: Any) -> Any:
    return random.uniform(rng, ints(shape), jnp.float32)


def _integers(shape: Any, low: Any, high: Any, *, rng: Any) -> Any:
    """Draw integers from ``low``, included, to ``high``, not included."""
    return random.randint(rng, ints(shape), jnp.ravel(low)[0], jnp.ravel(high)[0], jnp.int32)


TABLE: dict[str, Callable[..., Any]] = {
    "Dropout": _dropout,
    "Dropout2D": _dropout_channels,
    "Dropout3D": _dropout_channels,
    "StandardNormal": _normal,
    "UniformInt": _integers,
    "UniformReal": _uniform,
}

"""``argmax`` and ``argmin`` by int32.

JAX lowers those with int64 only where it has 64 bits, which a model turns on for its own call:
within a ``jax.jit`` of the user's they failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax


def _position(function: Callable[..., Any]) -> Callable[..., Any]:
    def position(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        if axis is None or not jnp.ndim(x):
            index = function(jnp.ravel(x), 0, np.int32)
            return index.reshape((1,) * jnp.ndim(x)) if keepdims else index
        index = function(x, axis + jnp.ndim(x) if axis < 0 else axis, np.int32)
        return jnp.expand_dims(index, axis) if keepdims else index

    return position


argmax = _position(lax.argmax)
argmin = _position(lax.argmin)

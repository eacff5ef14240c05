"""Complex numbers in JAX's order: by their real parts, equal ones by their imaginary parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.rewrites import window
from msckpt_jax.lowering.rewrites.cumulative import accumulated
from msckpt_jax.lowering.rewrites.ignoring import ignoring
from msckpt_jax.lowering.rewrites.numeric import reversed_first

_Compare: TypeAlias = Callable[[Array, Array], Array]


def _chosen(before: _Compare) -> Callable[[Array, Array], Array]:
    """The greater of two, or the less; the second if NaN decides."""

    def rewrite(x: Array, y: Array) -> Array:
        x, y = jnp.broadcast_arrays(x, y)
        x_real, y_real = lax.real(x), lax.real(y)
        by_imaginary = before(lax.imag(x), lax.imag(y))
        first = lax.select(lax.eq(x_real, y_real), by_imaginary, before(x_real, y_real))
        return lax.select(first, x, y)

    return rewrite


def _clamp(low: Array, x: Array, high: Array) -> Array:
    low, x, high = jnp.broadcast_arrays(low, x, high)
    return lax.min(lax.max(low, x), high)


def _reduced(function: Callable[[Array, Array], Array], start: float) -> Callable[..., Array]:
    def rewrite(x: Array, *, axes: Sequence[int]) -> Array:
        value = np.array(start, x.dtype)
        jaxpr = jax.make_jaxpr(function)(value, value)
        return window.reduce(x, value, jaxpr=jaxpr, dimensions=axes)[0]

    return rewrite


def _cumulative(
    function: Callable[[Array, Array], Array], of_reals: Callable[..., Array]
) -> Callable[..., Array]:
    real = reversed_first(of_reals)

    def rewrite(x: Array, *, axis: int, reverse: bool) -> Array:
        if jnp.issubdtype(x.dtype, np.complexfloating):
            return accumulated(function, x, axis, reverse)
        return real(x, axis=axis, reverse=reverse)

    return rewrite


#: Real operands have canonical forms.
REWRITES = {
    "clamp": _clamp,
    "cummax": _cumulative(lax.max, lax.cummax),
    "cummin": _cumulative(lax.min, lax.cummin),
    "max": _chosen(lax.gt),
    "min": _chosen(lax.lt),
    "reduce_max": ignoring(_reduced(lax.max, -np.inf), "out_sharding"),
    "reduce_min": ignoring(_reduced(lax.min, np.inf), "out_sharding"),
}

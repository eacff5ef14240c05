"""Scatters of complex numbers, for which runtimes have no kernel."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.rewrites import index
from msckpt_jax.lowering.rewrites.declined import Declined
from msckpt_jax.lowering.rewrites.ignoring import Ignoring


def _of_complex(rewrite: Ignoring) -> Ignoring:
    """The rewrite, which declines real numbers."""

    @functools.wraps(rewrite.function)
    def checked(operand: Array, *operands: Array, **params: Any) -> Array:
        if operand.dtype.kind != "c":
            raise Declined
        return rewrite.function(operand, *operands, **params)

    return rewrite._replace(function=checked)


def _by_parts(put: Callable[..., Array]) -> Callable[..., Array]:
    def each(operand: Array, indices: Array, updates: Array, dims: Any, mode: Any) -> Array:
        pairs = (operand.real, updates.real), (operand.imag, updates.imag)
        return lax.complex(*(put(x, indices, part, dims, mode=mode) for x, part in pairs))

    return each


def _multiplied(operand: Array, indices: Array, updates: Array, dims: Any, mode: Any) -> Array:
    """Multiply by one update after the other: an element may be pointed to several times."""
    indices = indices.reshape(-1, 1, indices.shape[-1])
    updates = updates.reshape(indices.shape[0], 1, *operand.shape[indices.shape[-1] :])

    def step(number: Any, x: Array) -> Array:
        place, factor = (lax.dynamic_index_in_dim(y, number, 0, False) for y in (indices, updates))
        return index.placed(lax.scatter, x, place, index.take(x, place) * factor)

    count = jnp.asarray(indices.shape[0], np.int32)
    return lax.fori_loop(np.int32(0), count, step, operand)


#: Sums of complex numbers, whose parts are summed alone.
SUMS = {
    "scatter-add": _of_complex(index.scatter("scatter_add", _by_parts(lax.scatter_add))),
    "scatter-sub": _of_complex(index.scatter("scatter_sub", _by_parts(lax.scatter_sub))),
}
PRODUCTS = {"scatter-mul": _of_complex(index.scatter("scatter_mul", _multiplied))}

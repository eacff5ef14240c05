"""Functions of two arrays accumulated along an axis, also one of dynamic size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.rewrites.declined import Declined

Function: TypeAlias = Callable[[Any, Any], Any]


def accumulated(function: Function, x: Array, axis: int, reverse: bool) -> Array:
    """The results in few steps, or one after the other where the number of steps is dynamic."""
    if isinstance(x.shape[axis], int):
        return lax.associative_scan(function, x, reverse=reverse, axis=axis)

    def step(carry: tuple[Array, Array], row: Array) -> Any:
        begun, last = carry
        new = lax.select(jnp.broadcast_to(begun, row.shape), function(last, row), row)
        return (np.bool_(True), new), new

    rows = jnp.moveaxis(x, axis, 0)
    start = jnp.zeros((), bool), jnp.zeros(rows.shape[1:], x.dtype)
    return jnp.moveaxis(lax.scan(step, start, rows, reverse=reverse)[1], 0, axis)


def of_dynamic_size(function: Function) -> Callable[..., Array]:
    """The rewrite for axes of dynamic size, which declines others."""

    def rewrite(x: Array, *, axis: int, reverse: bool) -> Array:
        if isinstance(x.shape[axis], int):
            raise Declined
        return accumulated(function, x, axis, reverse)

    return rewrite

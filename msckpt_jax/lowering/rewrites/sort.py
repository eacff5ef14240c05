"""Sorting: by one key along the last axis; operands carried along are gathered afterwards."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.rewrites.ignoring import ignoring


def sort(*operands: Array, dimension: int, num_keys: int) -> list[Array]:
    """Sort by each of several keys in turn, stably, by the last key first."""
    last = operands[0].ndim - 1
    moved = [lax.transpose(x, _swapped(last, dimension)) for x in operands]
    keys = [part for x in moved[:num_keys] for part in _parts(x)]
    if len(keys) == len(moved) == 1 and keys[0] is moved[0]:
        out = [lax.sort(keys[0])]
    else:
        *earlier, key = keys
        order = _with_indices(key)[1]
        for key in reversed(earlier):
            again = _with_indices(_taken(key, order))[1]
            order = _taken(order, again)
        out = [_taken(x, order) for x in moved]
    return [lax.transpose(x, _swapped(last, dimension)) for x in out]


def _swapped(last: int, axis: int) -> list[int]:
    order = list(range(last + 1))
    order[axis], order[last] = last, axis
    return order


def _parts(key: Array) -> list[Array]:
    if key.dtype == np.bool_:
        return [key.astype(np.uint8)]
    if jnp.issubdtype(key.dtype, np.complexfloating):
        return [key.real, key.imag]
    return [key]


def _with_indices(key: Array) -> tuple[Array, ...]:
    indices = lax.broadcasted_iota(np.int32, key.shape, key.ndim - 1)
    return lax.sort((key, indices), num_keys=1)


def _taken(x: Array, order: Array) -> Array:
    """``x`` in this order along the last axis."""
    count = x.shape[-1]
    rows = lax.reshape(x, (x.size,)) if x.ndim > 1 else x
    if x.ndim > 1:
        first = jnp.arange(math.prod(x.shape[:-1]), dtype=np.int32) * jnp.asarray(count, np.int32)
        order = order + lax.reshape(first, (*x.shape[:-1], 1))
    return rows.at[order].get(mode="promise_in_bounds")


def top_k(x: Array, *, k: int, axis: int) -> list[Array]:
    order = _swapped(x.ndim - 1, axis)
    return [lax.transpose(out, order) for out in lax.top_k(lax.transpose(x, order), k)]


def approx_top_k(x: Array, *, k: int, reduction_dimension: int, is_max_k: bool) -> list[Array]:
    """The exact elements, as JAX gives them on CPU."""
    axis = reduction_dimension % x.ndim
    if is_max_k:
        return top_k(x, k=k, axis=axis)
    values, indices = sort(
        x, lax.broadcasted_iota(np.int32, x.shape, axis), dimension=axis, num_keys=1
    )
    return [lax.slice_in_dim(out, 0, k, axis=axis) for out in (values, indices)]


REWRITES = {
    "approx_top_k": ignoring(
        approx_top_k, "aggregate_to_topk", "recall_target", "reduction_input_size_override"
    ),
    "sort": ignoring(sort, "is_stable"),
    "top_k": ignoring(top_k, "is_stable"),
}

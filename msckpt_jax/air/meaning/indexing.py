"""Operators that find positions, and those that read and write at positions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from msckpt_jax.air.meaning.operands import Meaning, alike, axes_of, axis_of, dtype_of, ints
from msckpt_jax.graph.meaning import positions


def _in_range(indices: Any, size: Any) -> Any:
    """Indices; none may be out of range, for which GE does not define a result."""
    if not isinstance(indices, Tracer):
        wrong = (np.asarray(indices) < 0) | (np.asarray(indices) >= np.asarray(size))
        if wrong.any():
            raise ValueError(f"indices out of range, such as {np.asarray(indices)[wrong][0]}")
    return indices


def _arg(function: Callable[..., Any]) -> Meaning:
    def meaning(x: Any, axis: Any, *, dtype: int) -> Any:
        (axis,) = axes_of(axis, x.ndim)
        return function(x, axis).astype(dtype_of(dtype))

    return meaning


def _arg_with_value(function: Callable[..., Any]) -> Meaning:
    """A meaning that gives the index, int32, and the element there."""

    def meaning(x: Any, *, dimension: int, keep_dims: bool) -> Any:
        axis = axis_of(dimension, x.ndim)
        index = function(x, axis, keepdims=True)
        results = index.astype(jnp.int32), jnp.take_along_axis(x, index, axis)
        return results if keep_dims else tuple(jnp.squeeze(part, axis) for part in results)

    return meaning


def _gather(x: Any, indices: Any, axis: Any, *, batch_dims: int) -> Any:
    (axis,) = axes_of(axis, x.ndim)
    batch = axis_of(batch_dims, jnp.ndim(indices))
    _in_range(indices, x.shape[axis])
    take = partial(jnp.take, axis=axis - batch, mode="clip")
    for _ in range(batch):
        take = jax.vmap(take)
    return take(x, indices)


def _points(x: Any, indices: Any) -> tuple[Any, ...]:
    """The positions in ``x`` that the last axis of ``indices`` names."""
    return tuple(jnp.moveaxis(_in_range(indices, x.shape[: indices.shape[-1]]), -1, 0))


def _elements(x: Any, indices: Any, axis: int) -> tuple[Any, ...]:
    """The positions in ``x`` that differ from those in ``indices`` along one axis only."""
    grid = list(jnp.indices(indices.shape, sparse=True))
    axis = axis_of(axis, x.ndim)
    if any(n > m for k, (n, m) in enumerate(zip(indices.shape, x.shape, strict=True)) if k != axis):
        raise ValueError(f"indices of shape {indices.shape} into a tensor of shape {x.shape}")
    grid[axis] = _in_range(indices, x.shape[axis])
    return tuple(grid)


def _gather_nd(x: Any, indices: Any) -> Any:
    return jnp.asarray(x)[_points(x, indices)]


def _gather_elements(x: Any, index: Any, *, dim: int) -> Any:
    return jnp.asarray(x)[_elements(x, index, dim)]


def _scatter_nd(method: str) -> Meaning:
    def meaning(x: Any, indices: Any, updates: Any) -> Any:
        alike(x, updates)
        if jnp.shape(updates) != (*indices.shape[:-1], *x.shape[indices.shape[-1] :]):
            raise ValueError(
                f"updates of shape {jnp.shape(updates)} at indices of shape {indices.shape}"
            )
        return getattr(jnp.asarray(x).at[_points(x, indices)], method)(updates)

    return meaning


def _scatter_into_zeros(indices: Any, updates: Any, shape: Any) -> Any:
    return _scatter_nd("add")(jnp.zeros(ints(shape), updates.dtype), indices, updates)


def _scatter_elements(x: Any, indices: Any, updates: Any, *, axis: int, reduction: str) -> Any:
    alike(x, updates)
    if jnp.shape(updates) != jnp.shape(indices):
        raise ValueError(
            f"updates of shape {jnp.shape(updates)} at indices of shape {jnp.shape(indices)}"
        )
    method = {"none": "set", "add": "add", "mul": "multiply"}[reduction]
    return getattr(jnp.asarray(x).at[_elements(x, indices, axis)], method)(updates)


def _sort(x: Any, *, axis: int, descending: bool) -> Any:
    axis = axis_of(axis, x.ndim)
    index = lax.broadcasted_iota(jnp.int32, x.shape, axis)
    key = ~x if jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == bool else -x
    _, values, order = lax.sort(
        (key if descending else x, x, index), dimension=axis, num_keys=1, is_stable=True
    )
    return values, order


def _top_k(x: Any, k: Any, *, largest: bool, dim: int) -> Any:
    axis = axis_of(dim, x.ndim)
    (count,) = ints(k)
    moved = jnp.moveaxis(x, axis, -1)
    values, order = lax.top_k(moved if largest else -moved, count)
    values = values if largest else -values
    return jnp.moveaxis(values, -1, axis), jnp.moveaxis(order, -1, axis)


TABLE: dict[str, Meaning] = {
    "ArgMaxWithValue": _arg_with_value(positions.argmax),
    "ArgMinWithValue": _arg_with_value(positions.argmin),
    "ArgMaxV2": _arg(positions.argmax),
    "ArgMin": _arg(positions.argmin),
    "GatherElements": _gather_elements,
    "GatherNd": _gather_nd,
    "GatherV2": _gather,
    "ScatterElements": _scatter_elements,
    "ScatterNd": _scatter_into_zeros,
    "ScatterNdAdd": _scatter_nd("add"),
    "ScatterNdUpdate": _scatter_nd("set"),
    "Sort": _sort,
    "TensorScatterAdd": _scatter_nd("add"),
    "TensorScatterMax": _scatter_nd("max"),
    "TensorScatterMin": _scatter_nd("min"),
    "TensorScatterSub": _scatter_nd("subtract"),
    "TensorScatterUpdate": _scatter_nd("set"),
    "TopK": _top_k,
    "TopKV2": _top_k,
}

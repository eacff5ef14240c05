"""Operators that reduce axes, or accumulate along an axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax.air.meaning.operands import Meaning, axes_of, axis_of, ints


def _reduce(function: Callable[..., Any]) -> Meaning:
    def meaning(x: Any, axes: Any, *, keep_dims: bool) -> Any:
        return function(x, axis=axes_of(axes, jnp.ndim(x)), keepdims=keep_dims)

    return meaning


def _reduce_mean(x: Any, axes: Any, *, keep_dims: bool, noop_with_empty_axes: bool) -> Any:
    if not ints(axes) and not noop_with_empty_axes:
        axes = np.arange(jnp.ndim(x))
    return _reduce(jnp.mean)(x, axes, keep_dims=keep_dims)


def _scan(function: Callable[..., Any], identity: int) -> Meaning:
    def meaning(x: Any, axis: Any, *, exclusive: bool, reverse: bool) -> Any:
        (axis,) = axes_of(axis, x.ndim)
        out = function(jnp.flip(x, axis) if reverse else x, axis=axis, dtype=x.dtype)
        if exclusive:
            first = jnp.full_like(lax.slice_in_dim(out, 0, 1, axis=axis), identity)
            out = jnp.concatenate([first, lax.slice_in_dim(out, 0, -1, axis=axis)], axis)
        return jnp.flip(out, axis) if reverse else out

    return meaning


def _running(best: Callable[..., Any], x: Any, axis: int, index_dtype: np.dtype) -> Any:
    """The running extremes, and the positions of the last elements that equal them."""
    axis = axis_of(axis, x.ndim)
    values = best(x, axis=axis)
    index = jnp.where(x == values, lax.broadcasted_iota(jnp.int32, x.shape, axis), 0)
    positions = lax.cummax(index, axis=axis)
    return values, positions.astype(jax.dtypes.canonicalize_dtype(index_dtype))


TABLE: dict[str, Meaning] = {
    "Cummax": lambda x, *, dim, index_dtype: _running(lax.cummax, x, dim, index_dtype),
    "Cummin": lambda x, *, axis, index_dtype: _running(lax.cummin, x, axis, index_dtype),
    "Cumprod": _scan(jnp.cumprod, 1),
    "Cumsum": _scan(jnp.cumsum, 0),
    "ReduceAll": _reduce(jnp.all),
    "ReduceAny": _reduce(jnp.any),
    "ReduceMax": _reduce(jnp.max),
    "ReduceMean": _reduce_mean,
    "ReduceMin": _reduce(jnp.min),
    "ReduceProd": _reduce(lambda x, **k: jnp.prod(x, dtype=x.dtype, **k)),
    "ReduceSum": _reduce(lambda x, **k: jnp.sum(x, dtype=x.dtype, **k)),
}

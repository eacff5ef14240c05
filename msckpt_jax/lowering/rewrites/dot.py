"""Contractions: any ``dot_general`` is a batched matrix product between reshapes."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.rewrites.declined import Declined
from msckpt_jax.lowering.rewrites.ignoring import ignoring


def dot_general(
    lhs: Array,
    rhs: Array,
    *,
    dimension_numbers: lax.DotDimensionNumbers,
    precision: Any,
    preferred_element_type: np.dtype | None,
) -> Array:
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    lhs_free = _free(lhs, lhs_contract, lhs_batch)
    rhs_free = _free(rhs, rhs_contract, rhs_batch)
    batch = [lhs.shape[axis] for axis in lhs_batch]
    rows, columns = [lhs.shape[a] for a in lhs_free], [rhs.shape[a] for a in rhs_free]
    depth = [lhs.shape[axis] for axis in lhs_contract]
    dtype = _promoted(lhs.dtype, rhs.dtype)
    result = preferred_element_type or (
        dtype if lhs.dtype == rhs.dtype else _result(lhs, rhs, dimension_numbers)
    )
    dtype = _promoted(dtype, result)
    lhs = lax.transpose(lhs, (*lhs_batch, *lhs_free, *lhs_contract))
    rhs = lax.transpose(rhs, (*rhs_batch, *rhs_contract, *rhs_free))
    lhs = lax.reshape(lhs, (*batch, math.prod(rows), math.prod(depth))).astype(dtype)
    rhs = lax.reshape(rhs, (*batch, math.prod(depth), math.prod(columns))).astype(dtype)
    out = lax.batch_matmul(lhs, rhs, precision)
    return lax.reshape(out, (*batch, *rows, *columns)).astype(result)


def _promoted(left: Any, right: Any) -> np.dtype:
    """The dtype that holds both; uint64 for it and signed integers, whose products wrap around."""
    dtype = np.dtype(jnp.promote_types(left, right))
    whole = all(jnp.issubdtype(part, np.integer) for part in (left, right))
    return np.dtype(np.uint64) if whole and dtype.kind == "f" else dtype


def _result(lhs: Array, rhs: Array, dims: lax.DotDimensionNumbers) -> np.dtype:
    """The dtype of a product of two dtypes: XLA's rule, which is not the one of promotion."""
    return jax.eval_shape(lambda x, y: lax.dot_general(x, y, dims), lhs, rhs).dtype


def _free(array: Array, *taken: Sequence[int]) -> list[int]:
    return [axis for axis in range(array.ndim) if not any(axis in axes for axes in taken)]


def ragged_dot_general(
    lhs: Array,
    rhs: Array,
    sizes: Array,
    *,
    ragged_dot_dimension_numbers: lax.RaggedDotDimensionNumbers,
    precision: Any,
    preferred_element_type: np.dtype | None,
    group_offset: Array | None,
) -> Array:
    """A product for each group, of an ``lhs`` that is zero outside the group."""
    ragged = ragged_dot_dimension_numbers
    dims = ragged.dot_dimension_numbers
    (axis,), (lhs_contract, _), (lhs_batch, _) = ragged.lhs_ragged_dimensions, *dims
    if group_offset is not None or sizes.ndim != 1:
        raise Declined
    groups = [int(axis) for axis in ragged.rhs_group_dimensions]
    rhs_dims = [[a - sum(g < a for g in groups) for a in axes] for _, axes in dims]
    dims = [(axes, mine) for (axes, _), mine in zip(dims, rhs_dims, strict=True)]
    types = {"precision": precision, "preferred_element_type": preferred_element_type}
    dot = functools.partial(lax.dot_general, dimension_numbers=dims, **types)
    if axis in lhs_batch:
        return dot(lhs, rhs)
    ends = jnp.cumsum(sizes)
    place = lax.broadcasted_iota(sizes.dtype, lhs.shape, axis)
    parts = []
    for group in range(sizes.shape[0]):
        inside = (place >= ends[group] - sizes[group]) & (place < ends[group])
        part = lax.select(inside, lhs, jnp.zeros_like(lhs))
        parts.append(dot(part, _group(rhs, group, groups)))
    return jnp.stack(parts) if axis in lhs_contract else functools.reduce(jnp.add, parts)


def _group(rhs: Array, group: int, axes: Sequence[int]) -> Array:
    for axis in axes:
        rhs = lax.index_in_dim(rhs, group, axis, keepdims=False)
    return rhs


REWRITES = {
    "dot_general": ignoring(dot_general, "out_sharding"),
    "ragged_dot_general": ignoring(ragged_dot_general, "out_sharding"),
}

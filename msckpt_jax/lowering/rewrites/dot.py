"""Contractions: any ``dot_general`` is a batched matrix product between reshapes."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import lax


def dot_general(
    lhs: Any,
    rhs: Any,
    *,
    dimension_numbers: Any,
    precision: Any,
    preferred_element_type: Any,
    **_: Any,
) -> Any:
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    lhs_free = _others(lhs, lhs_contract, lhs_batch)
    rhs_free = _others(rhs, rhs_contract, rhs_batch)
    batch = [lhs.shape[axis] for axis in lhs_batch]
    rows, columns = [lhs.shape[a] for a in lhs_free], [rhs.shape[a] for a in rhs_free]
    depth = [lhs.shape[axis] for axis in lhs_contract]
    dtype = jnp.promote_types(lhs.dtype, rhs.dtype)
    result = dtype if preferred_element_type is None else preferred_element_type
    dtype = jnp.promote_types(dtype, result)
    lhs = lax.transpose(lhs, (*lhs_batch, *lhs_free, *lhs_contract))
    rhs = lax.transpose(rhs, (*rhs_batch, *rhs_contract, *rhs_free))
    lhs = lax.reshape(lhs, (*batch, math.prod(rows), math.prod(depth))).astype(dtype)
    rhs = lax.reshape(rhs, (*batch, math.prod(depth), math.prod(columns))).astype(dtype)
    out = lax.batch_matmul(lhs, rhs, precision)
    return lax.reshape(out, (*batch, *rows, *columns)).astype(result)


def _others(array: Any, *taken: Any) -> list[int]:
    return [axis for axis in range(array.ndim) if not any(axis in axes for axes in taken)]


REWRITES = {"dot_general": dot_general}

"""Sparse matrices as places and numbers, where the result is dense or has the same places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from msckpt_jax.graph.meaning.arrays import ints


def dense(indices: Any, values: Any, shape: Any) -> Any:
    """The dense tensor; numbers of the same place are added up."""
    zeros = jnp.zeros(ints(shape), values.dtype)
    return zeros.at[tuple(jnp.moveaxis(indices, -1, 0))].add(values)


def _matmul(
    indices: Any, values: Any, shape: Any, y: Any, *, adjoint_st: bool = False,
    adjoint_dt: bool = False,
) -> Any:  # fmt: skip
    x = dense(indices, values, shape)
    x = jnp.swapaxes(x, -1, -2) if adjoint_st else x  # MindSpore's kernel does not conjugate it
    return jnp.matmul(x, jnp.conj(jnp.swapaxes(y, -1, -2)) if adjoint_dt else y)


def _to_dense(indices: Any, values: Any, shape: Any) -> Any:
    zeros = jnp.zeros(ints(shape), values.dtype)
    return zeros.at[tuple(jnp.moveaxis(indices, -1, 0))].set(values)


def _to_dense_v2(
    indices: Any, shape: Any, values: Any, default: Any, *, validate_indices: bool = True
) -> Any:
    out = jnp.full(ints(shape), default, values.dtype)
    indices = indices[:, None] if indices.ndim == 1 else indices
    return out.at[tuple(jnp.moveaxis(jnp.atleast_2d(indices), -1, 0))].set(values)


def _add_dense(indices: Any, values: Any, shape: Any, y: Any) -> Any:
    return y.at[tuple(jnp.moveaxis(indices, -1, 0))].add(values)


def _elementwise(fn: Callable[..., Any]) -> Callable[..., Any]:
    def run(indices: Any, values: Any, shape: Any, y: Any) -> Any:
        y = jnp.broadcast_to(y, ints(shape))
        return fn(values, y[tuple(jnp.moveaxis(indices, -1, 0))])

    return run


def _addmm(indices: Any, values: Any, shape: Any, y: Any, z: Any, alpha: Any, beta: Any) -> Any:
    return alpha * jnp.matmul(dense(indices, values, shape), y) + beta * z


def _rows(pointers: Any, count: int) -> Any:
    """The row of each number of a CSR matrix."""
    return jnp.searchsorted(pointers, jnp.arange(count, dtype=pointers.dtype), side="right") - 1


def _csr(pointers: Any, columns: Any, values: Any, shape: Any) -> Any:
    zeros = jnp.zeros(ints(shape), values.dtype)
    return zeros.at[_rows(pointers, len(columns)), columns].add(values)


def _to_pointers(rows: Any, height: Any) -> Any:
    sizes = jax.ops.segment_sum(jnp.ones_like(rows), rows, int(height))
    return jnp.concatenate([jnp.zeros(1, rows.dtype), jnp.cumsum(sizes).astype(rows.dtype)])


TABLE: dict[str, Callable[..., Any]] = {
    "SparseTensorDenseMatmul": _matmul,
    "SparseToDense": _to_dense,
    "SparseToDenseV2": _to_dense_v2,
    "SparseTensorDenseAdd": _add_dense,
    "SparseDenseCwiseAdd": _elementwise(jnp.add),
    "SparseDenseCwiseMul": _elementwise(jnp.multiply),
    "SparseDenseCwiseDiv": _elementwise(jnp.divide),
    "SparseAddmm": _addmm,
    "CSR2COO": lambda pointers, count: _rows(pointers, int(count)).astype(pointers.dtype),
    "COO2CSR": _to_pointers,
    "CSRMV": lambda p, c, v, shape, y: _csr(p, c, v, shape) @ y,
    "CSRMM": lambda p, c, v, shape, y: _csr(p, c, v, shape) @ y,
}

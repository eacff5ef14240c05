"""Sparse arrays of ``jax.experimental.sparse``: gathers, products and scatters of their elements.

Most of their primitives know what they do in plain JAX. Products do not: the elements are
multiplied by rows of the dense array, and added up where they belong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from msckpt_jax.errors import UnsupportedError


def _dot(
    data: Array, indices: Array, rhs: Array, *, dimension_numbers: Any, preferred_element_type: Any,
    lhs_spinfo: Any,
) -> Array:  # fmt: skip
    """The product of a BCOO array and a dense one."""
    (contracted, rhs_contracted), (batch, rhs_batch) = dimension_numbers
    shape, axes = lhs_spinfo.shape, indices.ndim - 2
    columns, data = _elements(data, indices, shape[:axes])
    if any(axis >= len(columns) for axis in (*contracted, *batch)):
        raise UnsupportedError("a product along a dense axis of a sparse array: use .todense()")
    free = [axis for axis in range(len(columns)) if axis not in (*contracted, *batch)]
    rest = [axis for axis in range(rhs.ndim) if axis not in (*rhs_contracted, *rhs_batch)]
    rhs = lax.transpose(rhs, [*rhs_batch, *rhs_contracted, *rest])
    at = tuple(columns[axis] for axis in (*batch, *contracted))
    if at:
        rows = rhs.at[at].get(mode="fill", fill_value=0)
    else:
        rows = jnp.broadcast_to(rhs, (data.shape[0], *rhs.shape))
    dtype = preferred_element_type or jnp.result_type(data, rhs)
    data = lax.expand_dims(data.astype(dtype), range(data.ndim, data.ndim + len(rest)))
    rows = lax.expand_dims(rows.astype(dtype), range(1, 1 + data.ndim - 1 - len(rest)))
    product = data * rows
    places = tuple(columns[axis] for axis in (*batch, *free))
    if not places:
        return product.sum(0, dtype=dtype)
    sizes = [shape[axis] for axis in (*batch, *free)]
    return jnp.zeros((*sizes, *product.shape[1:]), dtype).at[places].add(product)


def _elements(data: Array, indices: Array, batch: Sequence[int]) -> tuple[list[Array], Array]:
    """The place of each element on the axes that are not dense, and the elements in a row."""
    count, axes = indices.shape[-2], len(batch)
    data = jnp.broadcast_to(data, (*batch, count, *data.shape[axes + 1 :]))
    indices = jnp.broadcast_to(indices, (*batch, *indices.shape[axes:]))
    columns = [lax.broadcasted_iota(indices.dtype, (*batch, count), axis) for axis in range(axes)]
    columns += [indices[..., k] for k in range(indices.shape[-1])]
    return [c.reshape(-1) for c in columns], data.reshape(-1, *data.shape[axes + 1 :])


def _of_rows(
    data: Array, indices: Array, pointers: Array, rhs: Array, *, dimension_numbers: Any,
    preferred_element_type: Any, lhs_spinfo: Any,
) -> Array:  # fmt: skip
    """The product of a BCSR array and a dense one."""
    both = jnp.stack([_rows(indices, pointers), indices], -1)
    return _dot(data, both, rhs, dimension_numbers=dimension_numbers,
                preferred_element_type=preferred_element_type, lhs_spinfo=lhs_spinfo)  # fmt: skip


def _rows(indices: Array, pointers: Array) -> Array:
    """The row of each element, where pointers tell the first element of each row."""

    def rows(pointers: Array) -> Array:
        marks = jnp.zeros(indices.shape[-1], indices.dtype).at[pointers].add(1)
        return jnp.cumsum(marks, dtype=indices.dtype) - indices.dtype.type(1)

    for _ in range(pointers.ndim - 1):
        rows = jax.vmap(rows)
    return rows(pointers)


class _Shape:
    def __init__(self, shape: Sequence[int]):
        self.shape = shape


def _numbers(transpose: bool) -> Any:
    return ((0 if transpose else 1,), (0,)), ((), ())


def _of_coo(
    data: Array, row: Array, column: Array, rhs: Array, *, spinfo: Any, transpose: bool
) -> Array:
    """The product of a COO array, or of its transpose, and a dense one."""
    return _dot(data, jnp.stack([row, column], -1), rhs, dimension_numbers=_numbers(transpose),
                preferred_element_type=data.dtype, lhs_spinfo=spinfo)  # fmt: skip


def _of_csr(
    data: Array, indices: Array, pointers: Array, rhs: Array, *, shape: Sequence[int],
    transpose: bool,
) -> Array:  # fmt: skip
    """The product of a CSR array, or of its transpose, and a dense one."""
    return _of_rows(data, indices, pointers, rhs, dimension_numbers=_numbers(transpose),
                    preferred_element_type=data.dtype, lhs_spinfo=_Shape(shape))  # fmt: skip


def _dense_coo(data: Array, row: Array, column: Array, *, spinfo: Any) -> Array:
    return jnp.zeros(spinfo.shape, data.dtype).at[row, column].add(data)


def _dense_csr(data: Array, indices: Array, pointers: Array, *, shape: Sequence[int]) -> Array:
    return _dense_coo(data, _rows(indices, pointers), indices, spinfo=_Shape(shape))


def _made(*operands: Array, **_: Any) -> Any:
    raise UnsupportedError("a COO or CSR array is made of a dense one: make a BCOO or BCSR of it")


def _plain(name: str) -> Callable[..., Any]:
    def rewrite(*operands: Array, **params: Any) -> Any:
        from jax.experimental import sparse  # where the equation comes from: it is loaded

        return getattr(sparse, f"{name}_p").impl(*operands, **params)

    return rewrite


#: The primitives whose own implementation is plain JAX, which knows their parameters.
PLAIN = [
    "bcoo_todense",
    "bcoo_fromdense",
    "bcoo_extract",
    "bcoo_transpose",
    "bcoo_dot_general_sampled",
    "bcoo_spdot_general",
    "bcoo_sort_indices",
    "bcoo_sum_duplicates",
    "bcsr_todense",
    "bcsr_fromdense",
    "bcsr_extract",
]
REFUSED = dict.fromkeys(("coo_fromdense", "csr_fromdense"), _made)
REWRITES: dict[str, Callable[..., Any]] = {
    **{name: _plain(name) for name in PLAIN},
    "bcoo_dot_general": _dot,
    "bcsr_dot_general": _of_rows,
    "coo_todense": _dense_coo,
    "csr_todense": _dense_csr,
    **REFUSED,
    **dict.fromkeys(("coo_matvec", "coo_matmat"), _of_coo),
    **dict.fromkeys(("csr_matvec", "csr_matmat"), _of_csr),
}

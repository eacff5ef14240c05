"""Factorisations and triangular systems, a column or a row at a time.

Matrices are the last two axes. Signs follow LAPACK's conventions, so that results are JAX's.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.rewrites.declined import Declined
from msckpt_jax.lowering.rewrites.ignoring import ignoring


def _last(x: Array, j: Array) -> Array:
    """``x[..., j]``: a column of a matrix, an element of a vector."""
    return lax.dynamic_index_in_dim(x, j, x.ndim - 1, keepdims=False)


def _row(x: Array, i: Array) -> Array:
    return lax.dynamic_index_in_dim(x, i, x.ndim - 2, keepdims=False)


def _with_column(x: Array, j: Array, column: Array) -> Array:
    return lax.dynamic_update_index_in_dim(x, column, j, x.ndim - 1)


def _outer(x: Array, y: Array) -> Array:
    return x[..., :, None] * y[..., None, :]


def _steps(count: int) -> Any:
    return np.arange(count, dtype=np.int32)


def identity(like: Array, size: int) -> Array:
    """Identity matrices, as many as ``like`` has matrices, and of its dtype."""
    return jnp.broadcast_to(jnp.eye(size, dtype=like.dtype), (*like.shape[:-2], size, size))


def cholesky(x: Array) -> Array:
    """Factorise column by column; a matrix that is not positive definite gives NaN all over."""
    size = x.shape[-1]
    rows = _steps(size)

    def step(rest: Array, j: Array) -> tuple[Array, Array]:
        column = _last(rest, j)
        pivot = jnp.sqrt(jnp.real(_last(column, j)))
        column = jnp.where(rows >= j, column / pivot[..., None], 0)
        return rest - _outer(column, jnp.conj(column)), column

    columns = lax.scan(step, x, rows)[1]
    lower = jnp.moveaxis(columns, 0, -1)
    good = jnp.all(jnp.isfinite(jnp.diagonal(lower, axis1=-2, axis2=-1)), -1)
    wrong = jnp.where(rows[:, None] < rows, 0, jnp.nan)
    return jnp.where(good[..., None, None], lower, wrong).astype(x.dtype)


def triangular_solve(
    a: Array, b: Array, *, left_side: bool, lower: bool, transpose_a: bool, conjugate_a: bool,
    unit_diagonal: bool,
) -> Array:  # fmt: skip
    """Substitute one unknown after the other; a system from the right is transposed first."""
    a = jnp.conj(a) if conjugate_a else a
    if not left_side:
        transpose_a, b = not transpose_a, jnp.swapaxes(b, -1, -2)
    if transpose_a:
        a, lower = jnp.swapaxes(a, -1, -2), not lower
    rows = _steps(a.shape[-1])

    def step(x: Array, i: Array) -> tuple[Array, tuple[()]]:
        coefficients = jnp.where(rows == i, 0, _row(a, i)) * (rows < i if lower else rows > i)
        value = _row(b, i) - (coefficients[..., None, :] @ x)[..., 0, :]
        if not unit_diagonal:
            value = value / _last(_row(a, i), i)[..., None]
        return lax.dynamic_update_index_in_dim(x, value, i, x.ndim - 2), ()

    x, _ = lax.scan(step, jnp.zeros_like(b), rows, reverse=not lower)
    return x if left_side else jnp.swapaxes(x, -1, -2)


def lu(x: Array) -> tuple[Array, Array, Array]:
    """The packed factors, by partial pivoting, the exchanges, and the order of the rows."""
    count, columns = min(x.shape[-2:]), _steps(x.shape[-1])
    rows = _steps(x.shape[-2])
    if not count:
        blank = jnp.zeros((*x.shape[:-2], 0), np.int32)
        return x, blank, jnp.broadcast_to(rows, x.shape[:-1])

    def exchanged(values: Array, i: Array, j: Array) -> Array:
        """Exchange rows ``i`` and ``j`` of each matrix; ``j`` differs between matrices."""
        order = jnp.where(rows == i, j[..., None], jnp.where(rows == j[..., None], i, rows))
        return jnp.take_along_axis(values, order[..., None] if values.ndim > order.ndim else order,
                                   len(order.shape) - 1)  # fmt: skip

    def step(state: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], Array]:
        a, order = state
        column = _last(a, k)
        size = abs(column.real) + abs(column.imag) if np.iscomplexobj(x) else abs(column)
        pivot = jnp.argmax(jnp.where(rows >= k, size, -1), -1).astype(np.int32)
        a, order = exchanged(a, k, pivot), exchanged(order, k, pivot)
        column = _last(a, k)
        head = _last(column, k)[..., None]
        below = (rows > k) & (head != 0)
        factors = jnp.where(below, column / jnp.where(head == 0, 1, head), 0)
        a = a - _outer(factors, jnp.where(columns > k, _row(a, k), 0))
        column = jnp.where(below, factors, column)
        return (_with_column(a, k, column), order), pivot

    start = jnp.broadcast_to(rows, x.shape[:-1])
    (packed, order), pivots = lax.scan(step, (x, start), _steps(count))
    return packed, jnp.moveaxis(pivots, 0, -1), order


def reflector(column: Array, j: Array) -> tuple[Array, Array, Array]:
    """Householder's vector (1 at ``j``), its factor, and the element that remains at ``j``.

    Where all elements below ``j`` are zero, the factor is zero, as in LAPACK's ``larfg``.
    """
    if np.iscomplexobj(column):
        raise Declined
    rows = _steps(column.shape[-1])
    head = _last(column, j)
    tail = jnp.where(rows > j, column, 0)
    rest = jnp.sum(tail * tail, -1)
    size = jnp.sqrt(head * head + rest)
    kept = jnp.where(rest == 0, head, jnp.where(head >= 0, -size, size))
    safe = jnp.where(rest == 0, 1, head - kept)
    vector = jnp.where(rows == j, 1, tail / safe[..., None])
    factor = jnp.where(rest == 0, 0, (kept - head) / jnp.where(rest == 0, 1, kept))
    return vector, factor, kept


def _reflected(x: Array, vector: Array, factor: Array) -> Array:
    """``x`` reflected from the left."""
    return x - factor[..., None, None] * _outer(vector, (vector[..., None, :] @ x)[..., 0, :])


def _triangle(x: Array) -> tuple[Array, Array, Array]:
    """The triangle R, and Householder's vectors and factors in their order."""

    def step(r: Array, j: Array) -> tuple[Array, tuple[Array, Array]]:
        vector, factor, _ = reflector(_last(r, j), j)
        return _reflected(r, vector, factor), (vector, factor)

    r, reflectors = lax.scan(step, x, _steps(min(x.shape[-2:])))
    return jnp.triu(r), *reflectors


def _product(like: Array, vectors: Array, factors: Array, columns: int) -> Array:
    """The first columns of the product of reflections, of which the last is applied first."""
    start = jnp.broadcast_to(
        jnp.eye(like.shape[-2], columns, dtype=like.dtype), (*like.shape[:-1], columns)
    )

    def step(q: Array, reflection: tuple[Array, Array]) -> tuple[Array, tuple[()]]:
        return _reflected(q, *reflection), ()

    return lax.scan(step, start, (vectors, factors), reverse=True)[0]


def qr(x: Array, *, pivoting: bool, full_matrices: bool) -> tuple[Array, Array]:
    if pivoting or np.iscomplexobj(x):
        raise Declined
    if not min(x.shape[-2:]):
        return identity(x, x.shape[-2]), x
    r, vectors, factors = _triangle(x)
    columns = x.shape[-2] if full_matrices else min(x.shape[-2:])
    return _product(x, vectors, factors, columns), r[..., :columns, :]


def householder_product(a: Array, taus: Array) -> Array:
    """Multiply out the reflections that ``geqrf`` has left below the diagonal."""
    if np.iscomplexobj(a):
        raise Declined
    count = taus.shape[-1]
    lower = jnp.tril(a[..., :count], -1) + jnp.eye(a.shape[-2], count, dtype=a.dtype)
    return _product(a, jnp.moveaxis(lower, -1, 0), jnp.moveaxis(taus, -1, 0), a.shape[-1])


def hessenberg(a: Array) -> tuple[Array, Array]:
    """The packed matrix of ``gehrd``, and the factors of its reflections."""
    rows = _steps(a.shape[-1])

    def step(h: Array, j: Array) -> tuple[Array, tuple[Array, Array]]:
        vector, factor, _ = reflector(_last(h, j), j + 1)
        h = _reflected(h, vector, factor)
        h = jnp.swapaxes(_reflected(jnp.swapaxes(h, -1, -2), vector, factor), -1, -2)
        column = jnp.where(rows > j + 1, vector, _last(h, j))
        return h, (column, factor)

    count = max(a.shape[-1] - 2, 0)
    h, (columns, factors) = lax.scan(step, a, _steps(count))
    packed = jnp.concatenate([jnp.moveaxis(columns, 0, -1), h[..., count:]], -1)
    last = jnp.zeros((*a.shape[:-2], a.shape[-1] - 1 - count), a.dtype)
    return packed, jnp.concatenate([jnp.moveaxis(factors, 0, -1), last], -1)


REWRITES = {
    "cholesky": cholesky,
    "hessenberg": hessenberg,
    "householder_product": householder_product,
    "lu": lu,
    "qr": ignoring(qr, "use_magma"),
    "triangular_solve": triangular_solve,
}

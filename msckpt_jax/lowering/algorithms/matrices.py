"""Factorisations by elimination, and triangular systems, a column or a row at a time.

Matrices are the last two axes. Signs follow LAPACK's conventions, so that results are JAX's.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax


def element(x: Array, j: Array | np.int32) -> Array:
    """``x[..., j]``: a column of a matrix, an element of a vector."""
    return lax.dynamic_index_in_dim(x, j, x.ndim - 1, keepdims=False)


def _row(x: Array, i: Array) -> Array:
    return lax.dynamic_index_in_dim(x, i, x.ndim - 2, keepdims=False)


def _with_column(x: Array, j: Array, column: Array) -> Array:
    return lax.dynamic_update_index_in_dim(x, column, j, x.ndim - 1)


def outer(x: Array, y: Array) -> Array:
    return x[..., :, None] * y[..., None, :]


def steps(count: int) -> Any:
    return np.arange(count, dtype=np.int32)


def adjoint(x: Any) -> Array:
    return jnp.conj(jnp.swapaxes(x, -1, -2))


def magnitude(x: Array) -> Array:
    """The size of each number, as LAPACK measures it: parts are added."""
    return abs(x.real) + abs(x.imag) if np.iscomplexobj(x) else abs(x)


def tamed(x: Array) -> tuple[Array, Array]:
    """The matrices, those of huge or tiny numbers by a power of 2, so that products stay in range.

    What they have to be multiplied by again comes second, with the rank of a matrix.
    """
    if not min(x.shape[-2:]):
        return x, jnp.ones((*x.shape[:-2], 1, 1), x.real.dtype)
    power = jnp.finfo(x.dtype).maxexp * 5 // 8
    factor, least = x.real.dtype.type(2) ** power, x.real.dtype.type(2) ** -(power // 2)
    largest = jnp.max(magnitude(x), (-2, -1), keepdims=True)
    scale = jnp.where(largest > 1 / least, 1 / factor, jnp.where(largest < least, factor, 1))
    return x * scale, 1 / scale


def identity(like: Array, size: int) -> Array:
    """Identity matrices, as many as ``like`` has matrices, and of its dtype."""
    return jnp.broadcast_to(jnp.eye(size, dtype=like.dtype), (*like.shape[:-2], size, size))


def cholesky(x: Array) -> Array:
    """Factorise column by column; a matrix that is not positive definite gives NaN all over."""
    size = x.shape[-1]
    rows = steps(size)

    def step(rest: Array, j: Array) -> tuple[Array, Array]:
        column = element(rest, j)
        pivot = jnp.sqrt(jnp.real(element(column, j)))
        column = jnp.where(rows >= j, column / pivot[..., None], 0)
        return rest - outer(column, jnp.conj(column)), column

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
    rows = steps(a.shape[-1])

    def step(x: Array, i: Array) -> tuple[Array, tuple[()]]:
        coefficients = jnp.where(rows == i, 0, _row(a, i)) * (rows < i if lower else rows > i)
        value = _row(b, i) - (coefficients[..., None, :] @ x)[..., 0, :]
        if not unit_diagonal:
            value = value / element(_row(a, i), i)[..., None]
        return lax.dynamic_update_index_in_dim(x, value, i, x.ndim - 2), ()

    x, _ = lax.scan(step, jnp.zeros_like(b), rows, reverse=not lower)
    return x if left_side else jnp.swapaxes(x, -1, -2)


def exchanged(values: Array, i: Array, j: Array) -> Array:
    """Vectors, or the rows of matrices, with ``i`` and ``j`` exchanged.

    ``j`` differs between the matrices; ``values`` has an axis more than it, or two.
    """
    axis = j.ndim
    places = steps(values.shape[axis])
    order = jnp.where(places == i, j[..., None], jnp.where(places == j[..., None], i, places))
    return jnp.take_along_axis(values, order[..., None] if values.ndim > axis + 1 else order, axis)


def lu(x: Array) -> tuple[Array, Array, Array]:
    """The packed factors, by partial pivoting, the exchanges, and the order of the rows."""
    count, columns = min(x.shape[-2:]), steps(x.shape[-1])
    rows = steps(x.shape[-2])
    if not count:
        blank = jnp.zeros((*x.shape[:-2], 0), np.int32)
        return x, blank, jnp.broadcast_to(rows, x.shape[:-1])

    def step(state: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], Array]:
        a, order = state
        column = element(a, k)
        pivot = jnp.argmax(jnp.where(rows >= k, magnitude(column), -1), -1).astype(np.int32)
        a, order = exchanged(a, k, pivot), exchanged(order, k, pivot)
        column = element(a, k)
        head = element(column, k)[..., None]
        below = (rows > k) & (head != 0)
        factors = jnp.where(below, column / jnp.where(head == 0, 1, head), 0)
        a = a - outer(factors, jnp.where(columns > k, _row(a, k), 0))
        column = jnp.where(below, factors, column)
        return (_with_column(a, k, column), order), pivot

    start = jnp.broadcast_to(rows, x.shape[:-1])
    (packed, order), pivots = lax.scan(step, (x, start), steps(count))
    return packed, jnp.moveaxis(pivots, 0, -1), order


REWRITES = {
    "cholesky": cholesky,
    "lu": lu,
    "triangular_solve": triangular_solve,
}

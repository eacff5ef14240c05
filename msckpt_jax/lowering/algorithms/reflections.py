"""Factorisations by Householder's reflections, of real and of complex matrices.

A reflection is ``1 - factor v v*``, its vector is 1 at the element that it keeps. Signs and factors
follow LAPACK's ``larfg``, so that results are JAX's.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.algorithms.matrices import (
    adjoint,
    element,
    exchanged,
    identity,
    magnitude,
    outer,
    steps,
)
from msckpt_jax.lowering.rewrites.ignoring import ignoring


def reflector(column: Array, j: Array | np.int32) -> tuple[Array, Array, Array]:
    """The vector, the factor, and the real element that remains at ``j``.

    Where all elements below ``j`` are zero and that at ``j`` is real, the factor is zero.
    """
    rows = steps(column.shape[-1])
    unit = jnp.max(jnp.where(rows >= j, magnitude(column), 0), -1)
    unit = jnp.where((unit == 0) | ~jnp.isfinite(unit), 1, unit)  # squares stay in range
    head = element(column, j) / unit
    tail = jnp.where(rows > j, column, 0) / unit[..., None]
    rest = jnp.sum((tail * jnp.conj(tail)).real, -1)
    size = jnp.sqrt((head * jnp.conj(head)).real + rest)
    none = (rest == 0) & (head.imag == 0)
    kept = jnp.where(none, head.real, jnp.where(head.real >= 0, -size, size))
    safe = jnp.where(none, 1, head - kept)
    vector = jnp.where(rows == j, 1, tail / safe[..., None])
    factor = jnp.where(none, 0, (kept - head) / jnp.where(none, 1, kept))
    return vector, factor.astype(column.dtype), (kept * unit).astype(column.dtype)


def _reflected(x: Array, vector: Array, factor: Array) -> Array:
    """``x`` reflected from the left."""
    row = (jnp.conj(vector)[..., None, :] @ x)[..., 0, :]
    return x - factor[..., None, None] * outer(vector, row)


def _triangle(x: Array) -> tuple[Array, Array, Array]:
    """The triangle R, and the vectors and factors of the reflections in their order."""

    def step(r: Array, j: Array) -> tuple[Array, tuple[Array, Array]]:
        vector, factor, _ = reflector(element(r, j), j)
        return _reflected(r, vector, jnp.conj(factor)), (vector, factor)

    r, reflections = lax.scan(step, x, steps(min(x.shape[-2:])))
    return jnp.triu(r), *reflections


def _pivoted(x: Array) -> tuple[tuple[Array, Array, Array], Array]:
    """``_triangle`` with the longest column first, and the order of the columns."""
    rows, columns = map(steps, x.shape[-2:])
    unit = jnp.max(magnitude(x), (-2, -1), keepdims=True)
    unit = jnp.where(unit == 0, 1, unit)  # squares stay in range

    def step(state: tuple[Array, Array], j: Array) -> tuple[Any, tuple[Array, Array]]:
        r, order = state
        rest = jnp.where(rows[:, None] >= j, r / unit, 0)
        length = jnp.sum((rest * jnp.conj(rest)).real, -2)
        pivot = jnp.argmax(jnp.where(columns >= j, length, -1), -1).astype(np.int32)
        r = jnp.swapaxes(exchanged(jnp.swapaxes(r, -1, -2), j, pivot), -1, -2)
        vector, factor, _ = reflector(element(r, j), j)
        r = _reflected(r, vector, jnp.conj(factor))
        return (r, exchanged(order, j, pivot)), (vector, factor)

    start = jnp.broadcast_to(columns, (*x.shape[:-2], x.shape[-1]))
    (r, order), reflections = lax.scan(step, (x, start), steps(min(x.shape[-2:])))
    return (jnp.triu(r), *reflections), order


def product(like: Array, vectors: Array, factors: Array, columns: int) -> Array:
    """The first columns of the product of reflections, of which the last is applied first."""
    start = jnp.broadcast_to(
        jnp.eye(like.shape[-2], columns, dtype=like.dtype), (*like.shape[:-1], columns)
    )

    def step(q: Array, reflection: tuple[Array, Array]) -> tuple[Array, tuple[()]]:
        return _reflected(q, *reflection), ()

    return lax.scan(step, start, (vectors, factors), reverse=True)[0]


def _packed(r: Array, vectors: Array) -> Array:
    """The triangle, with the vectors below its diagonal, as LAPACK stores them."""
    columns = jnp.moveaxis(vectors, 0, -1)
    empty = jnp.zeros((*r.shape[:-1], r.shape[-1] - columns.shape[-1]), r.dtype)
    return r + jnp.tril(jnp.concatenate([columns, empty], -1), -1)


def qr(x: Array, *, pivoting: bool, full_matrices: bool) -> tuple[Array, ...]:
    columns = x.shape[-2] if full_matrices else min(x.shape[-2:])
    order = jnp.zeros((*x.shape[:-2], x.shape[-1]), np.int32)
    if not min(x.shape[-2:]):
        factors = identity(x, x.shape[-2])[..., :columns], x[..., :columns, :]
    else:
        (r, vectors, sizes), order = _pivoted(x) if pivoting else (_triangle(x), order)
        factors = product(x, vectors, sizes, columns), r[..., :columns, :]
    return (*factors, order) if pivoting else factors


def geqrf(x: Array) -> tuple[Array, Array]:
    """The packed matrix, and the factors of its reflections."""
    if not min(x.shape[-2:]):
        return x, jnp.zeros((*x.shape[:-2], 0), x.dtype)
    r, vectors, factors = _triangle(x)
    return _packed(r, vectors), jnp.moveaxis(factors, 0, -1)


def householder_product(a: Array, taus: Array) -> Array:
    """Multiply out the reflections that ``geqrf`` has left below the diagonal."""
    count = taus.shape[-1]
    lower = jnp.tril(a[..., :count], -1) + jnp.eye(a.shape[-2], count, dtype=a.dtype)
    return product(a, jnp.moveaxis(lower, -1, 0), jnp.moveaxis(taus, -1, 0), a.shape[-1])


def reduced(a: Array) -> tuple[Array, Array, Array]:
    """The matrix with zeros below its subdiagonal, and the vectors and factors of reflections."""

    def step(h: Array, j: Array) -> tuple[Array, tuple[Array, Array]]:
        vector, factor, _ = reflector(element(h, j), j + 1)
        h = _reflected(h, vector, jnp.conj(factor))
        return adjoint(_reflected(adjoint(h), vector, jnp.conj(factor))), (vector, factor)

    h, reflections = lax.scan(step, a, steps(max(a.shape[-1] - 1, 0)))
    return jnp.triu(h, -1), *reflections


def hessenberg(a: Array) -> tuple[Array, Array]:
    """The packed matrix of ``gehrd``, and the factors of its reflections."""
    if a.shape[-1] < 2:
        return a, jnp.zeros((*a.shape[:-2], max(a.shape[-1] - 1, 0)), a.dtype)
    h, vectors, factors = reduced(a)
    below = jnp.tril(jnp.moveaxis(vectors, 0, -1), -2)
    return h + jnp.pad(below, [(0, 0)] * (a.ndim - 1) + [(0, 1)]), jnp.moveaxis(factors, 0, -1)


def tridiagonal(a: Array, *, lower: bool) -> list[Array]:
    """The packed matrix of ``sytrd``, the diagonals, and the factors of the reflections."""
    if not lower:
        turned = tridiagonal(jnp.flip(a, (-2, -1)), lower=True)
        return [jnp.flip(turned[0], (-2, -1)), *(jnp.flip(x, -1) for x in turned[1:])]
    rows = steps(a.shape[-1])
    whole = jnp.tril(a) + adjoint(jnp.tril(a, -1))
    packed, factors = hessenberg(whole)
    return [
        jnp.where(rows[:, None] < rows, a, packed),
        jnp.diagonal(packed, axis1=-2, axis2=-1).real,
        jnp.diagonal(packed, -1, axis1=-2, axis2=-1).real,
        factors,
    ]


REWRITES = {
    "geqrf": geqrf,
    "hessenberg": hessenberg,
    "householder_product": householder_product,
    "qr": ignoring(qr, "use_magma"),
    "tridiagonal": tridiagonal,
}

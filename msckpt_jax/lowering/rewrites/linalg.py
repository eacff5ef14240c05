"""Linear algebra that targets have no kernel for, in terms of primitives that they have."""

from __future__ import annotations

from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.rewrites.declined import Declined
from msckpt_jax.lowering.rewrites.ignoring import ignoring

_Pair: TypeAlias = tuple[Array, Array]


def symmetric_product(a: Array, c: Array, *, alpha: float, beta: float) -> Array:
    return alpha * (a @ jnp.swapaxes(a, -1, -2)) + beta * c


def cholesky_update(r: Array, w: Array) -> Array:
    """The upper factor of ``r.T @ r + w @ w.T``."""
    return lax.linalg.cholesky(r.T @ r + w[:, None] * w[None, :], symmetrize_input=False).T


def lu_pivots_to_permutation(pivots: Array, *, permutation_size: int) -> Array:
    """Exchange positions ``i`` and ``pivots[i]``, one ``i`` after the other."""
    *batch, count = pivots.shape
    shape = (*batch, permutation_size)
    place = lax.broadcasted_iota(np.int32, shape, len(batch))

    def swap(order: Array, step: tuple[Array, Array]) -> tuple[Array, tuple[()]]:
        i, j = step[0], step[1][..., None]
        here, there = place == i, place == j
        at_i, at_j = (_only(order, at) for at in (here, there))
        return jnp.where(here, at_j, jnp.where(there, at_i, order)), ()

    steps = (jnp.arange(count, dtype=np.int32), jnp.moveaxis(pivots, -1, 0))
    return lax.scan(swap, place, steps)[0]


def _only(numbers: Array, where: Array) -> Array:
    return jnp.sum(jnp.where(where, numbers, 0), -1, np.int32, keepdims=True)


def eigh(
    x: Array, *, lower: bool, sort_eigenvalues: bool, subset_by_index: tuple[int, int] | None
) -> tuple[Array, Array]:
    """Read the upper triangle as the lower triangle of the adjoint."""
    if lower:
        raise Declined
    x = jnp.conj(jnp.swapaxes(x, -1, -2))
    how = {"sort_eigenvalues": sort_eigenvalues, "subset_by_index": subset_by_index}
    return lax.linalg.eigh(x, lower=True, symmetrize_input=False, **how)


def eig(
    x: Array, *, compute_left_eigenvectors: bool, compute_right_eigenvectors: bool
) -> list[Array]:
    """Decompose 1 x 1, or give the values of 2 x 2 in the order of LAPACK's ``lanv2``."""
    size, vectors = x.shape[-1], compute_left_eigenvectors + compute_right_eigenvectors
    kind = np.result_type(x.dtype, np.complex64)
    if size == 1:
        return [x[..., 0].astype(kind), *[jnp.ones_like(x, kind)] * vectors]
    if size != 2 or vectors:
        raise Declined
    a, b, c, d = (x[..., i, j] for i in range(2) for j in range(2))
    half = (a - d) / 2
    square = half * half + b * c
    if np.iscomplexobj(x):
        root = jnp.sqrt(square)
        far = d + half + jnp.where((half * jnp.conj(root)).real < 0, -root, root)
        near = a + d - far
    else:
        root = jnp.sqrt(jnp.abs(square))
        moved = half + jnp.where(half < 0, -root, root)
        real = square >= 0
        middle = (a + d) / 2
        first = jnp.where(real, d + moved, middle)
        second = jnp.where(real, d - b * c / jnp.where(moved == 0, 1, moved), middle)
        high = jnp.where(real, 0, root)
        far, near = lax.complex(first, high), lax.complex(second, -high)
    apart = [(c == 0, a, d), (b == 0, d, a)] if not np.iscomplexobj(x) else [(c == 0, a, d)]
    for where, far_value, near_value in reversed(apart):
        far, near = jnp.where(where, far_value, far), jnp.where(where, near_value, near)
    return [jnp.stack([far, near], -1).astype(kind)]


def lu(x: Array) -> tuple[Array, Array, Array]:
    """Factorise a rectangle; MindSpore's operator takes squares, and divides by zero pivots."""
    rows, columns = x.shape[-2:]
    if rows == columns or not (isinstance(rows, int) and isinstance(columns, int)):
        raise Declined
    from msckpt_jax.lowering.algorithms import matrices  # these need the rewrites first

    return matrices.lu(x)


def ormqr(a: Array, taus: Array, c: Array, *, left: bool, transpose: bool) -> Array:
    """Apply Householder's reflectors in their order, on the left or on the right of ``c``."""
    count = taus.shape[-1]
    columns = jnp.tril(a[..., :count], -1) + jnp.eye(a.shape[-2], count, dtype=a.dtype)
    taus = jnp.conj(taus) if transpose else taus

    def reflect(c: Array, step: tuple[Array, Array]) -> tuple[Array, tuple[()]]:
        v, tau = step
        v, tau = v[..., None], tau[..., None, None]
        row = jnp.conj(jnp.swapaxes(v, -1, -2))
        return c - tau * (v @ (row @ c) if left else (c @ v) @ row), ()

    steps = (jnp.moveaxis(columns, -1, 0), jnp.moveaxis(taus, -1, 0))
    return lax.scan(reflect, c, steps, reverse=left != transpose)[0]


def tridiagonal_solve(dl: Array, d: Array, du: Array, b: Array, *, perturb_singular: bool) -> Array:
    """Thomas's algorithm, without pivoting."""
    if perturb_singular:
        raise Declined
    rows = [jnp.moveaxis(x, -1, 0)[..., None] for x in (dl, d, du)]

    def down(above: _Pair, row: tuple[Array, ...]) -> tuple[_Pair, _Pair]:
        upper, right = above
        dl, d, du, b = row
        pivot = d - dl * upper
        return (now := (du / pivot, (b - dl * right) / pivot)), now

    def up(below: Array, row: _Pair) -> tuple[Array, Array]:
        upper, right = row
        return (x := right - upper * below), x

    b = jnp.moveaxis(b, -2, 0)
    rows[0] = rows[0].at[0].set(0)
    nothing = (jnp.zeros_like(rows[0][0]), jnp.zeros_like(b[0]))
    _, eliminated = lax.scan(down, nothing, (*rows, b))
    _, x = lax.scan(up, jnp.zeros_like(b[0]), eliminated, reverse=True)
    return jnp.moveaxis(x, 0, -2)


REWRITES = {
    "cholesky_update": cholesky_update,
    "eig": ignoring(eig, "enable_eigvec_derivs", "implementation"),
    "eigh": ignoring(eigh, "algorithm"),
    "lu": lu,
    "lu_pivots_to_permutation": lu_pivots_to_permutation,
    "ormqr": ormqr,
    "symmetric_product": symmetric_product,
    "tridiagonal_solve": tridiagonal_solve,
}

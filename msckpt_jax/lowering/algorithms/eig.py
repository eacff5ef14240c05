"""Eigenvalues and eigenvectors of any square matrix, from its form of Schur's."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.algorithms import schur as forms
from msckpt_jax.lowering.algorithms.blocks import diagonal, split
from msckpt_jax.lowering.algorithms.matrices import adjoint, element, magnitude, steps, tamed
from msckpt_jax.lowering.rewrites.declined import Declined
from msckpt_jax.lowering.rewrites.ignoring import ignoring

#: Times that each row and column may be balanced.
_ROUNDS = 10


def schur(x: Array, *, compute_schur_vectors: bool, sort_eig_vals: bool) -> list[Array]:
    """The form, real where the matrix is, and the vectors."""
    if sort_eig_vals:
        raise Declined
    x, unit = tamed(x)
    form, vectors = forms.schur(x, vectors=compute_schur_vectors)
    return [form * unit] if vectors is None else [form * unit, vectors]


def eig(
    x: Array, *, compute_left_eigenvectors: bool, compute_right_eigenvectors: bool
) -> list[Array]:
    """The eigenvalues, then the left and the right eigenvectors, of length 1."""
    left, right = compute_left_eigenvectors, compute_right_eigenvectors
    if x.shape[-1] < (2 if left or right else 3):  # the rewrite that all formats have is exact
        raise Declined
    x, unit = tamed(x)
    x, scales = forms.each(_balanced, x)
    basis: Any
    form, basis = forms.schur(x, vectors=left or right)
    known, values = jnp.all(jnp.isfinite(form), (-2, -1)), diagonal(form)
    if not np.iscomplexobj(x):
        kind = np.result_type(x.dtype, np.complex64)
        basis = None if basis is None else basis.astype(kind)
        form, basis, values = split(form.astype(kind), basis)
    sides: list[Any] = []
    if left:
        lefts = jnp.flip(_vectors(jnp.flip(adjoint(form), (-2, -1))), (-2, -1))
        sides.append(basis @ lefts / scales[..., None])
    if right:
        sides.append(basis @ _vectors(form) * scales[..., None])
    real = (values.imag == 0)[..., None, :] & (not np.iscomplexobj(x))
    nothing = forms.nothing(values.dtype)
    values = jnp.where(known[..., None], values * unit[..., 0], nothing)
    known = known[..., None, None]
    return [values, *(jnp.where(known, _turned(side, real), nothing) for side in sides)]


def _balanced(x: Array) -> tuple[Array, Array]:
    """A matrix whose rows and columns have similar lengths, and the factors that undo that.

    It is ``x * factors / factors[:, None]``.
    """
    places = steps(x.shape[-1])

    def at(i: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        x, factors = state
        sizes = magnitude(x)
        column = jnp.sqrt(jnp.sum(element(sizes, i) ** 2))
        row = jnp.sqrt(jnp.sum(lax.dynamic_index_in_dim(sizes, i, 0, keepdims=False) ** 2))
        none = (row == 0) | (column == 0)
        factor = jnp.where(none, 1, row) / jnp.where(none, 1, column)
        factor = jnp.exp2(jnp.round(jnp.log2(factor) / 2))
        better = column * factor + row / factor < 0.95 * (column + row)
        factor = jnp.where(places == i, jnp.where(better, factor, 1), 1)
        return x * factor / factor[:, None], factors * factor

    def going(state: Any) -> Array:
        return state[2] & (state[3] < _ROUNDS)

    def once(state: Any) -> Any:
        before = state[1]
        x, factors = lax.fori_loop(np.int32(0), np.int32(len(places)), at, state[:2])
        return x, factors, jnp.any(factors != before), state[3] + np.int32(1)

    start = x, jnp.ones(len(places), x.real.dtype), np.bool_(True), np.int32(0)
    return lax.while_loop(going, once, start)[:2]


def _vectors(t: Array) -> Array:
    """The right eigenvectors of triangular matrices, a row of all of them at a time."""
    values, kind = diagonal(t), jnp.finfo(t.dtype)
    columns = steps(t.shape[-1])
    least = jnp.maximum(1, jnp.max(magnitude(t), (-2, -1)))[..., None] * (kind.tiny / kind.eps)
    least = jnp.maximum(magnitude(values) * kind.eps, least)

    def step(v: Array, j: Array) -> tuple[Array, tuple[()]]:
        row = lax.dynamic_index_in_dim(t, j, t.ndim - 2, keepdims=False)
        right = (jnp.where(columns > j, row, 0)[..., None, :] @ v)[..., 0, :]
        gap = element(values, j)[..., None] - values
        gap = jnp.where(magnitude(gap) < least, least, gap)
        row = jnp.where(columns > j, -right / gap, jnp.where(columns == j, 1, 0))
        v = lax.dynamic_update_index_in_dim(v, row, j, t.ndim - 2)
        return v / jnp.maximum(1, magnitude(row))[..., None, :], ()

    return lax.scan(step, jnp.zeros_like(t), columns, reverse=True)[0]


def _turned(v: Array, real: Array) -> Array:
    """Vectors of length 1, whose largest number is real; those of real values are real."""
    v = v / jnp.max(magnitude(v), -2, keepdims=True)
    size = jnp.abs(v)
    rows = steps(v.shape[-2])[:, None]
    largest = rows == jnp.argmax(size, -2, keepdims=True)
    top = jnp.sum(jnp.where(largest, v, 0), -2, keepdims=True)
    v = v * (jnp.conj(top) / jnp.abs(top))
    imaginary = jnp.where(real | largest, 0, v.imag)
    length = jnp.sqrt(jnp.sum(v.real**2 + imaginary**2, -2, keepdims=True))
    return lax.complex(v.real / length, imaginary / length)


REWRITES = {
    "eig": ignoring(eig, "enable_eigvec_derivs", "implementation"),
    "schur": ignoring(schur, "select_callable"),
}

"""Eigenvalues and singular values by Jacobi's rotations, many at a time.

In a round every row is paired with another row, and a product of matrices rotates all pairs; a
sweep of rounds has every pair once. The signs of vectors are not LAPACK's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.algorithms import reflections
from msckpt_jax.lowering.algorithms.matrices import adjoint, identity, tamed
from msckpt_jax.lowering.rewrites.declined import Declined
from msckpt_jax.lowering.rewrites.ignoring import ignoring

_SWEEPS = 30
#: A matrix that is being rotated, and the product of the rotations.
_State: TypeAlias = tuple[Array, Array]


def _partners(size: int) -> np.ndarray:
    """The partner of each row, round by round, as in a tournament; a row that rests is its own."""
    even = size + size % 2
    circle, rounds = list(range(even)), []
    for _ in range(max(even - 1, 0)):
        partners = np.arange(size, dtype=np.int32)
        for left, right in zip(circle[: even // 2], circle[::-1], strict=False):
            if max(left, right) < size:
                partners[left], partners[right] = right, left
        rounds.append(partners)
        circle = [circle[0], circle[-1], *circle[1:-1]]
    return np.array(rounds, np.int32).reshape(-1, size)


def _rotation(a: Array, partner: Array) -> Array:
    """The rotations that make the elements of ``a`` between partners zero, as one matrix."""
    size, real = a.shape[-1], a.real.dtype
    rows = np.arange(size, dtype=np.int32)
    pairs = (partner[:, None] == rows).astype(real)
    own = jnp.diagonal(a, axis1=-2, axis2=-1).real
    opposite = (pairs @ own[..., None])[..., 0]
    between = jnp.where(partner == rows, 0, jnp.sum(a * pairs, -1))
    # Partners need one number: rounding makes two of it, and a turn of these would not be unitary.
    between = (between + jnp.conj(jnp.sum(pairs * between[..., None, :], -1))) / 2
    phase: Any = 1
    if np.iscomplexobj(a):  # turned to be real, and back
        length, kind = jnp.abs(between), jnp.finfo(real)
        length = jnp.where(length < kind.tiny / kind.eps, 0, length)  # a phase needs its digits
        phase = (between / jnp.where(length == 0, 1, length))[..., None]
        between = length
    ratio = (opposite - own) / jnp.where(between == 0, 1, 2 * between)
    first = jnp.where(rows < partner, 1, -1).astype(real)
    sign = jnp.where(ratio == 0, first, jnp.sign(ratio))
    tangent = sign / (jnp.abs(ratio) + jnp.sqrt(1 + ratio * ratio))
    tangent = jnp.where(between == 0, 0, tangent)
    cosine = lax.rsqrt(1 + tangent * tangent)
    return jnp.where(rows[:, None] == rows, cosine[..., None], 0) + (
        (cosine * tangent)[..., None] * phase * pairs * (partner != rows)[:, None]
    )


def _swept(
    step: Callable[[_State, Array], _State], square: Callable[[_State], Array], state: _State
) -> _State:
    """Take ``step`` with all pairs until ``square`` of the state is diagonal to rounding."""
    size = square(state).shape[-1]
    partners: Any = _partners(size)
    tiny = jnp.finfo(state[0].dtype).eps

    def going(carry: tuple[_State, Array]) -> Array:
        state, count = carry
        a = square(state)
        diagonal = jnp.diagonal(a, axis1=-2, axis2=-1)
        scale = jnp.sqrt(jnp.abs(diagonal[..., :, None] * diagonal[..., None, :]))
        scale = jnp.maximum(scale, tiny * jnp.max(jnp.abs(diagonal), -1)[..., None, None])
        off = jnp.where(np.eye(size, dtype=bool), 0, jnp.abs(a))
        return jnp.any(off > tiny * scale) & (count < _SWEEPS)

    def sweep(carry: tuple[_State, Array]) -> tuple[_State, Array]:
        state, count = carry
        rounds = lax.scan(lambda s, partner: (step(s, partner), ()), state, partners)
        return rounds[0], count + np.int32(1)

    start: Any = state, np.int32(0)
    return lax.while_loop(going, sweep, start)[0]


def _ordered(order: Array, *arrays: Array) -> list[Array]:
    """The arrays, each with its last axis in the given order."""
    return [
        jnp.take_along_axis(x, order if x.ndim == order.ndim else order[..., None, :], -1)
        for x in arrays
    ]


def eigh(
    x: Array,
    *,
    lower: bool,
    sort_eigenvalues: bool,
    subset_by_index: tuple[int, int] | None,
) -> tuple[Array, Array]:
    """The eigenvectors, and the eigenvalues from the smallest on."""
    x, unit = tamed(x)
    half = jnp.tril(x) if lower else jnp.triu(x)
    a = half + adjoint(half) * (1 - np.eye(x.shape[-1], dtype=x.real.dtype))

    def step(state: _State, partner: Array) -> _State:
        a, vectors = state
        turn = _rotation(a, partner)
        return adjoint(turn) @ a @ turn, vectors @ turn

    _, vectors = _swept(step, lambda state: state[0], (a, identity(a, a.shape[-1])))
    # Hundreds of turns have rounded: a step of Newton's makes them unitary, quotients the values.
    vectors = vectors @ ((3 * np.eye(x.shape[-1], dtype=x.dtype) - adjoint(vectors) @ vectors) / 2)
    values = jnp.sum(jnp.conj(vectors) * (a @ vectors), -2).real
    if sort_eigenvalues or subset_by_index is not None:
        values, vectors = _ordered(jnp.argsort(values, -1), values, vectors)
    first, last = subset_by_index or (0, x.shape[-1])
    return vectors[..., first:last], values[..., first:last] * unit[..., 0]


def svd(x: Array, *, full_matrices: bool, compute_uv: bool, subset_by_index: Any) -> list[Array]:
    """Rotate the columns until they are orthogonal: their lengths are the singular values."""
    if subset_by_index is not None:
        raise Declined
    if not min(x.shape[-2:]):
        values = jnp.zeros((*x.shape[:-2], 0), x.real.dtype)
        sides = [identity(x, size) for size in x.shape[-2:]]
        if not full_matrices:
            sides = [sides[0][..., :0], sides[1][..., :0, :]]
        return [values, *sides] if compute_uv else [values]
    wide = x.shape[-2] < x.shape[-1]
    a, unit = tamed(adjoint(x) if wide else x)
    rows, columns = a.shape[-2:]

    def step(state: _State, partner: Array) -> _State:
        turn = _rotation(square(state), partner)
        return state[0] @ turn, state[1] @ turn

    def square(state: _State) -> Array:
        return adjoint(state[0]) @ state[0]

    a, right = _swept(step, square, (a, identity(a, columns)))
    values = jnp.sqrt(jnp.sum((a * jnp.conj(a)).real, -2))
    values, a, right = _ordered(jnp.argsort(-values, -1), values, a, right)
    if not compute_uv:
        return [values * unit[..., 0]]
    # A column that is nearly zero has no direction: ``qr`` completes the basis in its place.
    least = values[..., :1] * (jnp.finfo(x.dtype).eps * rows)
    known = values > least
    a = jnp.where(known[..., None, :], a / jnp.where(known, values, 1)[..., None, :], 0)
    left, r = reflections.qr(a, pivoting=False, full_matrices=full_matrices)
    signs = jnp.where(jnp.diagonal(r, axis1=-2, axis2=-1).real < 0, -1, 1).astype(x.dtype)
    signs = jnp.concatenate(
        [signs, jnp.ones((*signs.shape[:-1], left.shape[-1] - columns), x.dtype)], -1
    )
    left, values = left * signs[..., None, :], values * unit[..., 0]
    return [values, right, adjoint(left)] if wide else [values, left, adjoint(right)]


REWRITES = {
    "eigh": ignoring(eigh, "algorithm"),
    "svd": ignoring(svd, "algorithm"),
}

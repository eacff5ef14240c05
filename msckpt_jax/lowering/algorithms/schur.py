"""Schur's form and eigenvalues of any square matrix, by QR steps with two shifts.

The steps are Francis's: reflections of three rows chase a bulge down the matrix, of real and of
complex numbers alike. A batch is done a matrix at a time, each of which takes its own number of
steps. The order of the eigenvalues and the signs or phases of vectors are not LAPACK's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.algorithms import reflections
from msckpt_jax.lowering.algorithms.blocks import diagonal, split
from msckpt_jax.lowering.algorithms.matrices import adjoint, magnitude, outer, steps

#: QR steps that a row may take on average (LAPACK's limit), and those after which shifts change.
_STEPS, _STALLED = 30, 10


class _State(NamedTuple):
    """A matrix on the way to Schur's form, beside a column of zeros, above a row of zeros.

    Below that come the vectors, if they are wanted. Rows ``first`` to ``last`` are the last block
    of more than two rows; ``last`` is 0 if there is none. ``tries`` counts the steps since ``last``
    has changed.
    """

    a: Array
    first: Array
    last: Array
    tries: Any = np.int32(0)
    count: Any = np.int32(0)


def each(function: Callable[[Array], Any], x: Array) -> Any:
    """The results of ``function`` for each matrix by itself."""
    batch = x.shape[:-2]
    if not batch:
        return function(x)
    results = lax.map(function, jnp.reshape(x, (-1, *x.shape[-2:])))
    return tuple(jnp.reshape(result, (*batch, *result.shape[1:])) for result in results)


def schur(x: Array, *, vectors: bool) -> tuple[Any, Any]:
    """The form, real where the matrix is, and its vectors, or None if these are not wanted.

    NaN where there is no form, because numbers are not finite or the steps were not enough.
    """
    size = x.shape[-1]
    if size == 1:
        return x, jnp.ones_like(x) if vectors else None
    finite = jnp.all(jnp.isfinite(x), (-2, -1), keepdims=True)
    h, columns, factors = reflections.reduced(jnp.where(finite, x, 0))
    a = jnp.pad(h, [(0, 0)] * (x.ndim - 2) + [(0, 1), (0, 1)])
    if vectors:
        z = reflections.product(x, columns, factors, size)
        z = jnp.pad(z, [(0, 0)] * (x.ndim - 1) + [(0, 1)])
        a = jnp.concatenate([a, z], -2)
    a, last = each(_iterated, a)
    form, z = a[..., :size, :size], a[..., size + 1 :, :size] if vectors else None
    for _ in range(1 if np.iscomplexobj(x) else 2):  # equal diagonals show which values are real
        form, z, _ = split(form, z)
    known = finite & (last == 0)[..., None, None]
    form, z = (
        part if part is None else jnp.where(known, part, nothing(x.dtype)) for part in (form, z)
    )
    return form, z


def nothing(dtype: np.dtype) -> Any:
    """NaN, in both parts of a complex number."""
    return dtype.type(complex(np.nan, np.nan) if dtype.kind == "c" else np.nan)


def _iterated(a: Array) -> tuple[Array, Array]:
    """Blocks of one or two rows; what comes second is 0 if there are no others."""
    columns = a.shape[-1]
    limit = np.int32(_STEPS * max(columns - 1, 10))

    def step(state: _State) -> _State:
        a, first, last = _deflated(_stepped(state))
        tries = jnp.where(last == state.last, state.tries + 1, 0)
        return _State(a, first, last, tries, state.count + 1)

    start = _State(*_deflated(a))
    state = lax.while_loop(lambda s: (s.last > 0) & (s.count < limit), step, start)
    return state.a, state.last


def _deflated(a: Array) -> tuple[Array, Array, Array]:
    """The matrix without what is below its blocks, and the first and last row of a long block."""
    size = a.shape[-1] - 1
    rows, columns = steps(a.shape[-2])[:, None], steps(size + 1)
    h = a[:size, :size]
    own, below = magnitude(diagonal(h)), magnitude(diagonal(h, -1))
    near = own[1:] + own[:-1]
    near = jnp.where(near == 0, jnp.max(magnitude(h)), near)
    linked = below > jnp.finfo(a.dtype).eps * near
    kept = jnp.concatenate([linked, np.zeros(2, np.bool_)])
    gone = (rows <= size) & ((rows > columns + 1) | ((rows == columns + 1) & ~kept))
    a = jnp.where(gone, 0, a)
    zero = jnp.zeros((), np.int32)
    if size < 3:
        return a, zero, zero
    places = steps(size - 1)
    last = jnp.max(jnp.where(linked[1:] & linked[:-1], places[:-1] + 2, 0))
    first = jnp.max(jnp.where(~linked & (places < last), places + 1, 0))
    return a, first, last


def _stepped(state: _State) -> Array:
    """A QR step of the block from its first row to its last."""
    a, first, last = state.a, state.first, state.last

    def chase(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        a, column = carry
        vector, factor, _ = reflections.reflector(column, np.int32(0))
        turn = np.eye(3, dtype=a.dtype) - factor * outer(vector, jnp.conj(vector))
        strip = lax.dynamic_slice(a, (k, np.int32(0)), (3, a.shape[-1]))
        a = lax.dynamic_update_slice(a, adjoint(turn) @ strip, (k, np.int32(0)))
        strip = lax.dynamic_slice(a, (np.int32(0), k), (a.shape[-2], 3))
        a = lax.dynamic_update_slice(a, strip @ turn, (np.int32(0), k))
        column = lax.dynamic_slice(a, (k + 1, k), (3, 1))[:, 0]
        return a, jnp.where(steps(3) < last - k, column, 0)

    return lax.fori_loop(first, last, chase, (a, _bulge(state)))[0]


def _bulge(state: _State) -> Array:
    """The start of the first column of the matrix that has both shifts as its roots.

    Shifts are the eigenvalues of the last two rows, or where these have not helped, others.
    """
    a, first, last = state.a, state.first, state.last
    head = lax.dynamic_slice(a, (first, first), (3, 3))
    tail = lax.dynamic_slice(a, (last - 2, last - 2), (3, 3))
    stalled = state.tries % _STALLED == _STALLED - 1
    size = magnitude(tail[1, 0]) + magnitude(tail[2, 1])
    moved = tail[2, 2] + 0.75 * size
    x, y = jnp.where(stalled, moved, tail[2, 2]), jnp.where(stalled, moved, tail[1, 1])
    w = jnp.where(stalled, -0.4375 * size * size, tail[2, 1] * tail[1, 2])
    x, y = x - head[0, 0], y - head[0, 0]
    return jnp.stack([
        x * y - w + head[0, 1] * head[1, 0],
        head[1, 0] * (head[1, 1] - head[0, 0] - x - y),
        head[1, 0] * head[2, 1],
    ])  # fmt: skip

"""The blocks of two rows in a form of Schur's: all of them at once, since they do not overlap."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from msckpt_jax.lowering.algorithms.matrices import adjoint, magnitude, steps


def diagonal(x: Array, offset: int = 0) -> Array:
    return jnp.diagonal(x, offset, axis1=-2, axis2=-1)


def split(t: Array, z: Array | None) -> tuple[Array, Any, Array]:
    """The form with triangular blocks, its vectors, and its diagonal.

    Blocks of a real matrix that have complex eigenvalues get two equal numbers on the diagonal.
    """
    rows, columns = steps(t.shape[-1])[:, None], steps(t.shape[-1])
    a, d = diagonal(t)[..., :-1], diagonal(t)[..., 1:]
    b, c = diagonal(t, 1), diagonal(t, -1)
    half, square = (a - d) / 2, ((a - d) / 2) ** 2 + b * c
    pair = jnp.zeros_like(c, np.bool_) if np.iscomplexobj(t) else square < 0
    root = jnp.sqrt(square if np.iscomplexobj(t) else abs(square))
    far = half + jnp.where((half * jnp.conj(root)).real < 0, -root, root)
    near = jnp.where(half == 0, -far, -b * c / jnp.where(far == 0, 1, far))
    first, second = (jnp.where(pair, (a + d) / 2, x) for x in (d + far, d + near))
    block, levelled, cut = c != 0, _levelled(half, b + c), _direction(far, c)
    cosine, sine = (jnp.where(pair, x, y) for x, y in zip(levelled, cut, strict=True))
    leads, follows, sine = _after(block), _before(block), _after(jnp.where(block, sine, 0))
    cosines = jnp.where(leads, _after(cosine), jnp.where(follows, _before(jnp.conj(cosine)), 1))
    values = jnp.where(leads, _after(first), jnp.where(follows, _before(second), diagonal(t)))
    turn = jnp.where(rows == columns, cosines[..., None, :], 0)
    turn = jnp.where(rows == columns + 1, sine[..., None, :], turn)
    turn = jnp.where(rows + 1 == columns, -jnp.conj(sine)[..., :, None], turn)
    t = adjoint(turn) @ t @ turn
    t = jnp.where(rows == columns, values[..., None, :], t)
    t = jnp.where((rows == columns + 1) & ~_after(pair)[..., None, :], 0, t)
    return t, None if z is None else z @ turn, values


def _direction(x: Array, y: Array) -> tuple[Array, Array]:
    """The vector of two numbers, of length 1; the first unit vector if both are zero."""
    unit = jnp.maximum(magnitude(x), magnitude(y))
    x = jnp.where(unit == 0, 1, x / jnp.where(unit == 0, 1, unit))
    y = y / jnp.where(unit == 0, 1, unit)
    length = jnp.sqrt((x * jnp.conj(x) + y * jnp.conj(y)).real)
    return x / length, y / length


def _levelled(half: Array, total: Array) -> tuple[Array, Array]:
    """The rotation that makes both numbers on the diagonal of a real block equal."""
    if np.iscomplexobj(half):
        return half, half
    cosine, sine = _direction(abs(total), jnp.where(total < 0, half, -half) * 2)
    first = jnp.sqrt((1 + cosine) / 2)
    return first, sine / (2 * first)


def _after(x: Array) -> Array:
    """Numbers of blocks at their first rows."""
    return jnp.concatenate([x, jnp.zeros_like(x[..., :1])], -1)


def _before(x: Array) -> Array:
    """Numbers of blocks at their second rows."""
    return jnp.concatenate([jnp.zeros_like(x[..., :1]), x], -1)

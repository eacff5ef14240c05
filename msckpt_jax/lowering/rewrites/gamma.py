"""Random numbers of the gamma distribution and of those made of it (beta, t, Dirichlet's).

G. Marsaglia, W. Tsang, "A simple method for generating gamma variables" (2000). Keys are split in
the order of ``jax.random.gamma``: the numbers are JAX's.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.rewrites import random


def random_gamma(keys: Array, alpha: Array, *, log_space: bool) -> Array:
    """A number for each element of ``alpha``, whose first axes are those of the keys."""
    count = math.prod(alpha.shape[keys.ndim :])
    each = jax.vmap(lambda key: jax.random.split(key, count))(keys.reshape(-1)).reshape(-1)
    draw = partial(_drawn, log_space=log_space)
    if random.implementation(keys) == "threefry2x32":
        numbers = jax.vmap(draw)(each, alpha.reshape(-1))
    else:  # other schemes give other numbers for many keys at a time
        numbers = lax.map(lambda pair: draw(*pair), (each, alpha.reshape(-1)))
    return numbers.reshape(alpha.shape)


def _drawn(key: Array, alpha: Array, *, log_space: bool) -> Array:
    """A number for ``alpha``; below 1 that for ``alpha + 1``, times uniform ** (1 / alpha)."""
    dtype = alpha.dtype
    plain = alpha >= 1
    d = jnp.where(plain, alpha, alpha + 1) - np.array(1 / 3, dtype)
    c = np.array(1 / 3, dtype) / jnp.sqrt(d)
    key, last = jax.random.split(key)
    zero, unit, two = (np.array(n, dtype) for n in range(3))
    start = (key, zero, unit, two)
    _, _, v, _ = lax.while_loop(partial(_rejected, d), partial(_proposed, c), start)
    if log_space:
        scale = -jax.random.exponential(last, (), dtype)
        boost = jnp.where(plain | (scale == 0), zero, scale * (1 / alpha))
        return jnp.log(d) + jnp.log(v) + boost
    uniform = 1 - jax.random.uniform(last, (), dtype)
    return d * v * jnp.where(plain, unit, uniform ** (1 / alpha))


def _rejected(d: Array, state: Any) -> Array:
    _, square, v, u = state
    near = u >= 1 - np.array(0.0331, u.dtype) * (square * square)
    return near & (jnp.log(u) >= square * np.array(0.5, u.dtype) + d * ((1 - v) + jnp.log(v)))


def _proposed(c: Any, state: Any) -> Any:
    key, for_x, for_u = jax.random.split(state[0], 3)
    zero = np.array(0, c.dtype)

    def again(state: Any) -> Any:
        key, used = jax.random.split(state[0])
        x = jax.random.normal(used, (), c.dtype)
        return key, x, 1 + x * c

    _, x, v = lax.while_loop(lambda state: state[2] <= 0, again, (for_x, zero, zero - 1))
    return key, x * x, v * v * v, jax.random.uniform(for_u, (), c.dtype)


REWRITES = {"random_gamma": random_gamma}

"""The rest of a division in float64 by subtraction, which is exact.

MindSpore computes x - trunc(x / y) * y, whose product is rounded: the rest of 0.5 by 0.1 was 0.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.rewrites.declined import Declined


def rem(x: Array, y: Array) -> Array:
    """Subtract the divisor times powers of two, from the highest down."""
    if x.dtype != np.float64 or (isinstance(y, np.ndarray) and _powers_of_two(y)):
        raise Declined
    x, y = jnp.broadcast_arrays(x, y)
    size, divisor = jnp.abs(x), jnp.abs(y)
    wrong, inside = ~((size < np.inf) & (divisor > 0)), size < divisor
    rest, divisor = (jnp.where(wrong | inside, end, z) for end, z in ((0.0, size), (1.0, divisor)))
    scaled = lax.while_loop(
        lambda scaled: jnp.any(scaled <= rest / 2),
        lambda scaled: jnp.where(scaled <= rest / 2, scaled * 2, scaled),
        divisor,
    )
    rest, _ = lax.while_loop(
        lambda carry: jnp.any(carry[1] >= divisor),
        lambda carry: _subtracted(*carry, divisor),
        (rest, scaled),
    )
    signed = jnp.where(rest == 0, x * 0.0, jnp.where(x < 0, -rest, rest))
    return jnp.where(wrong, np.nan, jnp.where(inside, x, signed))


def _subtracted(rest: Array, scaled: Array, divisor: Array) -> tuple[Array, Array]:
    inside = (scaled >= divisor) & (rest >= scaled)
    return jnp.where(inside, rest - scaled, rest), scaled / 2


def _powers_of_two(y: np.ndarray) -> bool:
    return bool(np.all(np.abs(np.frexp(y)[0]) == 0.5))


REWRITES = {"rem": rem}

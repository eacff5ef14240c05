"""``rng_bit_generator``: Philox 4x32 with 10 rounds, as XLA computes it on CPU.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3". Measured with XLA of jaxlib 0.10.2:
the key is the first half of the state, and once more the upper half of the counter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from msckpt_jax.lowering.rewrites.declined import Declined
from msckpt_jax.lowering.rewrites.ignoring import ignoring

_HALF = np.uint32(0xFFFF)
_SIXTEEN = np.uint32(16)


def rng_bit_generator(
    state: Array, *, shape: Sequence[int], dtype: DTypeLike, algorithm: Any
) -> list[Array]:
    """The next state, and random bits: a word for each element, two words for 64 bits."""
    supported = (lax.RandomAlgorithm.RNG_DEFAULT, lax.RandomAlgorithm.RNG_PHILOX)
    if algorithm not in supported or state.shape != (4,) or state.dtype != np.uint32:
        raise Declined
    key = [lax.index_in_dim(state, i, keepdims=False) for i in range(4)]
    size, wide = math.prod(shape), np.dtype(dtype).itemsize == 8
    blocks = -(-size * (2 if wide else 1) // 4)
    counter = _plus([*key[2:], *key[:2]], lax.iota(np.uint32, blocks))
    words = jnp.stack(_philox(counter, key[0], key[1]), 1).reshape(-1)
    if wide:
        low, high = (words[half : 2 * size : 2].astype(dtype) for half in (0, 1))
        bits = low | (high << np.dtype(dtype).type(32))
    else:
        bits = words[:size].astype(dtype)
    after = _plus(key[2:], np.uint32(blocks))
    return [jnp.stack([key[0], key[1], *after]), bits.reshape(shape)]


def _plus(words: list[Array], count: Array | np.uint32) -> list[Array]:
    """The sum of a number of several words, the lowest first, and a number of one word."""
    out = []
    for word in words:
        total = word + count
        out.append(total)
        count = (total < count).astype(np.uint32)
    return out


def _philox(counter: list[Array], k0: Array, k1: Array) -> list[Array]:
    c0, c1, c2, c3 = counter
    for _ in range(10):
        high0, low0 = _product(c0, 0xD2511F53)
        high2, low2 = _product(c2, 0xCD9E8D57)
        c0, c1, c2, c3 = high2 ^ c1 ^ k0, low2, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + np.uint32(0x9E3779B9), k1 + np.uint32(0xBB67AE85)
    return [c0, c1, c2, c3]


def _product(a: Array, b: int) -> tuple[Array, Array]:
    """The upper and the lower word of a product of words, by their halves."""
    b0, b1 = np.uint32(b & 0xFFFF), np.uint32(b >> 16)
    a0, a1 = a & _HALF, a >> _SIXTEEN
    left, right = a1 * b0, a0 * b1
    carry = ((a0 * b0) >> _SIXTEEN) + (left & _HALF) + (right & _HALF)
    high = a1 * b1 + (left >> _SIXTEEN) + (right >> _SIXTEEN) + (carry >> _SIXTEEN)
    return high, a * np.uint32(b)


REWRITES = {"rng_bit_generator": ignoring(rng_bit_generator, "out_sharding")}

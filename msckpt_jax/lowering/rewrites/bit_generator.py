"""``rng_bit_generator``: Philox 4x32 with 10 rounds, and Threefry 2x32, as XLA has them on CPU.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3". Measured with XLA of jaxlib 0.10.2:
the key is the first half of the state. The counter is the second half; Philox has the key once more
as its upper half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from msckpt_jax.lowering.rewrites.declined import Declined
from msckpt_jax.lowering.rewrites.ignoring import ignoring
from msckpt_jax.lowering.rewrites.random import threefry2x32

_HALF = np.uint32(0xFFFF)
_SIXTEEN = np.uint32(16)
#: Words of 32 bits, the lowest first: of a state, or of each random number.
_Words: TypeAlias = "list[Array]"


def rng_bit_generator(
    state: Array, *, shape: Sequence[int], dtype: DTypeLike, algorithm: Any
) -> list[Array]:
    """The next state, and random bits: the lowest of a word, or two words for 64 bits."""
    if algorithm not in _ALGORITHMS or state.shape not in ((4,), (2,)):
        raise Declined
    wide = np.dtype(dtype).itemsize == 8
    count, words = _ALGORITHMS[algorithm](_state_words(state), tuple(shape), wide)
    low, *high = (word.astype(dtype) for word in words)
    bits = low | (high[0] << np.dtype(dtype).type(32)) if high else low
    return [_next(state, count), bits.reshape(shape)]


def _state_words(state: Array) -> _Words:
    """The four words of a state of four numbers, or of two numbers of 64 bits."""
    if state.dtype == np.uint32:
        return [lax.index_in_dim(state, i, keepdims=False) for i in range(4)]
    halves = [lax.index_in_dim(state, i, keepdims=False) for i in range(2)]
    return [(half >> np.uint64(shift)).astype(np.uint32) for half in halves for shift in (0, 32)]


def _next(state: Array, count: int) -> Array:
    """The state whose counter, the second half, is larger."""
    if state.dtype == np.uint64:
        return state + np.array([0, count], np.uint64)
    words = _state_words(state)
    return jnp.stack([*words[:2], *_plus(words[2:], np.uint32(count))])


def _by_philox(state: _Words, shape: tuple[int, ...], wide: bool) -> tuple[int, _Words]:
    """Four words for each counter, one after the other."""
    size = math.prod(shape) * (2 if wide else 1)
    blocks = -(-size // 4)
    counter = _plus([*state[2:], *state[:2]], lax.iota(np.uint32, blocks))
    words = jnp.stack(_philox(counter, state[0], state[1]), 1).reshape(-1)[:size]
    return blocks, [words[::2], words[1::2]] if wide else [words]


def _by_threefry(state: _Words, shape: tuple[int, ...], wide: bool) -> tuple[int, _Words]:
    """Two words for each counter; without 64 bits they are neighbours along an axis."""
    sizes = shape or (1,)
    axis = _halved(sizes)
    before, after = sizes[:axis], sizes[axis + 1 :]
    halves = sizes if wide else (*before, -(-sizes[axis] // 2), *after)
    count = math.prod(halves)
    low, high = _plus(state[2:], lax.iota(np.uint32, count))
    pair = [word.reshape(halves) for word in threefry2x32(state[0], state[1], low, high)]
    if wide:
        return count, pair
    joined = jnp.stack(pair, axis + 1).reshape(*before, 2 * halves[axis], *after)
    return count, [lax.slice_in_dim(joined, 0, sizes[axis], axis=axis)]


def _halved(sizes: tuple[int, ...]) -> int:
    """The first axis of an even size, or the first of the longest."""
    even = (axis for axis, size in enumerate(sizes) if size % 2 == 0)
    return next(even, sizes.index(max(sizes)))


_ALGORITHMS: Mapping[Any, Callable[..., tuple[int, _Words]]] = {
    lax.RandomAlgorithm.RNG_DEFAULT: _by_philox,
    lax.RandomAlgorithm.RNG_PHILOX: _by_philox,
    lax.RandomAlgorithm.RNG_THREE_FRY: _by_threefry,
}


def _plus(words: _Words, count: Array | np.uint32) -> _Words:
    """The sum of a number of several words, the lowest first, and a number of one word."""
    out = []
    for word in words:
        total = word + count
        out.append(total)
        count = (total < count).astype(np.uint32)
    return out


def _philox(counter: _Words, k0: Array, k1: Array) -> _Words:
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

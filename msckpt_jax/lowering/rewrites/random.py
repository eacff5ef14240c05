"""PRNG keys are arrays of ``uint32`` in a canonical jaxpr: one axis more, at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend import random

from msckpt_jax._compat import Aval, Equation, ShapedArray


def is_key(aval: Aval) -> bool:
    dtype = getattr(aval, "dtype", None)
    return dtype is not None and jax.numpy.issubdtype(dtype, jax.dtypes.prng_key)


@lru_cache(maxsize=64)
def physical(aval: Aval) -> Aval:
    """The type of the data of a key array; other types as they are."""
    if not is_key(aval):
        return aval
    data = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(aval.shape, aval.dtype))
    return ShapedArray(data.shape, data.dtype)


def data(value: Any) -> Any:
    """The data of a key array; other values as they are."""
    return jax.random.key_data(value) if is_key(value) else value


def keys(value: Any, aval: Aval) -> Any:
    """The key array with this data, if the type is that of keys; other values as they are."""
    return jax.random.wrap_key_data(value, impl=implementation(aval)) if is_key(aval) else value


def implementation(keys: Any) -> str:
    return {"key<fry>": "threefry2x32", "key<rbg>": "rbg", "key<urbg>": "unsafe_rbg"}[
        str(keys.dtype)
    ]


def takes_keys(eqn: Equation) -> bool:
    return any(is_key(v.aval) for v in (*eqn.invars, *eqn.outvars))


def moves_keys(eqn: Equation) -> bool:
    """Tell whether keys come in and only keys go out."""
    return takes_keys(eqn) and all(is_key(v.aval) for v in eqn.outvars)


def moved(primitive: Any) -> Callable[..., Any]:
    """The rewrite of a primitive that only moves keys: it moves each word of their data."""

    def rewrite(*operands: Array, **params: Any) -> Any:
        (first, *_) = (x for x in operands if is_key(x))
        axes = [-1 if is_key(x) else None for x in operands]
        words = [jax.random.key_data(x) if is_key(x) else x for x in operands]
        out = jax.vmap(lambda *xs: primitive.bind(*xs, **params), axes, -1)(*words)
        return jax.tree.map(partial(jax.random.wrap_key_data, impl=implementation(first)), out)

    return rewrite


def _each(keys: Array, function: Callable[..., Any], *operands: Array) -> Array:
    """Apply a function of a key's data to all keys of an array."""
    for _ in range(keys.ndim):
        function = jax.vmap(function)
    return function(jax.random.key_data(keys), *operands)


def _scheme(name: str) -> Any:
    """JAX's own definition, in terms of ``threefry2x32`` or ``rng_bit_generator``."""
    schemes = (random.threefry_prng_impl, random.rbg_prng_impl, random.unsafe_rbg_prng_impl)
    return next(scheme for scheme in schemes if scheme.name == name)


def random_bits(keys: Array, *, bit_width: int, shape: Sequence[int]) -> Array:
    scheme = _scheme(implementation(keys))
    return _each(keys, lambda key: scheme.random_bits(key, bit_width, shape))


def random_split(keys: Array, *, shape: Sequence[int]) -> Array:
    name = implementation(keys)
    words = _each(keys, lambda key: _scheme(name).split(key, shape))
    return jax.random.wrap_key_data(words, impl=name)


def random_fold_in(keys: Array, data: Array) -> Array:
    name, shape = implementation(keys), jnp.broadcast_shapes(keys.shape, data.shape)
    keys, data = jnp.broadcast_to(keys, shape), jnp.broadcast_to(data, shape)
    words = _each(keys, _scheme(name).fold_in, data.astype(np.uint32))
    return jax.random.wrap_key_data(words, impl=name)


def random_seed(seeds: Array, *, impl: Any) -> Array:
    seed = impl.seed
    for _ in range(seeds.ndim):
        seed = jax.vmap(seed)
    return jax.random.wrap_key_data(seed(seeds), impl=impl.name)


def threefry2x32(k0: Array, k1: Array, x0: Array, x1: Array) -> list[Array]:
    """Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 20 rounds."""
    keys = (k0, k1, k0 ^ k1 ^ np.uint32(0x1BD11BDA))
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for i in range(5):
        for left in rotations[i % 2]:
            x0 = x0 + x1
            turned = (x1 << np.uint32(left)) | (x1 >> np.uint32(32 - left))
            x1 = turned ^ x0
        x0, x1 = x0 + keys[(i + 1) % 3], x1 + keys[(i + 2) % 3] + np.uint32(i + 1)
    return [x0, x1]


def iota_2x32_shape(*, shape: Sequence[int]) -> list[Array]:
    """Counters of 64 bits; the upper half is 0 below 2**32 elements."""
    low = lax.reshape(lax.iota(np.uint32, math.prod(shape)), shape)
    return [jnp.zeros(shape, np.uint32), low]


REWRITES: dict[str, Callable[..., Any]] = {
    "iota_2x32_shape": iota_2x32_shape,
    "random_bits": random_bits,
    "random_fold_in": random_fold_in,
    "random_seed": random_seed,
    "random_split": random_split,
    "threefry2x32": threefry2x32,
}

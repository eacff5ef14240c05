"""Random numbers from keys are the same bits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from msckpt_jax.lowering.canonical import canonicalise
from tests.lowering.equal import check

KEY = np.array([1, 2], np.uint32)
random = jax.random


def key(data):
    return random.wrap_key_data(data)


CASES = {
    **{
        f"bits_{bits}": lambda k, bits=bits: random.bits(key(k), (3, 5), f"uint{bits}")
        for bits in (8, 16, 32)
    },
    "bits_of_keys": lambda k: jax.vmap(lambda k: random.bits(k, (3,)))(random.split(key(k), 4)),
    "seed": lambda k: random.key_data(random.key(k[0])),
    "seed_known": lambda k: random.uniform(random.key(42)) + k[0],
    "raw": lambda k: random.uniform(random.PRNGKey(k[1]), (3,)),
    "split": lambda k: random.split(key(k), (2, 3)),
    "fold_in": lambda k: random.fold_in(key(k), k[0]),
    "uniform": lambda k: random.uniform(key(k), (4, 5), minval=-2, maxval=3),
    "uniform_f16": lambda k: random.uniform(key(k), (9,), np.float16),
    "uniform_bf16": lambda k: random.uniform(key(k), (9,), jnp.bfloat16),
    "randint": lambda k: random.randint(key(k), (9,), -3, 1000),
    "bernoulli": lambda k: random.bernoulli(key(k), 0.3, (9,)),
    "permutation": lambda k: random.permutation(key(k), 11),
    "choice": lambda k: random.choice(key(k), 11, (3,), replace=False),
    "categorical": lambda k: random.categorical(key(k), jnp.log(jnp.arange(1.0, 9.0)), shape=(5,)),
    "keys_moved": lambda k: random.split(key(k), (2, 3)).reshape(3, 2)[::-1, 1],
    "keys_joined": lambda k: jnp.concatenate([random.split(key(k), 2), random.split(key(k), 3)]),
    "keys_chosen": lambda k: jnp.where(
        k[0] > 3, random.split(key(k), 2), random.split(key(k[::-1]), 2)
    ),
    "keys_indexed": lambda k: jnp.take(random.split(key(k), 4), k.astype(np.int32), axis=0),
}
CLOSE = {
    "gumbel": lambda k: random.gumbel(key(k), (50,)),
    "normal": lambda k: random.normal(key(k), (500,)),
    "normal_bf16": lambda k: random.normal(key(k), (50,), jnp.bfloat16),
    "truncated": lambda k: random.truncated_normal(key(k), -1, 2, (50,)),
    "exponential": lambda k: random.exponential(key(k), (50,)),
    "laplace": lambda k: random.laplace(key(k), (50,)),
    "gamma": lambda k: random.gamma(key(k), jnp.linspace(0.1, 4, 40)),
    "gamma_f16": lambda k: random.gamma(key(k), jnp.linspace(0.5, 4, 8, dtype=np.float16)),
    "gamma_of_keys": lambda k: jax.vmap(random.gamma)(random.split(key(k), 3), jnp.ones((3, 5))),
    "loggamma": lambda k: random.loggamma(key(k), jnp.array([1e-3, 0.5, 7])),
    "beta": lambda k: random.beta(key(k), 2.0, jnp.array([0.5, 3])),
    "dirichlet": lambda k: random.dirichlet(key(k), jnp.array([0.2, 1, 5])),
    "cauchy": lambda k: random.cauchy(key(k), (5,)),
}


@pytest.mark.parametrize("name", CASES)
def test_same_bits(name):
    check(CASES[name], KEY)


@pytest.mark.parametrize("name", CLOSE)
def test_distributions(name):
    check(CLOSE[name], KEY, rtol=2e-6 if "bf16" not in name else 1e-2)


@pytest.mark.parametrize("partitionable", [False, True])
def test_both_ways_to_split_bits(partitionable):
    with jax.threefry_partitionable(partitionable):
        check(lambda k: random.bits(key(k), (7,)), KEY)


STATE = np.array([1, 2, 2**32 - 2, 2**32 - 1], np.uint32)


@pytest.mark.parametrize("algorithm", lax.RandomAlgorithm.__members__.values())
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_bit_generators(dtype, algorithm):
    def bits(shape):
        return lambda state: lax.rng_bit_generator(state, shape, np.dtype(dtype), algorithm)

    shapes = [(3, 5), (), (1,), (3, 4, 2), (5, 3, 5), (8,), (0, 3)]
    with jax.enable_x64(dtype == "uint64"):
        for shape in shapes if dtype in ("uint32", "uint64") else shapes[:1]:
            check(bits(shape), STATE)


@pytest.mark.parametrize("algorithm", lax.RandomAlgorithm.__members__.values())
def test_bit_generators_with_a_state_of_64_bits(algorithm):
    with jax.enable_x64(True):
        state = np.array([2**40 + 7, 2**64 - 2], np.uint64)
        for dtype in ("uint32", "uint64"):
            check(lambda s, d=dtype: lax.rng_bit_generator(s, (3, 5), d, algorithm), state)


def test_keys_of_philox():
    def function(state):
        key = random.wrap_key_data(state, impl="rbg")
        one, other = random.split(key)
        return random.uniform(one, (5,)), random.fold_in(other, 7), random.bits(key, (3,))

    check(function, STATE)


def test_64_bits():
    with jax.enable_x64(True):
        check(lambda k: random.bits(key(k), (7,), "uint64"), KEY)
        check(lambda k: random.uniform(key(k), (7,), np.float64), KEY)


def test_keys_are_arrays_of_uint32():
    keys = random.split(random.key(0), 3)
    jaxpr = canonicalise(jax.make_jaxpr(lambda k: (k[::-1], k[0]))(keys))
    assert [aval.str_short() for aval in jaxpr.in_avals] == ["uint32[3,2]"]
    assert [aval.str_short() for aval in jaxpr.out_avals] == ["uint32[3,2]", "uint32[2]"]


def test_uniform_needs_no_bitcast_table():
    jaxpr = check(lambda k: random.uniform(key(k), (5,)), KEY)
    assert not {"gather", "bitcast_convert_type"} & {e.primitive.name for e in jaxpr.eqns}

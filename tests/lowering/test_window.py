"""Windows: pooling and its derivatives, generic reducers, any padding, stride and dilation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from tests.lowering.equal import check, names

REDUCERS = {"max": (lax.max, -np.inf), "min": (lax.min, np.inf), "add": (lax.add, 0.0)}


@st.composite
def windows(draw):
    rank = draw(st.integers(1, 4))
    few = st.integers(1, 2)

    def each(strategy):
        return tuple(draw(strategy) for _ in range(rank))

    size = each(st.integers(1, 3))
    shape = tuple(n + 4 for n in each(st.integers(0, 3)))
    padding = each(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    dilations = (each(few), each(few)) if draw(st.booleans()) else ((1,) * rank, (1,) * rank)
    return shape, (size, each(few), padding, *dilations)


@settings(max_examples=20)
@given(windows(), st.sampled_from(sorted(REDUCERS)), st.sampled_from(["float32", "int32"]))
def test_reduce_window(case, kind, dtype):
    shape, window = case
    function, value = REDUCERS[kind]
    if dtype == "int32" and np.isinf(value):
        value = np.iinfo(np.int32).max if value > 0 else np.iinfo(np.int32).min
    x = (np.arange(np.prod(shape)) * 7 % 11 - 4).reshape(shape).astype(dtype)
    check(lambda x: lax.reduce_window(x, np.array(value, dtype), function, *window), x)


X = np.random.default_rng(0).permutation(2 * 6 * 7 * 3).reshape(2, 6, 7, 3).astype(np.float32)


def max_pool(x, strides=(1, 2, 2, 1), padding=((0, 0), (1, 0), (0, 1), (0, 0))):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 2, 1), strides, padding)


CASES = {
    "pool_stays": max_pool,
    "grad": jax.grad(lambda x: (max_pool(x) ** 2).sum()),
    "grad_of_ties": lambda x: jax.grad(lambda x: (max_pool(x) ** 2).sum())(x // 8),
    "jvp": lambda x: jax.jvp(max_pool, (x,), (jnp.cos(x),)),
    "product": lambda x: lax.reduce_window(x % 3, 1.0, lax.mul, (1, 2, 2, 1), (1, 1, 1, 1), "SAME"),
    "odd": lambda x: lax.reduce_window(
        x, 3.0, lambda a, b: a + b + a * b, (1, 2, 1, 1), (1, 1, 1, 1), "VALID"
    ),
    "pair": lambda x: lax.reduce_window(
        (x, -x),
        (-jnp.inf, jnp.inf),
        lambda a, b: (jnp.maximum(a[0], b[0]), jnp.minimum(a[1], b[1])),
        (1, 2, 2, 1),
        (1, 2, 2, 1),
        "VALID",
    ),
    "reduce_pair": lambda x: lax.reduce(
        (x, x), (0.0, 0.0), lambda a, b: (a[0] + b[0], jnp.maximum(a[1], b[1])), (1, 2)
    ),
    "reduce_xor": lambda x: lax.reduce_xor(x > 9, (0, 2)),
    "reduce_or_int": lambda x: lax.reduce_or(x.astype(np.int32), (0, 2)),
    "reduce_and_int": lambda x: lax.reduce_and(x.astype(np.uint8), (1,)),
    "interior": lambda x: lax.pad(x, 5.0, ((1, 0, 0), (0, -1, 2), (-2, 3, 1), (0, 0, 0))),
    "reverse_cumsum": lambda x: lax.cumsum(x, 1, reverse=True),
    "reverse_cummax": lambda x: lax.cummax(x, 2, reverse=True),
}


@pytest.mark.parametrize("name", CASES)
def test_windows(name):
    rtol = 1e-6 if name in ("reduce_pair", "jvp") else None
    check(CASES[name], X, rtol=rtol)


def test_pooling_stays_pooling():
    assert names(check(max_pool, X)) == ["transpose", "reduce_window_max", "transpose"]


@pytest.mark.parametrize("size", [9, 16, 23, 31])
@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_long_windows_are_combined_by_parts_that_double(size: int, dtype: str) -> None:
    x = (np.arange(80) * 7 % 5 + 1).astype(dtype)
    matrices = np.random.default_rng(0).integers(0, 3, (4, 40)).astype(dtype)

    def add(x):
        return lax.reduce_window(x, np.array(0, dtype), lax.add, (size,), (2,), "SAME", (2,), (3,))

    def multiplied(a, b):  # 2 x 2 matrices: their order matters
        return (a[0] * b[0] + a[1] * b[2], a[0] * b[1] + a[1] * b[3],
                a[2] * b[0] + a[3] * b[2], a[2] * b[1] + a[3] * b[3])  # fmt: skip

    def multiply(xs):
        one = tuple(np.array(n, dtype) for n in (1, 0, 0, 1))
        return lax.reduce_window(tuple(xs), one, multiplied, (size,), (1,), "VALID")

    jaxpr = check(add, x)
    assert len(jaxpr.eqns) < 3 * 2 * np.log2(size) + 6
    if dtype == "int32":
        check(multiply, matrices)  # it wraps around, as JAX's

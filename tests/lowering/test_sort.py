"""Sorting by any number of keys along any axis, and the largest elements."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from tests.lowering.equal import check


@settings(max_examples=20)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.integers(0, 2),
    st.integers(1, 3),
    st.integers(0, 2),
    st.sampled_from(["float32", "int32", "bool"]),
)
def test_sort(shape, axis, keys, carried, dtype):
    size = int(np.prod(shape))
    rng = np.random.default_rng(size)
    operands = [rng.integers(0, 3, shape).astype(dtype) for _ in range(keys)]
    operands += [rng.integers(0, 99, shape).astype(np.float32) for _ in range(carried)]
    check(
        lambda *xs: lax.sort(xs, dimension=axis % len(shape), num_keys=keys, is_stable=True),
        *operands,
    )


X = np.random.default_rng(0).permutation(24).reshape(2, 3, 4).astype(np.float32)
CASES = {
    "argsort": lambda x: jnp.argsort(x, axis=1),
    "argsort_descending": lambda x: jnp.argsort(x, axis=1, descending=True),
    "special": lambda x: jnp.sort(jnp.stack([x / 0, -x / 0, x - x, -(x - x), x])),
    "of_pairs": lambda x: lax.sort((x.astype(np.int32) % 3, x.astype(np.int32)), num_keys=1),
    "complex": lambda x: jnp.sort(x % 3 + 1j * x),
    "lexsort": lambda x: jnp.lexsort((x[0, 0] % 2, x[0, 1] % 2)),
    "median": lambda x: jnp.median(x, axis=0),
    "unique": lambda x: jnp.unique(x % 3, size=4, fill_value=9),
    "searchsorted": lambda x: jnp.searchsorted(jnp.sort(x[0, 0]), x[1]),
    "top_k": lambda x: lax.top_k(x, 2),
    "top_k_axis": lambda x: lax.top_k(x, 2, axis=0),
    "approx_max": lambda x: lax.approx_max_k(x, 2, reduction_dimension=1),
    "approx_min": lambda x: lax.approx_min_k(x, 2, reduction_dimension=0),
    "permutation": lambda x: jax.random.permutation(jax.random.key(0), x, axis=2),
}


@pytest.mark.parametrize("name", CASES)
def test_sorts(name):
    check(CASES[name], X)

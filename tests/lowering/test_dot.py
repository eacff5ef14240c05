"""``dot_general`` with any dimension numbers is a batched matrix product."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from tests.lowering.equal import check


@st.composite
def dots(draw):
    """Shapes of both sides and dimension numbers, in any order."""
    sizes = st.lists(st.integers(1, 3), max_size=2)
    batch, contract, left, right = (draw(sizes) for _ in range(4))

    def side(free):
        kinds = [("b", i) for i in range(len(batch))] + [("c", i) for i in range(len(contract))]
        order = draw(st.permutations(kinds + [("f", i) for i in range(len(free))]))
        size = {"b": batch, "c": contract, "f": free}
        shape = tuple(size[kind][i] for kind, i in order)
        axes = [tuple(order.index(k) for k in kinds if k[0] == kind) for kind in "cb"]
        return shape, axes

    (lhs, (lc, lb)), (rhs, (rc, rb)) = side(left), side(right)
    return lhs, rhs, ((lc, rc), (lb, rb))


def numbers(shape, dtype=np.float32):
    return (np.arange(np.prod(shape, dtype=int)) % 7 - 3).reshape(shape).astype(dtype)


@settings(max_examples=20)
@given(dots(), st.sampled_from(["float32", "int32", "int8", "bfloat16"]))
def test_dimension_numbers(case, dtype):
    lhs, rhs, dims = case
    dtype = jnp.dtype(dtype)
    check(lambda a, b: lax.dot_general(a, b, dims), numbers(lhs, dtype), numbers(rhs, dtype))


@pytest.mark.parametrize(
    ("dtype", "result"), [("bfloat16", "float32"), ("int8", "int32"), ("float32", "bfloat16")]
)
def test_preferred_element_type(dtype, result):
    a, b = numbers((3, 4), jnp.dtype(dtype)), numbers((4, 5), jnp.dtype(dtype))
    check(lambda a, b: jnp.matmul(a, b, preferred_element_type=result), a, b)

"""Convolutions of 1 to 3 dimensions: any layout, padding, dilation and groups, and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from tests.lowering.equal import check

SPATIAL = "DHW"


def numbers(shape, dtype=np.float32):
    """Small integers: sums are exact in any order."""
    return (np.arange(np.prod(shape, dtype=int)) * 5 % 7 - 3).reshape(shape).astype(dtype)


@st.composite
def convolutions(draw):
    rank = draw(st.integers(1, 3))
    few = st.integers(1, 2)

    def each(strategy):
        return tuple(draw(strategy) for _ in range(rank))

    feature, batch = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2)]))
    n, i, o = draw(few) * batch, draw(few), draw(few) * feature * batch
    space = SPATIAL[-rank:]
    specs = [
        draw(st.permutations(letters)) for letters in ("NC" + space, "OI" + space, "NC" + space)
    ]
    size = each(st.integers(1, 3))
    image = each(st.integers(5, 6))
    lhs = {"N": n, "C": i * feature, **dict(zip(space, image, strict=True))}
    rhs = {"O": o, "I": i, **dict(zip(space, size, strict=True))}
    return (
        tuple(lhs[c] for c in specs[0]),
        tuple(rhs[c] for c in specs[1]),
        {
            "window_strides": each(few),
            "padding": each(st.tuples(st.integers(-1, 2), st.integers(-1, 2))),
            "lhs_dilation": each(few),
            "rhs_dilation": each(few),
            "dimension_numbers": tuple("".join(spec) for spec in specs),
            "feature_group_count": feature,
            "batch_group_count": batch,
        },
    )


@settings(max_examples=20)
@given(convolutions())
def test_conv(case):
    """But for the sign of zeros, which hangs on how XLA computes a convolution of these sizes."""
    lhs, rhs, params = case

    def function(x, w):
        y = lax.conv_general_dilated(x, w, **params)
        return jnp.where(y == 0, 0, y)

    check(function, numbers(lhs), numbers(rhs))


X, W = numbers((2, 6, 5, 4)), numbers((3, 3, 4, 6))
NHWC = ("NHWC", "HWIO", "NHWC")


def conv(x, w, **options):
    return lax.conv_general_dilated(x, w, (2, 1), "SAME", dimension_numbers=NHWC, **options)


CASES = {
    "transpose": lambda x, w: lax.conv_transpose(
        x, w, (2, 2), "SAME", dimension_numbers=NHWC, transpose_kernel=False
    ),
    "grad": lambda x, w: jax.grad(lambda x, w: (conv(x, w) ** 2).sum(), (0, 1))(x, w),
    "preferred": lambda x, w: conv(
        x.astype(jnp.bfloat16), w.astype(jnp.bfloat16), preferred_element_type=np.float32
    ),
    "int8": lambda x, w: conv(
        x.astype(np.int8), w.astype(np.int8), preferred_element_type=np.int32
    ),
    "complex": lambda x, w: conv(x * (1 + 2j), w * (2 - 1j)),
}


@pytest.mark.parametrize("name", CASES)
def test_convs(name):
    check(CASES[name], X, W)

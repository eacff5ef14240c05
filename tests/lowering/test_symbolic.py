"""A dynamic batch: no rewrite needs its size."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from msckpt_jax.lowering.canonical import canonicalise
from tests.lowering.equal import leftovers

W = np.ones((3, 3, 4, 6), np.float32)
NHWC = ("NHWC", "HWIO", "NHWC")
(BATCH,) = jax.export.symbolic_shape("b")
ROW, IMAGE = (8,), (8, 8, 4)


def attention(x):
    layer = nn.MultiHeadDotProductAttention(num_heads=2)
    return layer.apply(layer.init(jax.random.key(0), jnp.ones((1, 5, 4))), x)


def lstm(x):
    layer = nn.RNN(nn.LSTMCell(5))
    return layer.apply(layer.init(jax.random.key(0), jnp.ones((1, 30, 4))), x)


CASES = {
    "argsort": (lambda x: jnp.argsort(x, 1), ROW),
    "attention": (attention, (5, 4)),
    "average_pool": (lambda x: nn.avg_pool(x, (2, 2), (2, 2)), IMAGE),
    "bits": (jnp.frexp, ROW),
    "conv": (
        lambda x: lax.conv_general_dilated(x, W, (1, 1), "SAME", dimension_numbers=NHWC),
        IMAGE,
    ),
    "conv_transpose": (
        lambda x: lax.conv_transpose(x, W, (2, 2), "SAME", dimension_numbers=NHWC),
        IMAGE,
    ),
    "cumsum": (lambda x: jnp.cumsum(x, 1), ROW),
    "einsum": (lambda x: jnp.einsum("bij,bjk->bik", x, x[:, :, :3]), (4, 4)),
    "erf_inv": (lax.erf_inv, ROW),
    "first_row": (lambda x: x.at[0].set(1), ROW),
    "flattened": (lambda x: x.reshape(x.shape[0], -1) @ jnp.ones((24, 3)), (4, 6)),
    "lstm": (lstm, (30, 4)),
    "max_pool": (lambda x: nn.max_pool(x, (2, 2), (2, 2)), IMAGE),
    "mean_of_batch": (lambda x: x.mean(0), ROW),
    "pad": (lambda x: jnp.pad(x, ((0, 0), (1, 2))), ROW),
    "scan_over_batch": (lambda x: lax.scan(lambda c, x: (c + x, c), x[0], x, reverse=True), ROW),
    "softmax": (jax.nn.softmax, ROW),
    "sort": (lambda x: jnp.sort(x, 1), ROW),
    "strided": (lambda x: x[:, ::-1, ::2], (4, 6)),
    "take": (lambda x: jnp.take(W, x.astype(np.int32), axis=2), ROW),
    "take_along": (lambda x: jnp.take_along_axis(x, jnp.argmax(x, 1)[:, None], 1), ROW),
    "top_k": (lambda x: lax.top_k(x, 3), ROW),
    "uniform": (lambda x: x + jax.random.uniform(jax.random.key(0), (8,)), ROW),
}


@pytest.mark.parametrize("name", CASES)
def test_dynamic_batch(name):
    function, shape = CASES[name]
    x = jax.ShapeDtypeStruct((BATCH, *shape), np.float32)
    jaxpr = canonicalise(jax.make_jaxpr(function)(x))
    assert not list(leftovers(jaxpr))
    before = jax.tree.leaves(jax.eval_shape(function, x))
    assert [a.shape for a in jaxpr.out_avals] == [a.shape for a in before]

"""Transposes that meet their inverse are gone."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from tests.lowering.equal import check, names

X = np.random.default_rng(0).standard_normal((2, 6, 5, 4)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((3, 3, 4, 4)).astype(np.float32)
NHWC = ("NHWC", "HWIO", "NHWC")
VECTOR = np.arange(1, 5, dtype=np.float32)


def conv(x, w):
    return lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def batch_norm(x, v):
    variables = {"params": {"scale": v, "bias": v}, "batch_stats": {"mean": v, "var": v}}
    return nn.BatchNorm(use_running_average=True).apply(variables, x)


BLOCKS = {
    "elementwise": lambda x, v: jnp.tanh(x * 2) + 1,
    "vector": lambda x, v: x * v + jnp.exp(v),
    "batch_norm": batch_norm,
    "residual": lambda x, v: x + jax.nn.relu(x),
    "select": lambda x, v: jnp.where(x > 0, x, x * 0.1),
    "cast": lambda x, v: x.astype(jnp.bfloat16).astype(np.float32),
    "pad": lambda x, v: jnp.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), constant_values=3),
    "pool": lambda x, v: nn.max_pool(x, (2, 2), (2, 2)),
    "join": lambda x, v: jnp.concatenate([x, x + 1], 2),
    "attend": lambda x, v: x * jax.nn.sigmoid(x.mean((1, 2), keepdims=True)),
    "clip": lambda x, v: jnp.clip(x, 0, 6),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_nothing_is_transposed_between_convolutions(name):
    jaxpr = check(lambda x, w, v: conv(BLOCKS[name](conv(x, w), v), w), X, W, VECTOR, rtol=1e-5)
    shapes = [e.outvars[0].aval.shape for e in jaxpr.eqns if e.primitive.name == "transpose"]
    assert sorted(map(len, shapes)) == [4, 4, 4]  # the image, the kernel, the result
    assert names(jaxpr).count("conv_general_dilated") == 2


def test_batch_norm_between_convolutions_is_one_operator():
    jaxpr = check(lambda x, w, v: conv(batch_norm(conv(x, w), v), w), X, W, VECTOR, rtol=1e-5)
    (norm,) = (e for e in jaxpr.eqns if e.primitive.name == "ms_op")
    assert norm.params["op"] == "BatchNorm"
    assert norm.invars[0].aval.shape == (2, 4, 6, 5)


def test_a_mean_over_the_image_needs_no_transpose():
    jaxpr = check(lambda x, w: conv(x, w).mean((1, 2)) @ w[0, 0], X, W, rtol=1e-5)
    assert names(jaxpr).count("transpose") == 2


def test_softmax_of_grouped_heads_is_one_operator():
    """JAX moves the heads of the scores and of their maxima, each in a way of its own."""
    query, key = jnp.tile(X, (1, 1, 1, 2)).reshape(2, 6, 10, 4), X
    jaxpr = check(jax.nn.dot_product_attention, query, key, key + 1, rtol=1e-5)
    (softmax,) = (e for e in jaxpr.eqns if e.primitive.name == "ms_op")
    assert softmax.params["op"] == "Softmax"


KEPT = {
    "small_ones_too": lambda x: (
        x.transpose(3, 0, 1, 2) - x.max(3).transpose(1, 2, 0).transpose(2, 0, 1)[None]
    ),
    "no_inverse": lambda x: jnp.sin(x.transpose(0, 3, 1, 2)) + 1,
    "both": lambda x: (x.transpose(3, 0, 1, 2), jnp.sin(x.transpose(3, 0, 1, 2))),
    "twice": lambda x: x.transpose(0, 1, 3, 2).transpose(0, 1, 3, 2) * 2,
    "self": lambda x: x[0, :4, :4].transpose(1, 0, 2) + x[0, :4, :4],
    "reduced": lambda x: x.transpose(2, 3, 0, 1).sum((0, 3)),
    "in_a_loop": lambda x: lax.fori_loop(
        0,
        x.astype(int).max() + 3,
        lambda i, x: jnp.sin(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1),
        x,
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_same_numbers(name):
    check(KEPT[name], X, rtol=1e-6)


@pytest.mark.parametrize("rank", [3, 4])
def test_small_operands_of_square_arrays(rank):
    """Axes of equal size are told apart where a small operand follows a transpose."""
    random = np.random.default_rng(rank)
    x = random.standard_normal((3,) * rank).astype(np.float32)
    small = [random.standard_normal(shape).astype(np.float32)
             for shape in itertools.product((1, 3), repeat=rank)]  # fmt: skip
    orders = [*itertools.permutations(range(rank))][1:]

    def function(x, *small):
        turned = {order: jnp.transpose(x, order) for order in orders}
        return [
            jnp.transpose(y * m, np.argsort(order)) for order, y in turned.items() for m in small
        ]

    check(function, x, *small)


def test_an_upsampled_square_times_a_map():
    index = np.arange(6) // 2
    x, m = X[:, :, :3, :3], np.arange(36, dtype=np.float32).reshape(1, 1, 6, 6)
    check(lambda x, m: jnp.take(jnp.take(x, index, 2), index, 3) * m, x, m)

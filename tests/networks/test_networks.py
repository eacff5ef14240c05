"""The networks by themselves: how many parameters, which shapes come out, what is refused."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from msckpt_jax import names
from msckpt_jax.networks import bert, resnet, yolo, yolov3
from tests.networks.conftest import abstract, filled

SMALL_BERT = functools.partial(bert.Bert, 100, 32, 2, 4, 64, max_position_embeddings=16)


@pytest.mark.parametrize(
    ("make", "count"),
    [
        # As published for each network, moving means and variances counted, too.
        (resnet.resnet18, 11_689_512 + 9_600),
        (resnet.resnet34, 21_797_672 + 17_024),
        (resnet.resnet50, 25_557_032 + 53_120),
        (resnet.resnet101, 44_549_160 + 105_344),
        (resnet.resnet152, 60_192_808 + 151_424),
        (yolov3.yolov3, 62_001_757),
        (bert.bert_base, 102_267_648),
        (functools.partial(bert.bert_base, 30522), 109_482_240),
    ],
)
def test_how_many_parameters(make: Callable[..., nnx.Module], count: int) -> None:
    leaves = names.named_leaves(abstract(make))
    assert sum(math.prod(leaf.value.shape) for leaf in leaves) == count


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_dtype_of_the_logits(dtype: Any) -> None:
    def logits(x: jax.Array) -> jax.Array:
        return resnet.resnet18(7, dtype=dtype, rngs=nnx.Rngs(0))(x)

    found = jax.eval_shape(logits, jax.ShapeDtypeStruct((2, 65, 96, 3), jnp.float32))
    assert (found.shape, found.dtype) == ((2, 7), dtype or jnp.float32)


def test_a_max_pool_that_is_neither() -> None:
    with pytest.raises(ValueError, match="must be 'same' or 'symmetric', not 'valid'"):
        resnet.resnet18(7, max_pool="valid", rngs=nnx.Rngs(0))


def test_boxes_of_an_empty_output() -> None:
    """Zeros stand for the middle of each cell, the anchor's size and a probability of a half."""
    anchors = ((10, 20), (30, 40), (50, 60))
    found = yolo.boxes(jnp.zeros((1, 2, 4, 3 * 7)), anchors, 64, 128, scale=1.2)
    assert found.shape == (1, 2, 4, 3, 7)
    np.testing.assert_allclose(found[0, 1, 2, 0], [2.5 / 4, 1.5 / 2, 10 / 128, 20 / 64] + [0.5] * 3)
    np.testing.assert_allclose(found[0, 0, 0, 2, :4], [0.5 / 4, 0.5 / 2, 50 / 128, 60 / 64])


def test_bert_ignores_padding() -> None:
    net = filled(SMALL_BERT)
    net.eval()
    ids = jnp.arange(16).reshape(2, 8)
    mask = jnp.arange(8) < jnp.array([[8], [5]])
    sequence, pooled = net(ids, jnp.zeros_like(ids), mask)
    other, other_pooled = net(ids.at[1, 5:].set(99), jnp.zeros_like(ids), mask)
    assert (sequence.shape, pooled.shape) == ((2, 8, 32), (2, 32))
    np.testing.assert_allclose(sequence[1, :5], other[1, :5], atol=1e-6)
    np.testing.assert_allclose(pooled, other_pooled, atol=1e-6)
    assert np.abs(sequence[1, 5:] - other[1, 5:]).max() > 0.1


def test_bert_drops_out_while_training_only() -> None:
    net, ids = filled(SMALL_BERT), jnp.arange(8).reshape(1, 8)
    zeros, ones = jnp.zeros_like(ids), jnp.ones_like(ids)
    one, other = (net(ids, zeros, ones, rngs=nnx.Rngs(seed))[0] for seed in (0, 1))
    assert np.abs(one - other).max() > 0.1
    with pytest.raises(ValueError, match="no `rngs` argument"):
        net(ids, zeros, ones)


def test_bert_with_heads_that_do_not_divide_it() -> None:
    with pytest.raises(ValueError, match="5 does not divide 32"):
        bert.Bert(100, 32, 1, 5, rngs=nnx.Rngs(0))

"""The networks of the benchmarks, ours and the arguments of MindSpore's of the same kind."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from msckpt_jax import names
from msckpt_jax.networks import bert, resnet


class Network(NamedTuple):
    """``mindspore``: the class in tests/networks/mindspore_nets.py and its arguments."""

    make: Any
    mindspore: str
    arguments: list[Any]
    inputs: list[np.ndarray]


def _tokens(length: int) -> list[np.ndarray]:
    ids = np.arange(length, dtype=np.int32)[None] % 1000
    return [ids, ids % 2, np.ones((1, length), np.int32)]


_IMAGE = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)

NETWORKS = {
    "ResNet-50": Network(resnet.resnet50, "VisionResNet", [50, 1000], [_IMAGE]),
    "BERT-base": Network(
        functools.partial(bert.Bert, 21128, 768, 12, 12, 3072),
        "Bert", [21128, 768, 12, 12, 3072, 512], _tokens(128),
    ),
}  # fmt: skip


def ours(name: str) -> tuple[Any, list[np.ndarray]]:
    """The network with random values, and its inputs: images have their channels last."""
    made = nnx.eval_shape(lambda: NETWORKS[name].make(rngs=nnx.Rngs(0)))
    flat, rng = names.flatten(made), np.random.default_rng(1)
    arrays = [
        jax.device_put(rng.uniform(0.01, 0.05, leaf.value.shape).astype(leaf.value.dtype))
        for leaf in flat.leaves
    ]
    net = flat.rebuild(arrays)
    net.eval()
    images = [x.transpose(0, 2, 3, 1) if x.ndim == 4 else x for x in NETWORKS[name].inputs]
    return net, [np.ascontiguousarray(x) for x in images]

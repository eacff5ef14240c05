"""The networks of the benchmarks, ours and the arguments of MindSpore's of the same kind."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from msckpt_jax import names
from msckpt_jax.networks import bert, resnet, yolov3, yolov4
from tests.networks import architectures, values


class Network(NamedTuple):
    """``mindspore``: the class in tests/networks/mindspore_nets.py and its arguments, or ""."""

    make: Any
    inputs: list[np.ndarray]
    mindspore: str = ""
    arguments: Sequence[Any] = ()


def _tokens(length: int) -> list[np.ndarray]:
    ids = np.arange(length, dtype=np.int32)[None] % 1000
    return [ids, ids % 2, np.ones((1, length), np.int32)]


def _normal(*shape: int) -> list[np.ndarray]:
    return [np.random.default_rng(0).standard_normal(shape, np.float32)]


_make: Any = functools.partial
#: Images have their channels first, as MindSpore has them.
NETWORKS = {
    "ResNet-50": Network(resnet.resnet50, _normal(1, 3, 224, 224), "VisionResNet", [50, 1000]),
    "BERT-base": Network(
        _make(bert.Bert, 21128, 768, 12, 12, 3072), _tokens(128),
        "Bert", [21128, 768, 12, 12, 3072, 512],
    ),
    "YOLOv3": Network(_make(yolov3.yolov3, 80), _normal(1, 3, 416, 416)),
    "YOLOv4": Network(_make(yolov4.yolov4, 80), _normal(1, 3, 416, 416)),
    "GPT-2": Network(
        _make(architectures.Decoder, 50257, 768, 12, 12, 1024),
        [np.arange(128, dtype=np.int32)[None]],
    ),
    "ViT-B/16": Network(
        _make(architectures.Vit, 224, 16, 768, 12, 12, 1000), _normal(1, 3, 224, 224)
    ),
    "UNet": Network(
        _make(architectures.UNet, (64, 128, 256, 512, 1024), 2), _normal(1, 3, 128, 128)
    ),
    "LSTM": Network(_make(architectures.Lstm, 128, 256, 256, both=False), _normal(1, 100, 128)),
    "BiLSTM": Network(_make(architectures.Lstm, 128, 256, 256, both=True), _normal(1, 100, 128)),
}  # fmt: skip


def ours(name: str) -> tuple[Any, list[np.ndarray]]:
    """The network with random values, and its inputs: images have their channels last."""
    made = nnx.eval_shape(lambda: NETWORKS[name].make(rngs=nnx.Rngs(0)))
    flat = names.flatten(made)
    net = flat.rebuild([_value(leaf.name, leaf.value) for leaf in flat.leaves])
    net.eval()
    images = [x.transpose(0, 2, 3, 1) if x.ndim == 4 else x for x in NETWORKS[name].inputs]
    return net, [np.ascontiguousarray(x) for x in images]


def _value(name: str, value: Any) -> Any:
    if jnp.issubdtype(value.dtype, jnp.floating):
        return jax.device_put(values.parameter(name, value.shape, seed=0))
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return jax.random.key(0)
    return jnp.zeros(value.shape, value.dtype)

"""The networks that every format is tried with: images are small, YOLO and ResNet are not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from msckpt_jax.networks import bert, resnet, yolov3, yolov4
from tests.networks.architectures import Decoder, Lstm, UNet, Vit
from tests.networks.conftest import filled, tokens


class Small(NamedTuple):
    """``make`` takes ``rngs``; ``inputs`` are as JAX has them, channels last."""

    make: Callable[..., nnx.Module]
    inputs: list[np.ndarray]

    def network(self) -> nnx.Module:
        """In inference. Flax's own values suit the shallow ones, ``filled`` is fast."""
        shallow = self.make in (Decoder, Vit, UNet) or getattr(self.make, "func", None) is Lstm
        net = self.make(rngs=nnx.Rngs(0)) if shallow else filled(self.make)
        net.eval()
        return net


def _image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((*shape, 3), np.float32)


_SEQUENCE = np.random.default_rng(0).standard_normal((2, 7, 6), np.float32)
_make: Any = functools.partial
NETWORKS = {
    "ResNet-50": Small(_make(resnet.resnet50, 7), [_image(2, 64, 64)]),
    "BERT": Small(_make(bert.Bert, 100, 32, 2, 4, 64, max_position_embeddings=16), tokens()),
    "YOLOv3": Small(_make(yolov3.yolov3, 4), [_image(1, 32, 64)]),
    "YOLOv4": Small(_make(yolov4.yolov4, 4), [_image(1, 32, 64)]),
    "GPT-2": Small(Decoder, [np.arange(24, dtype=np.int32).reshape(2, 12) % 97]),
    "ViT": Small(Vit, [_image(2, 32, 32)]),
    "UNet": Small(UNet, [_image(2, 32, 32)]),
    "LSTM": Small(_make(Lstm, both=False), [_SEQUENCE]),
    "BiLSTM": Small(_make(Lstm, both=True), [_SEQUENCE]),
}

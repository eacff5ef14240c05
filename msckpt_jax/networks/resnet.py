"""ResNet-18 to 152, named as MindSpore Vision names them.

With the MindSpore convention the attribute tree gives the names of MindSpore Vision's classifiers
(``mindvision.classification.models``: ``backbone.layer1.0.conv1.features.0.weight``, ...,
``head.dense.bias``); :data:`MINDCV` gives those of mindcv (``mindcv/models/resnet.py``).
Images are ``[batch, height, width, channels]``, as Flax has them.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import jax
from flax import nnx
from jax.typing import DTypeLike

from msckpt_jax.conventions.convention import Convention

MaxPool = Literal["same", "symmetric"]

#: The convention of mindcv's names: MindSpore Vision's renamed, regular expression to template.
MINDCV = Convention(
    rename={
        r"^head\.dense\.": "classifier.",
        r"^backbone\.(.*down_sample)\.features\.": r"\1.",
        r"^backbone\.(.*)conv(\d)\.features\.0\.": r"\1conv\2.",
        r"^backbone\.(.*)conv(\d)\.features\.1\.": r"\1bn\2.",
    }
)


class ConvNorm(nnx.Module):
    """Convolution and batch normalisation, padded like MindSpore Vision's ConvNormActivation."""

    def __init__(
        self,
        channels: int,
        out: int,
        size: int,
        stride: int = 1,
        *,
        dtype: DTypeLike | None,
        rngs: nnx.Rngs,
    ):
        pad = (size - 1) // 2
        conv = nnx.Conv(
            channels,
            out,
            (size, size),
            stride,
            padding=((pad, pad), (pad, pad)),
            use_bias=False,
            dtype=dtype,
            rngs=rngs,
        )
        norm = nnx.BatchNorm(out, momentum=0.9, epsilon=1e-5, dtype=dtype, rngs=rngs)
        self.features = nnx.List([conv, norm])

    def __call__(self, x: jax.Array) -> jax.Array:
        conv, norm = self.features
        return norm(conv(x))


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions beside a shortcut (ResNet-18 and 34)."""

    expansion = 1

    def __init__(
        self, channels: int, width: int, stride: int, *, dtype: DTypeLike | None, rngs: nnx.Rngs
    ):
        conv = functools.partial(ConvNorm, dtype=dtype, rngs=rngs)
        self.conv1 = conv(channels, width, 3, stride)
        self.conv2 = conv(width, width, 3)
        self.down_sample = conv(channels, width, 1, stride) if channels != width else None

    def __call__(self, x: jax.Array) -> jax.Array:
        out = self.conv2(nnx.relu(self.conv1(x)))
        return nnx.relu(out + (x if self.down_sample is None else self.down_sample(x)))


class Bottleneck(nnx.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut; the 3x3 has the stride (ResNet-50 and up)."""

    expansion = 4

    def __init__(
        self, channels: int, width: int, stride: int, *, dtype: DTypeLike | None, rngs: nnx.Rngs
    ):
        conv = functools.partial(ConvNorm, dtype=dtype, rngs=rngs)
        out = width * self.expansion
        self.conv1 = conv(channels, width, 1)
        self.conv2 = conv(width, width, 3, stride)
        self.conv3 = conv(width, out, 1)
        self.down_sample = conv(channels, out, 1, stride) if channels != out else None

    def __call__(self, x: jax.Array) -> jax.Array:
        out = self.conv3(nnx.relu(self.conv2(nnx.relu(self.conv1(x)))))
        return nnx.relu(out + (x if self.down_sample is None else self.down_sample(x)))


class Backbone(nnx.Module):
    """The network from images ``[N, H, W, 3]`` to features ``[N, H/32, W/32, 512 * expansion]``."""

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        depths: tuple[int, int, int, int],
        *,
        max_pool: MaxPool,
        dtype: DTypeLike | None,
        rngs: nnx.Rngs,
    ):
        if max_pool not in _POOL_PADDING:
            raise ValueError(f"max_pool must be 'same' or 'symmetric', not {max_pool!r}")
        self.padding = _POOL_PADDING[max_pool]
        self.conv1 = ConvNorm(3, 64, 7, 2, dtype=dtype, rngs=rngs)
        make = functools.partial(_stage, block, dtype=dtype, rngs=rngs)
        self.layer1 = make(64, 64, depths[0], 1)
        self.layer2 = make(64 * block.expansion, 128, depths[1], 2)
        self.layer3 = make(128 * block.expansion, 256, depths[2], 2)
        self.layer4 = make(256 * block.expansion, 512, depths[3], 2)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.conv1(x))
        x = nnx.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding=self.padding)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                x = block(x)
        return x


class Head(nnx.Module):
    """Mean over the image, then a dense layer."""

    def __init__(self, features: int, num_classes: int, *, dtype: DTypeLike | None, rngs: nnx.Rngs):
        self.dense = nnx.Linear(features, num_classes, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dense(x.mean(axis=(1, 2)))


class ResNet(nnx.Module):
    """A ResNet classifier: images ``[N, H, W, 3]`` to logits ``[N, num_classes]``.

    Args:
        block: :class:`BasicBlock` or :class:`Bottleneck`.
        depths: the number of blocks in each of the four stages.
        num_classes: the number of logits.
        max_pool: the padding of the 3x3 max-pool of the stem. MindSpore has both, and no
            parameter tells them apart: ``"same"`` is the ``pad_mode="same"`` of mindcv and
            MindSpore Vision, which for even sizes pads below and on the right only;
            ``"symmetric"`` pads one pixel on each side, as MindSpore Vision's video models and
            PyTorch do.
        dtype: the dtype of the computation; parameters are float32. None: that of the images.
        rngs: the random keys of the initial weights.

    Raises:
        ValueError: ``max_pool`` is unknown.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        depths: tuple[int, int, int, int],
        num_classes: int = 1000,
        *,
        max_pool: MaxPool = "same",
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        self.backbone = Backbone(block, depths, max_pool=max_pool, dtype=dtype, rngs=rngs)
        self.head = Head(512 * block.expansion, num_classes, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.backbone(x))


def _stage(
    block: type[BasicBlock | Bottleneck],
    channels: int,
    width: int,
    depth: int,
    stride: int,
    *,
    dtype: DTypeLike | None,
    rngs: nnx.Rngs,
) -> nnx.List:
    make = functools.partial(block, width=width, dtype=dtype, rngs=rngs)
    later = [make(width * block.expansion, stride=1) for _ in range(depth - 1)]
    return nnx.List([make(channels, stride=stride), *later])


# nn.Pad(mode="SYMMETRIC") repeats the border, which does not change a maximum: -inf is as good.
_POOL_PADDING = {"same": "SAME", "symmetric": ((1, 1), (1, 1))}


def resnet18(num_classes: int = 1000, *, rngs: nnx.Rngs, **options: Any) -> ResNet:
    """ResNet-18; ``options`` are ``max_pool`` and ``dtype`` of :class:`ResNet`."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, rngs=rngs, **options)


def resnet34(num_classes: int = 1000, *, rngs: nnx.Rngs, **options: Any) -> ResNet:
    """ResNet-34; ``options`` are ``max_pool`` and ``dtype`` of :class:`ResNet`."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, rngs=rngs, **options)


def resnet50(num_classes: int = 1000, *, rngs: nnx.Rngs, **options: Any) -> ResNet:
    """ResNet-50; ``options`` are ``max_pool`` and ``dtype`` of :class:`ResNet`."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, rngs=rngs, **options)


def resnet101(num_classes: int = 1000, *, rngs: nnx.Rngs, **options: Any) -> ResNet:
    """ResNet-101; ``options`` are ``max_pool`` and ``dtype`` of :class:`ResNet`."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, rngs=rngs, **options)


def resnet152(num_classes: int = 1000, *, rngs: nnx.Rngs, **options: Any) -> ResNet:
    """ResNet-152; ``options`` are ``max_pool`` and ``dtype`` of :class:`ResNet`."""
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes, rngs=rngs, **options)

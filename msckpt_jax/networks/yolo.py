"""Parts of YOLOv3 and YOLOv4: convolution units, the block before a head, boxes from its output.

Attributes are named as in MindSpore's model zoo (``official/cv/YOLOv3``, ``official/cv/YOLOv4``),
so that the MindSpore convention needs no rename table: ``nnx.Sequential`` stands where the zoo has
a ``SequentialCell``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

Activation = Callable[[jax.Array], jax.Array]

#: The anchors of a feature map: (width, height) in pixels.
Anchors = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def leaky_relu(x: jax.Array) -> jax.Array:
    return nnx.leaky_relu(x, 0.1)


def conv_unit(
    channels: int,
    out: int,
    size: int,
    stride: int = 1,
    *,
    activation: Activation = leaky_relu,
    momentum: float = 0.9,
    dtype: DTypeLike | None,
    rngs: nnx.Rngs,
) -> nnx.Sequential:
    """A convolution that keeps the image size (or halves it), batch normalisation, activation."""
    conv = nnx.Conv(
        channels, out, (size, size), stride, padding="SAME", use_bias=False, dtype=dtype, rngs=rngs
    )
    norm = nnx.BatchNorm(out, momentum=momentum, epsilon=1e-5, dtype=dtype, rngs=rngs)
    return nnx.Sequential(conv, norm, activation)


class Residual(nnx.Module):
    """A 1x1 convolution to ``hidden`` channels and a 3x3 convolution back, beside the identity."""

    def __init__(self, channels: int, hidden: int, **options: Any):
        self.conv1 = conv_unit(channels, hidden, 1, **options)
        self.conv2 = conv_unit(hidden, channels, 3, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.conv2(self.conv1(x))


class YoloBlock(nnx.Module):
    """Six convolutions and the output layer; the results are ``(features, output)``."""

    def __init__(
        self, channels: int, width: int, out: int, *, dtype: DTypeLike | None, rngs: nnx.Rngs
    ):
        conv = functools.partial(conv_unit, dtype=dtype, rngs=rngs)
        self.conv0 = conv(channels, width, 1)
        self.conv1 = conv(width, 2 * width, 3)
        self.conv2 = conv(2 * width, width, 1)
        self.conv3 = conv(width, 2 * width, 3)
        self.conv4 = conv(2 * width, width, 1)
        self.conv5 = conv(width, 2 * width, 3)
        self.conv6 = nnx.Conv(2 * width, out, (1, 1), dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = self.conv3(self.conv2(self.conv1(self.conv0(x))))
        features = self.conv4(x)
        return features, self.conv6(self.conv5(features))


def upsampled(x: jax.Array) -> jax.Array:
    """The image with twice the height and width: each pixel four times."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


def boxes(
    output: jax.Array, anchors: Anchors, height: int, width: int, scale: float = 1.0
) -> jax.Array:
    """Boxes from a head's output ``[N, h, w, 3 * (5 + classes)]``.

    For square images, the boxes are the zoo's. The zoo's YOLOv3 divides a box's width by the
    image's height and the height by the width (``src/yolo.py``, DetectionBlock); here each is
    divided by its own side.

    Args:
        output: the output of the network for a feature map.
        anchors: the anchors of that feature map, in pixels.
        height: the height of the image, in pixels.
        width: the width of the image, in pixels.
        scale: the spread of a centre beyond its cell (YOLOv4); 1.0: it stays inside.

    Returns:
        ``[N, h, w, 3, 5 + classes]``: centre x and y, width and height (all as fractions of the
        image), confidence, and a probability for each class.
    """
    batch, rows, columns, channels = output.shape
    raw = output.reshape(batch, rows, columns, len(anchors), channels // len(anchors))
    y, x = jnp.mgrid[:rows, :columns]
    cell = jnp.stack([x, y], axis=-1)[:, :, None]
    centre = scale * nnx.sigmoid(raw[..., :2]) - (scale - 1) / 2 + cell
    size = jnp.exp(raw[..., 2:4]) * jnp.array(anchors, raw.dtype)
    return jnp.concatenate(
        [
            centre / jnp.array([columns, rows], raw.dtype),
            size / jnp.array([width, height], raw.dtype),
            nnx.sigmoid(raw[..., 4:]),
        ],
        axis=-1,
    )


def all_boxes(
    outputs: Sequence[jax.Array],
    image: jax.Array,
    anchors: Sequence[Anchors],
    scales: Sequence[float] = (1.0, 1.0, 1.0),
) -> list[jax.Array]:
    """The :func:`boxes` of each feature map of ``image`` ``[N, H, W, 3]``."""
    _, height, width, _ = image.shape
    return [
        boxes(output, sizes, height, width, scale)
        for output, sizes, scale in zip(outputs, anchors, scales, strict=True)
    ]

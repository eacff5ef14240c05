"""YOLOv3 on Darknet-53, named as in MindSpore's model zoo (``official/cv/YOLOv3``)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from msckpt_jax.networks import yolo

#: Anchors for the feature maps of stride 32, 16 and 8: (width, height) in pixels.
ANCHORS: tuple[yolo.Anchors, ...] = (
    ((116, 90), (156, 198), (373, 326)),
    ((30, 61), (62, 45), (59, 119)),
    ((10, 13), (16, 30), (33, 23)),
)


class DarkNet(nnx.Module):
    """Darknet-53: features of stride 8, 16 and 32 with 256, 512 and 1024 channels."""

    depths = (1, 2, 8, 8, 4)

    def __init__(self, *, dtype: DTypeLike | None, rngs: nnx.Rngs):
        # The zoo's backbone has ReLU and momentum 0.1, its heads leaky ReLU and 0.9.
        options = {"activation": nnx.relu, "momentum": 0.1, "dtype": dtype, "rngs": rngs}
        self.conv0 = yolo.conv_unit(3, 32, 3, **options)
        for stage, depth in enumerate(self.depths, 1):
            width = 32 * 2**stage
            blocks = [yolo.Residual(width, width // 2, **options) for _ in range(depth)]
            setattr(self, f"conv{stage}", yolo.conv_unit(width // 2, width, 3, 2, **options))
            setattr(self, f"layer{stage}", nnx.Sequential(*blocks))

    def __call__(self, x: jax.Array) -> list[jax.Array]:
        x, features = self.conv0(x), []
        for stage in range(1, 1 + len(self.depths)):
            x = getattr(self, f"layer{stage}")(getattr(self, f"conv{stage}")(x))
            features.append(x)
        return features[-3:]


class FeatureMap(nnx.Module):
    """The backbone and the three heads, from coarse to fine."""

    def __init__(self, out: int, *, dtype: DTypeLike | None, rngs: nnx.Rngs):
        options = {"dtype": dtype, "rngs": rngs}
        block = functools.partial(yolo.YoloBlock, out=out, **options)
        self.backbone = DarkNet(**options)
        self.backblock0 = block(1024, 512)
        self.conv1 = yolo.conv_unit(512, 256, 1, **options)
        self.backblock1 = block(512 + 256, 256)
        self.conv2 = yolo.conv_unit(256, 128, 1, **options)
        self.backblock2 = block(256 + 128, 128)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        fine, middle, coarse = self.backbone(x)
        x, big = self.backblock0(coarse)
        x = jnp.concatenate([yolo.upsampled(self.conv1(x)), middle], axis=-1)
        x, medium = self.backblock1(x)
        x = jnp.concatenate([yolo.upsampled(self.conv2(x)), fine], axis=-1)
        _, small = self.backblock2(x)
        return big, medium, small


class YOLOv3(nnx.Module):
    """The zoo's YOLOV3DarkNet53 of images ``[N, H, W, 3]``, H and W multiples of 32.

    Calling it gives the raw outputs for big, medium and small objects, ``[N, H/s, W/s,
    3 * (5 + num_classes)]`` with strides s of 32, 16 and 8; :meth:`boxes` gives boxes.
    """

    def __init__(self, num_classes: int = 80, *, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        self.feature_map = FeatureMap(3 * (5 + num_classes), dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return self.feature_map(x)

    def boxes(self, x: jax.Array) -> list[jax.Array]:
        """Boxes of the three feature maps, as :func:`msckpt_jax.networks.yolo.boxes` gives."""
        return yolo.all_boxes(self(x), x, ANCHORS)


def yolov3(num_classes: int = 80, *, dtype: DTypeLike | None = None, rngs: nnx.Rngs) -> YOLOv3:
    """YOLOv3 with Darknet-53; parameters are float32, ``dtype`` is that of the computation."""
    return YOLOv3(num_classes, dtype=dtype, rngs=rngs)

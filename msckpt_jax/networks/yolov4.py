"""YOLOv4 on CSPDarknet-53, named as in MindSpore's model zoo (``official/cv/YOLOv4``)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from msckpt_jax.networks import yolo

#: Anchors for the feature maps of stride 32, 16 and 8: (width, height) in pixels.
ANCHORS: tuple[yolo.Anchors, ...] = (
    ((142, 110), (192, 243), (459, 401)),
    ((36, 75), (76, 55), (72, 146)),
    ((12, 16), (19, 36), (40, 28)),
)
#: The spread of a box centre beyond its cell, for the same feature maps.
SCALES = (1.05, 1.1, 1.2)


class CspDarkNet(nnx.Module):
    """CSPDarknet-53: features of stride 8, 16 and 32 with 256, 512 and 1024 channels.

    Each stage halves the image, sends half of the channels through residual blocks and half past
    them, and merges both. The zoo numbers its convolutions in the order of the forward pass: 1 to
    7 are the first stage, then there are five a stage.
    """

    depths = (2, 8, 8, 4)

    def __init__(self, *, dtype: DTypeLike | None, rngs: nnx.Rngs):
        options = {"activation": jax.nn.mish, "dtype": dtype, "rngs": rngs}
        conv = functools.partial(yolo.conv_unit, **options)
        self.conv0 = conv(3, 32, 3)
        self.conv1 = conv(32, 64, 3, 2)
        self.conv2 = conv(64, 64, 1)
        self.conv3 = conv(64, 32, 1)
        self.conv4 = conv(32, 64, 3)
        self.conv5 = conv(64, 64, 1)
        self.conv6 = conv(64, 64, 1)
        self.conv7 = conv(128, 64, 1)
        for stage, depth in enumerate(self.depths, 2):
            width = 16 * 2**stage
            first = 5 * stage - 2
            setattr(self, f"conv{first}", conv(width, 2 * width, 3, 2))
            setattr(self, f"conv{first + 1}", conv(2 * width, width, 1))
            setattr(self, f"conv{first + 2}", conv(width, width, 1))
            setattr(self, f"conv{first + 3}", conv(2 * width, width, 1))
            setattr(self, f"conv{first + 4}", conv(2 * width, 2 * width, 1))
            blocks = [yolo.Residual(width, width, **options) for _ in range(depth)]
            setattr(self, f"layer{stage}", nnx.Sequential(*blocks))

    def __call__(self, x: jax.Array) -> list[jax.Array]:
        x = self.conv1(self.conv0(x))
        deep = self.conv2(x)
        deep = self.conv5(deep + self.conv4(self.conv3(deep)))
        x = self.conv7(_merged(deep, self.conv6(x)))
        features = []
        for stage in range(2, 2 + len(self.depths)):
            x = self._stage(stage, x)
            features.append(x)
        return features[-3:]

    def _stage(self, stage: int, x: jax.Array) -> jax.Array:
        first = 5 * stage - 2
        halve, enter, leave, past, merge = (getattr(self, f"conv{first + i}") for i in range(5))
        x = halve(x)
        return merge(_merged(leave(getattr(self, f"layer{stage}")(enter(x))), past(x)))


class FeatureMap(nnx.Module):
    """Backbone, spatial pyramid pooling, path aggregation up and down, and three heads."""

    def __init__(self, out: int, *, dtype: DTypeLike | None, rngs: nnx.Rngs):
        options = {"dtype": dtype, "rngs": rngs}
        conv = functools.partial(yolo.conv_unit, **options)
        block = functools.partial(yolo.YoloBlock, out=out, **options)
        self.backbone = CspDarkNet(**options)
        self.conv1 = conv(1024, 512, 1)
        self.conv2 = conv(512, 1024, 3)
        self.conv3 = conv(1024, 512, 1)
        self.conv4 = conv(2048, 512, 1)
        self.conv5 = conv(512, 1024, 3)
        self.conv6 = conv(1024, 512, 1)
        self.conv7 = conv(512, 256, 1)
        self.conv8 = conv(512, 256, 1)
        self.backblock0 = block(512, 256)
        self.conv9 = conv(256, 128, 1)
        self.conv10 = conv(256, 128, 1)
        self.conv11 = conv(128, 256, 3, 2)
        self.conv12 = conv(256, 512, 3, 2)
        self.backblock1 = block(256, 128)
        self.backblock2 = block(512, 256)
        self.backblock3 = block(1024, 512)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        fine, middle, coarse = self.backbone(x)
        coarse = self.conv3(self.conv2(self.conv1(coarse)))
        coarse = self.conv6(self.conv5(self.conv4(_pyramid(coarse))))
        up = _merged(yolo.upsampled(self.conv7(coarse)), self.conv8(middle))
        # The output layer of this block is in every file of the zoo, but nothing uses it.
        middle, _ = self.backblock0(up)
        up = _merged(yolo.upsampled(self.conv9(middle)), self.conv10(fine))
        fine, small = self.backblock1(up)
        middle, medium = self.backblock2(_merged(self.conv11(fine), middle))
        _, big = self.backblock3(_merged(self.conv12(middle), coarse))
        return big, medium, small


class YOLOv4(nnx.Module):
    """The zoo's YOLOV4CspDarkNet53 of images ``[N, H, W, 3]``, H and W multiples of 32.

    Calling it gives the raw outputs for big, medium and small objects, ``[N, H/s, W/s,
    3 * (5 + num_classes)]`` with strides s of 32, 16 and 8; :meth:`boxes` gives boxes.
    """

    def __init__(self, num_classes: int = 80, *, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        self.feature_map = FeatureMap(3 * (5 + num_classes), dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return self.feature_map(x)

    def boxes(self, x: jax.Array) -> list[jax.Array]:
        """Boxes of the three feature maps, as :func:`msckpt_jax.networks.yolo.boxes` gives."""
        return yolo.all_boxes(self(x), x, ANCHORS, SCALES)


def yolov4(num_classes: int = 80, *, dtype: DTypeLike | None = None, rngs: nnx.Rngs) -> YOLOv4:
    """YOLOv4 with CSPDarknet-53; parameters are float32, ``dtype`` is that of the computation."""
    return YOLOv4(num_classes, dtype=dtype, rngs=rngs)


def _merged(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.concatenate([left, right], axis=-1)


def _pyramid(x: jax.Array) -> jax.Array:
    """Maxima over windows of 13, 9, 5 and 1 pixels, side by side."""
    pools = [
        nnx.max_pool(x, window_shape=(size, size), strides=(1, 1), padding="SAME")
        for size in (13, 9, 5)
    ]
    return jnp.concatenate([*pools, x], axis=-1)

"""Transforms of the pixels' values and dtype. Floats are computed in MindSpore's order, in float32.

The arithmetic was found by comparing bits with MindSpore 2.10.0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from msckpt_jax.errors import TransformError
from msckpt_jax.transforms import base, checks


class Normalize(base.Transform):
    """Compute ``(image - mean) / std`` per channel, as float32.

    Args:
        mean, std: a value for each channel, or one value for all; in [0, 255], std above 0.
        is_hwc: True if the image is [..., H, W, C] or [H, W]; otherwise it is [..., C, H, W].
    """

    operator = "Normalize"
    has_device = True

    def __init__(self, mean: Sequence[float], std: Sequence[float], is_hwc: bool = True):
        self.mean, self.std = checks.mean_and_std(mean, std)
        checks.kind(is_hwc, (bool,), "is_hwc")
        self.is_hwc = is_hwc

    def apply(self, image: np.ndarray) -> np.ndarray:
        if image.ndim < 2:
            problem = "expected <H, W>, <..., H, W, C> or <..., C, H, W>"
            raise TransformError(f"Normalize: {problem}, found {image.shape}")
        return _normalised(image, self.mean, self.std, self.is_hwc, "Normalize")


def _normalised(
    image: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...], is_hwc: bool, name: str
) -> np.ndarray:
    channels = 1 if image.ndim == 2 else image.shape[-1 if is_hwc else -3]
    if len(mean) not in (1, channels):
        raise TransformError(
            f"{name}: mean and std have {len(mean)} values, and the image {image.shape} has "
            f"{channels} channels"
        )
    centre, width = np.array(mean, np.float32), np.array(std, np.float32)
    values = image.astype(np.float32, order="C")
    if not is_hwc and image.ndim > 2:
        planes = values
        centre, width = centre[:, None, None], width[:, None, None]
    else:  # whole rows at a time: NumPy is slow where the last axis is short
        length = image.shape[-1] if image.ndim == 2 else image.shape[-2] * channels
        planes = values.reshape(values.size // max(length, 1), length)
        centre, width = (np.resize(v, length) for v in (centre, width))
    with np.errstate(all="ignore"):
        planes -= centre
        planes /= width
    return values


class NormalizePad(base.Transform):
    """Compute ``Normalize``, and add a channel of zeros.

    The zeros are the end of the result's memory, as MindSpore 2.10.0 writes them: the last channel
    of [C, H, W], but not of [H, W, C].

    Args:
        mean, std: a value for each channel, or one value for all; in [0, 255], std above 0.
        dtype: the dtype of the result, "float32" or "float16".
        is_hwc: True if the image is [H, W, C] or [H, W]; otherwise it is [C, H, W].
    """

    operator = "NormalizePad"

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        dtype: str = "float32",
        is_hwc: bool = True,
    ):
        self.mean, self.std = checks.mean_and_std(mean, std)
        checks.kind(dtype, (str,), "dtype")
        if dtype not in ("float32", "float16"):
            raise ValueError(f"dtype is {dtype!r}: expected 'float32' or 'float16'")
        self.dtype = dtype
        checks.kind(is_hwc, (bool,), "is_hwc")
        self.is_hwc = is_hwc

    def apply(self, image: np.ndarray) -> np.ndarray:
        base.check_rank(image, "NormalizePad")
        if image.ndim == 2:
            if not self.is_hwc:
                raise TransformError(f"NormalizePad: expected <C, H, W>, found {image.shape}")
            image = image[..., None]
        values = _normalised(image, self.mean, self.std, self.is_hwc, "NormalizePad")
        shape = list(values.shape)
        shape[-1 if self.is_hwc else 0] += 1
        padded = np.zeros(shape, self.dtype)
        with np.errstate(all="ignore"):
            padded.reshape(-1)[: values.size] = values.reshape(-1)
        return padded


class Rescale(base.Transform):
    """Compute ``image * rescale + shift`` as float32, rounded once."""

    operator = "Rescale"

    def __init__(self, rescale: float, shift: float):
        self.rescale = checks.float32(rescale, "rescale")
        self.shift = checks.float32(shift, "shift")

    def apply(self, image: np.ndarray) -> np.ndarray:
        base.check_dtype(image, "Rescale")
        return _scaled(image, self.rescale, self.shift)


def _scaled(image: np.ndarray, scale: float, shift: float) -> np.ndarray:
    # This is OpenCV's fused multiply-add, rounded once: in float64 for float64, else in float32,
    # whose products are exact in float64.
    double = image.dtype == np.float64
    wide = np.longdouble if double else np.float64
    with np.errstate(all="ignore"):
        values = image if double else image.astype(np.float32)
        return (values.astype(wide) * wide(scale) + wide(shift)).astype(np.float32)


_OF_255 = float(np.float32(1 / 255))


class ToTensor(base.Transform):
    """Scale [H, W, C] or [H, W] of 0 to 255 to [C, H, W] of 0 to 1.

    Args:
        output_type: the NumPy dtype of the result.
    """

    operator = "ToTensor"

    def __init__(self, output_type: DTypeLike = np.float32):
        self.output_type = checks.dtype(output_type, "output_type")

    def apply(self, image: np.ndarray) -> np.ndarray:
        base.check_rank(image, "ToTensor")
        base.check_dtype(image, "ToTensor")
        scaled = _scaled(np.atleast_3d(image).transpose(2, 0, 1), _OF_255, 0)
        with np.errstate(all="ignore"):
            return np.ascontiguousarray(scaled.astype(self.output_type))


class TypeCast(base.Transform):
    """Cast any array to ``data_type``, a NumPy dtype."""

    operator = "TypeCast"

    def __init__(self, data_type: DTypeLike):
        self.data_type = checks.dtype(data_type, "data_type")

    def apply(self, image: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return image.astype(self.data_type)


class OneHot(base.Transform):
    """Encode integer labels of shape [] or [N] as [num_classes] or [N, num_classes].

    Args:
        num_classes: the number of classes.
        smoothing_rate: the share that is taken from the class and given to all; with a rate, the
            result is float64, otherwise it has the labels' dtype.
    """

    operator = "OneHot"

    def __init__(self, num_classes: int, smoothing_rate: float = 0.0):
        self.num_classes = checks.whole(num_classes, 1, 2**31 - 1, "num_classes")
        self.smoothing_rate = checks.rate(smoothing_rate, "smoothing_rate")

    def apply(self, image: np.ndarray) -> np.ndarray:
        if image.dtype.kind not in "iu" or image.ndim > 1:
            given = f"{image.dtype} of shape {image.shape}"
            raise TransformError(f"OneHot: expected integers of shape [] or [N], found {given}")
        labels = image.reshape(-1)
        if labels.size and not 0 <= labels.min() <= labels.max() < self.num_classes:
            given = f"{labels.min()} to {labels.max()}"
            raise TransformError(
                f"OneHot: expected labels from 0 to {self.num_classes - 1}, found {given}"
            )
        if self.smoothing_rate and labels.size > 1:
            raise TransformError(
                "OneHot: with a smoothing_rate, MindSpore 2.10.0 marks the class of the last label "
                "only: give one label at a time"
            )
        off = self.smoothing_rate / self.num_classes
        kind = np.dtype(np.float64) if self.smoothing_rate else image.dtype
        hot = np.full((labels.size, self.num_classes), off, kind)
        hot[np.arange(labels.size), labels] = 1 - self.smoothing_rate + off
        return hot[0] if labels.size == 1 else hot  # also for labels of shape [1], as in MindSpore

"""Transforms of the pixels' values and dtype. Floats are computed in MindSpore's order, in float32.

The arithmetic was found by comparing bits with MindSpore 2.10.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from msckpt_jax.errors import TransformError
from msckpt_jax.transforms import base, checks


class Normalize(base.Transform):
    """``(image - mean) / std`` per channel, as float32.

    Args:
        mean, std: a value for each channel, or one for all; in [0, 255], std above 0.
        is_hwc: whether the image is [..., H, W, C] or [H, W]; otherwise it is [..., C, H, W].
    """

    operator = "Normalize"
    has_device = True

    def __init__(self, mean: Any, std: Any, is_hwc: bool = True):
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
    found = image.astype(np.float32, order="C")
    if not is_hwc and image.ndim > 2:
        planes = found
        centre, width = centre[:, None, None], width[:, None, None]
    else:  # whole rows at a time: NumPy is slow where the last axis is short
        length = image.shape[-1] if image.ndim == 2 else image.shape[-2] * channels
        planes = found.reshape(found.size // max(length, 1), length)
        centre, width = (np.resize(v, length) for v in (centre, width))
    with np.errstate(all="ignore"):
        planes -= centre
        planes /= width
    return found


class NormalizePad(base.Transform):
    """``Normalize``, and one more channel of zeros.

    The zeros are the end of the result's memory, as MindSpore 2.10.0 writes them: the last channel
    of [C, H, W], but not of [H, W, C].

    Args:
        mean, std: a value for each channel, or one for all; in [0, 255], std above 0.
        dtype: "float32" or "float16", of the result.
        is_hwc: whether the image is [H, W, C] or [H, W]; otherwise it is [C, H, W].
    """

    operator = "NormalizePad"

    def __init__(self, mean: Any, std: Any, dtype: str = "float32", is_hwc: bool = True):
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
        found = _normalised(image, self.mean, self.std, self.is_hwc, "NormalizePad")
        shape = list(found.shape)
        shape[-1 if self.is_hwc else 0] += 1
        padded = np.zeros(shape, self.dtype)
        with np.errstate(all="ignore"):
            padded.reshape(-1)[: found.size] = found.reshape(-1)
        return padded


class Rescale(base.Transform):
    """``image * rescale + shift`` as float32, rounded once."""

    operator = "Rescale"

    def __init__(self, rescale: float, shift: float):
        self.rescale = checks.float32(rescale, "rescale")
        self.shift = checks.float32(shift, "shift")

    def apply(self, image: np.ndarray) -> np.ndarray:
        base.check_dtype(image, "Rescale")
        return _scaled(image, self.rescale, self.shift)


def _scaled(image: np.ndarray, scale: float, shift: float) -> np.ndarray:
    # OpenCV's fused multiply-add, rounded once: in float64 for float64, else in float32, whose
    # products are exact in float64.
    double = image.dtype == np.float64
    wide = np.longdouble if double else np.float64
    with np.errstate(all="ignore"):
        values = image if double else image.astype(np.float32)
        return (values.astype(wide) * wide(scale) + wide(shift)).astype(np.float32)


_OF_255 = float(np.float32(1 / 255))


class ToTensor(base.Transform):
    """[H, W, C] or [H, W] of 0 to 255, to [C, H, W] of 0 to 1.

    Args:
        output_type: NumPy dtype of the result.
    """

    operator = "ToTensor"

    def __init__(self, output_type: Any = np.float32):
        self.output_type = checks.dtype(output_type, "output_type")

    def apply(self, image: np.ndarray) -> np.ndarray:
        base.check_rank(image, "ToTensor")
        base.check_dtype(image, "ToTensor")
        scaled = _scaled(np.atleast_3d(image).transpose(2, 0, 1), _OF_255, 0)
        with np.errstate(all="ignore"):
            return np.ascontiguousarray(scaled.astype(self.output_type))


class TypeCast(base.Transform):
    """Any array, cast to ``data_type``, a NumPy dtype."""

    operator = "TypeCast"

    def __init__(self, data_type: Any):
        self.data_type = checks.dtype(data_type, "data_type")

    def apply(self, image: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return image.astype(self.data_type)


class OneHot(base.Transform):
    """Labels of shape [] or [N] of an integer dtype, to [num_classes] or [N, num_classes].

    Args:
        num_classes: how many classes there are.
        smoothing_rate: what is taken from the class and given to all; the result is float64 then,
            otherwise it has the labels' dtype.
    """

    operator = "OneHot"

    def __init__(self, num_classes: int, smoothing_rate: float = 0.0):
        self.num_classes = checks.whole(num_classes, 1, 2**31 - 1, "num_classes")
        self.smoothing_rate = checks.rate(smoothing_rate, "smoothing_rate")

    def apply(self, image: np.ndarray) -> np.ndarray:
        if image.dtype.kind not in "iu" or image.ndim > 1:
            found = f"{image.dtype} of shape {image.shape}"
            raise TransformError(f"OneHot: expected integers of shape [] or [N], found {found}")
        labels = image.reshape(-1)
        if labels.size and not 0 <= labels.min() <= labels.max() < self.num_classes:
            found = f"{labels.min()} to {labels.max()}"
            raise TransformError(
                f"OneHot: expected labels from 0 to {self.num_classes - 1}, found {found}"
            )
        if self.smoothing_rate and labels.size > 1:
            raise TransformError(
                "OneHot: with a smoothing_rate, MindSpore 2.10.0 marks the class of the last label "
                "only: give one label at a time"
            )
        off = self.smoothing_rate / self.num_classes
        kind = np.dtype(np.float64) if self.smoothing_rate else image.dtype
        found = np.full((labels.size, self.num_classes), off, kind)
        found[np.arange(labels.size), labels] = 1 - self.smoothing_rate + off
        return found[0] if labels.size == 1 else found  # of [1] too, as in MindSpore

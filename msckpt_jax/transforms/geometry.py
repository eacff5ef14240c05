"""Transforms that move, drop, add or interpolate pixels."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from msckpt_jax.errors import TransformError
from msckpt_jax.transforms import base, checks, opencv
from msckpt_jax.transforms.modes import Border, Inter

# OpenCV's numbers of the interpolations.
_INTERPOLATION = {Inter.NEAREST: 0, Inter.LINEAR: 1, Inter.CUBIC: 2, Inter.AREA: 3}
_MOST_ENLARGED = 1000  # MindSpore's limit


class Resize(base.Transform):
    """Resize [H, W] or [..., H, W, C] to another height and width, as OpenCV's ``resize`` does.

    Args:
        size: (height, width), or the length of the shorter edge, with the ratio kept.
        interpolation: ``ANTIALIAS`` is refused: MindSpore has it for PIL images only.
            ``PILCUBIC`` takes uint8 with three channels.

    Raises:
        TransformError: MindSpore's operator does not take the dtype, or an edge is more than 1000
            times the image's.
    """

    operator = "Resize"
    has_device = True

    def __init__(self, size: int | tuple[int, int], interpolation: Inter = Inter.LINEAR):
        self.size = checks.resize_size(size)
        checks.kind(interpolation, (Inter,), "interpolation")
        if interpolation is Inter.ANTIALIAS:
            raise TypeError("interpolation ANTIALIAS is for PIL images only: use AREA or PILCUBIC")
        self.interpolation = interpolation

    def params(self) -> dict[str, Any]:
        size = [self.size] if isinstance(self.size, int) else list(self.size)
        written = self.interpolation.written
        return {"device_target": "CPU", "interpolation": written, "size": size}

    @classmethod
    def of_params(cls, params: dict[str, Any] | None) -> Resize:
        params = params or {}
        size = params["size"]
        return cls(size[0] if len(size) == 1 else size, Inter.read(params["interpolation"]))

    def apply(self, image: np.ndarray) -> np.ndarray:
        base.check_dtype(image, "Resize")
        parts = base.frames(image, "Resize")
        height, width = self._output_size(*parts.shape[1:3])
        resized = [self._frame(part, height, width) for part in parts]
        return np.stack(resized).reshape(_with_size(image.shape, height, width))

    def _output_size(self, height: int, width: int) -> tuple[int, int]:
        if not height or not width:
            raise TransformError(f"Resize: the image is empty: height {height}, width {width}")
        size = self.size
        if isinstance(size, int):
            # MindSpore computes the longer edge in float32, the ratio first, and truncates it.
            short, wanted = np.float32(min(height, width)), np.float32(size)
            longer = int(np.float32(max(height, width)) / short * wanted)
            size = (longer, size) if width < height else (size, longer)
        if size[0] > _MOST_ENLARGED * height or size[1] > _MOST_ENLARGED * width:
            raise TransformError(
                f"Resize: {size} is more than {_MOST_ENLARGED} times the image's {height, width}"
            )
        return size[0], size[1]

    def _frame(self, image: np.ndarray, height: int, width: int) -> np.ndarray:
        if image.shape[:2] == (height, width):
            return image
        if self.interpolation is Inter.PILCUBIC:
            return _pilcubic(image, height, width)
        flag = _INTERPOLATION[self.interpolation]
        return opencv.call("Resize", "resize", image, (width, height), interpolation=flag)


def _pilcubic(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.dtype != np.uint8 or image.shape[2:] != (3,):
        given = f"{image.dtype} of shape {image.shape}"
        raise TransformError(f"Resize: PILCUBIC takes uint8 of shape [H, W, 3], found {given}")
    from PIL import Image

    # Two calls, rows first, as in MindSpore; in a single call, Pillow chooses the order.
    rows = Image.fromarray(image).resize((width, image.shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(rows.resize((width, height), Image.Resampling.BICUBIC))


class Crop(base.Transform):
    """Crop [H, W] or [H, W, C] to the box of ``size`` at ``coordinates``, (top, left)."""

    operator = "Crop"
    has_device = True

    def __init__(self, coordinates: tuple[int, int], size: int | tuple[int, int]):
        self.coordinates = checks.coordinates(coordinates)
        self.size = checks.crop_size(size)

    def params(self) -> dict[str, Any]:
        # The file has (left, top); the constructor has (top, left), like MindSpore's in Python.
        coordinates = list(self.coordinates[::-1])
        return {"coordinates": coordinates, "device_target": "CPU", "size": list(self.size)}

    @classmethod
    def of_params(cls, params: dict[str, Any] | None) -> Crop:
        params = params or {}
        return cls(params["coordinates"][::-1], params["size"])

    def apply(self, image: np.ndarray) -> np.ndarray:
        base.check_rank(image, "Crop")
        base.check_dtype(image, "Crop")
        (top, left), (height, width) = self.coordinates, self.size
        if top + height > image.shape[0] or left + width > image.shape[1]:
            box = f"rows {top} to {top + height}, columns {left} to {left + width}"
            raise TransformError(f"Crop: the box exceeds the image {image.shape}: {box}")
        return image[top : top + height, left : left + width].copy()


class CenterCrop(base.Transform):
    """Crop [H, W] or [..., H, W, C] to the box of ``size`` in the centre, padded with 0 if smaller.

    Raises:
        TransformError: the padding would be 3 times the image or more, as in MindSpore, or the
            channels to be padded are neither 1 nor 3.
    """

    operator = "CenterCrop"

    def __init__(self, size: int | tuple[int, int]):
        self.size = checks.crop_size(size)

    def apply(self, image: np.ndarray) -> np.ndarray:
        base.check_dtype(image, "CenterCrop")
        parts = [self._frame(part) for part in base.frames(image, "CenterCrop")]
        return np.stack(parts).reshape(_with_size(image.shape, *self.size))

    def _frame(self, image: np.ndarray) -> np.ndarray:
        missing = [want - have for want, have in zip(self.size, image.shape, strict=False)]
        if any(m >= 3 * have for m, have in zip(missing, image.shape, strict=False)):
            raise TransformError(
                f"CenterCrop: {self.size} pads the image {image.shape} by 3 times its size or more"
            )
        if max(missing) > 0:
            top, left = (max(m, 0) - max(m, 0) // 2 for m in missing)
            bottom, right = (max(m, 0) // 2 for m in missing)
            image = Pad((left, top, right, bottom)).apply(image)
        top, left = ((have - want) // 2 for want, have in zip(self.size, image.shape, strict=False))
        return image[top : top + self.size[0], left : left + self.size[1]]


_NUMPY_MODE: dict[Border, Literal["edge", "reflect", "symmetric"]] = {
    Border.EDGE: "edge",
    Border.REFLECT: "reflect",
    Border.SYMMETRIC: "symmetric",
}


class Pad(base.Transform):
    """Add pixels on each side of [H, W], or of [H, W, C] with 1 or 3 channels.

    Args:
        padding: the width of all sides, of (left and right, top and bottom), or of (left, top,
            right, bottom).
        fill_value: the value of a ``CONSTANT`` border, or of each of its three channels.
        padding_mode: the content of the border.
    """

    operator = "Pad"
    has_device = True

    def __init__(
        self,
        padding: int | tuple[int, ...],
        fill_value: int | tuple[int, int, int] = 0,
        padding_mode: Border = Border.CONSTANT,
    ):
        self.padding = checks.padding(padding)
        self.fill_value = checks.fill_value(fill_value)
        checks.kind(padding_mode, (Border,), "padding_mode")
        self.padding_mode = padding_mode

    def apply(self, image: np.ndarray) -> np.ndarray:
        base.check_rank(image, "Pad")
        base.check_dtype(image, "Pad")
        channels = image.shape[2] if image.ndim == 3 else 1
        if channels not in (1, 3):
            raise TransformError(f"Pad: expected 1 or 3 channels, found {channels}")
        if image.dtype == bool:
            image = image.view(np.uint8)  # MindSpore's result is uint8
        left, top, right, bottom = self.padding
        sides = [(top, bottom), (left, right), (0, 0)][: image.ndim]
        if self.padding_mode is not Border.CONSTANT:
            return np.pad(image, sides, mode=_NUMPY_MODE[self.padding_mode])
        height, width = image.shape[:2]
        shape = _with_size(image.shape, top + height + bottom, left + width + right)
        padded = np.empty(shape, image.dtype)
        fill = np.array(self.fill_value).astype(image.dtype)
        padded[:] = fill if channels == 3 else fill[0]
        padded[top : top + height, left : left + width] = image
        return padded


class HorizontalFlip(base.Transform):
    """Flip [H, W] or [..., H, W, C] left to right."""

    operator = "HorizontalFlip"
    has_device = True

    def apply(self, image: np.ndarray) -> np.ndarray:
        base.check_dtype(image, "HorizontalFlip")
        parts = base.frames(image, "HorizontalFlip")
        return parts[:, :, ::-1].reshape(image.shape)


class HWC2CHW(base.Transform):
    """Transpose [H, W, C] to [C, H, W]; [H, W] stays."""

    operator = "HwcToChw"

    def apply(self, image: np.ndarray) -> np.ndarray:
        base.check_rank(image, "HWC2CHW")
        base.check_dtype(image, "HWC2CHW")
        if image.ndim == 3 and image.dtype == np.float16:
            raise TransformError("HWC2CHW: MindSpore's operator does not take float16")
        return np.ascontiguousarray(image.transpose(2, 0, 1)) if image.ndim == 3 else image


def _with_size(shape: tuple[int, ...], height: int, width: int) -> tuple[int, ...]:
    """The shape [H, W] or [..., H, W, C] with another height and width."""
    return (height, width) if len(shape) == 2 else (*shape[:-3], height, width, shape[-1])

"""Transforms of encoded bytes to pixels, and of pixels to another colour space."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from msckpt_jax import display
from msckpt_jax.errors import TransformError
from msckpt_jax.transforms import base, checks, opencv
from msckpt_jax.transforms.modes import ConvertMode

# OpenCV's flags of imdecode.
_COLOUR, _IGNORE_ORIENTATION = 1, 128
_JPEG = b"\xff\xd8\xff"
_OTHERS = (b"\x89PNG", b"BM", b"II*\0", b"MM\0*")  # PNG, BMP, TIFF of either byte order


class Decode(base.Transform):
    """Decode JPEG, PNG, BMP or TIFF bytes to uint8 of shape [H, W, 3] in RGB.

    As in MindSpore, the orientation of EXIF is ignored, alpha dropped, grey made RGB and 16 bits
    made 8. ``to_pil=True`` is refused: MindSpore's export writes it as Python code.
    """

    operator = "Decode"
    has_device = True

    def __init__(self, to_pil: bool = False):
        checks.kind(to_pil, (bool,), "to_pil")
        if to_pil:
            raise ValueError("to_pil=True has no form in a MindIR: decode to an array")

    def params(self) -> dict[str, Any]:
        return {"device_target": "CPU", "rgb": True}

    @classmethod
    def of_params(cls, params: dict[str, Any] | None) -> Decode:
        return cls()

    def __call__(self, image: Any) -> np.ndarray:
        """The decoded image.

        Args:
            image: the encoded bytes, or an array of them: uint8 of shape [N].
        """
        if isinstance(image, bytes | bytearray | memoryview):
            image = np.frombuffer(image, np.uint8)
        if not isinstance(image, np.ndarray):
            raise TypeError(f"Decode takes bytes or a NumPy array, found {type(image).__name__}")
        if image.ndim != 1 or image.dtype != np.uint8:
            given = f"{image.dtype} of shape {image.shape}"
            raise TypeError(f"Decode takes encoded bytes, uint8 of shape [N], found {given}")
        return self.apply(image)

    def apply(self, image: np.ndarray) -> np.ndarray:
        head = image[:4].tobytes()
        if head.startswith(_JPEG):
            return _jpeg(image.tobytes())
        if not head.startswith(_OTHERS):
            raise TransformError("Decode: expected a JPEG, PNG, BMP or TIFF, found other bytes")
        decoded: Any = opencv.call("Decode", "imdecode", image, _COLOUR | _IGNORE_ORIENTATION)
        if decoded is None:
            raise TransformError(
                f"Decode: the image of {display.counted(image.size, 'byte')} is broken or cut short"
            )
        return np.ascontiguousarray(decoded[..., ::-1])


def _jpeg(data: bytes) -> np.ndarray:
    # MindSpore calls libjpeg-turbo itself here; OpenCV's conversion of CMYK differs by 1.
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            return np.array(image.convert("RGB"))
    except (OSError, Image.DecompressionBombError) as error:
        problem = (
            f"Decode: the JPEG of {display.counted(len(data), 'byte')} is broken, cut short or huge"
        )
        raise TransformError(f"{problem}: {error}") from None


class ConvertColor(base.Transform):
    """Convert [H, W] or [H, W, C] of uint8, uint16 or float32 to another colour space."""

    operator = "ConvertColor"
    has_device = True

    def __init__(self, convert_mode: ConvertMode):
        checks.kind(convert_mode, (ConvertMode,), "convert_mode")
        self.convert_mode = convert_mode

    def apply(self, image: np.ndarray) -> np.ndarray:
        base.check_rank(image, "ConvertColor")
        base.check_dtype(image, "ConvertColor")
        return opencv.call("ConvertColor", "cvtColor", image, int(self.convert_mode))

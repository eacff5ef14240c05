"""MindSpore's enumerations of interpolation, border and colour conversion."""

from __future__ import annotations

import enum


class Inter(enum.IntEnum):
    """An interpolation. The values are those of ``mindspore.dataset.vision.Inter``."""

    NEAREST = 0
    ANTIALIAS = 1
    BILINEAR = LINEAR = 2
    BICUBIC = CUBIC = 3
    AREA = 4
    PILCUBIC = 5

    @property
    def written(self) -> int:
        """The number in a MindIR, which is that of MindSpore's C++ enumeration."""
        return _INTER_WRITTEN.index(self)

    @classmethod
    def read(cls, written: int) -> Inter:
        return _INTER_WRITTEN[written]


_INTER_WRITTEN = (Inter.LINEAR, Inter.NEAREST, Inter.CUBIC, Inter.AREA, Inter.PILCUBIC)


class Border(enum.StrEnum):
    """A kind of border. The values are those of ``mindspore.dataset.vision.Border``."""

    CONSTANT = "constant"
    EDGE = "edge"
    REFLECT = "reflect"
    SYMMETRIC = "symmetric"

    @property
    def written(self) -> int:
        """The number in a MindIR, which is that of MindSpore's C++ enumeration."""
        return list(Border).index(self)

    @classmethod
    def read(cls, written: int) -> Border:
        return list(cls)[written]


class ConvertMode(enum.IntEnum):
    """A conversion of colours. The values are MindSpore's, which are OpenCV's, too."""

    COLOR_BGR2BGRA = COLOR_RGB2RGBA = 0
    COLOR_BGRA2BGR = COLOR_RGBA2RGB = 1
    COLOR_BGR2RGBA = COLOR_RGB2BGRA = 2
    COLOR_RGBA2BGR = COLOR_BGRA2RGB = 3
    COLOR_BGR2RGB = COLOR_RGB2BGR = 4
    COLOR_BGRA2RGBA = COLOR_RGBA2BGRA = 5
    COLOR_BGR2GRAY = 6
    COLOR_RGB2GRAY = 7
    COLOR_GRAY2BGR = COLOR_GRAY2RGB = 8
    COLOR_GRAY2BGRA = COLOR_GRAY2RGBA = 9
    COLOR_BGRA2GRAY = 10
    COLOR_RGBA2GRAY = 11

"""Checks of arguments: the types and ranges that MindSpore 2.10.0 accepts.

They raise ``TypeError`` and ``ValueError`` where MindSpore does, and return the argument in its
one stored form.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

_MOST = 2**24  # MindSpore's FLOAT_MAX_INTEGER
_INT32 = 2**31 - 1
#: Data types of MindSpore's data pipeline that hold numbers.
_DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
)  # fmt: skip


def kind(value: Any, types: tuple[type, ...], name: str) -> None:
    """Refuse a value of another type; as everywhere in MindSpore, a bool is no int."""
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        expected = " or ".join(t.__name__ for t in types)
        raise TypeError(f"{name} is {value!r}: expected {expected}, found {type(value).__name__}")


def within(value: float, low: float, high: float, name: str) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}: expected a value in [{low}, {high}]")


def whole(value: Any, low: int, high: int, name: str) -> int:
    kind(value, (int,), name)
    within(value, low, high, name)
    return value


def pair(value: Any, low: int, high: int, name: str) -> tuple[int, int]:
    kind(value, (list, tuple), name)
    if len(value) != 2:
        raise TypeError(f"{name} is {value!r}: expected two ints")
    first, second = (whole(v, low, high, f"{name}[{i}]") for i, v in enumerate(value))
    return first, second


def crop_size(size: Any) -> tuple[int, int]:
    """The (height, width) of a crop; an int means a square."""
    if isinstance(size, list | tuple):
        return pair(size, 1, _MOST, "size")
    edge = whole(size, 1, _MOST, "size")
    return edge, edge


def resize_size(size: Any) -> int | tuple[int, int]:
    """The shorter edge, or (height, width)."""
    if isinstance(size, list | tuple):
        return pair(size, 1, _INT32, "size")
    return whole(size, 1, _MOST, "size")


def coordinates(value: Any) -> tuple[int, int]:
    return pair(value, 0, _INT32, "coordinates")


def padding(value: Any) -> tuple[int, int, int, int]:
    """The padding (left, top, right, bottom); two ints are (left and right, top and bottom)."""
    if not isinstance(value, list | tuple):
        side = whole(value, 0, _INT32, "padding")
        return side, side, side, side
    if len(value) not in (2, 4):
        raise ValueError(f"padding is {value!r}: expected one, two or four ints")
    sides = [whole(v, 0, _INT32, f"padding[{i}]") for i, v in enumerate(value)]
    left, top, right, bottom = sides * (4 // len(sides))
    return left, top, right, bottom


def fill_value(value: Any) -> tuple[int, int, int]:
    if isinstance(value, tuple) and len(value) == 3:
        red, green, blue = (whole(v, 0, 255, f"fill_value[{i}]") for i, v in enumerate(value))
        return red, green, blue
    kind(value, (int,), "fill_value")
    level = whole(value, 0, 255, "fill_value")
    return level, level, level


def mean_and_std(mean: Any, std: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std, rounded to float32, in which MindSpore computes and writes them."""
    for name, values in (("mean", mean), ("std", std)):
        kind(values, (list, tuple), name)
        for index, value in enumerate(values):
            kind(value, (int, float), f"{name}[{index}]")
            within(value, 0, 255, f"{name}[{index}]")
    if len(mean) != len(std):
        raise ValueError(f"mean has {len(mean)} values and std has {len(std)}: expected as many")
    if not len(mean):
        raise ValueError("mean and std are empty: expected a value for each channel")
    if not all(std):
        raise ValueError(f"std is {std!r}: expected values greater than 0")
    return _rounded(mean), _rounded(std)


def float32(value: Any, name: str) -> float:
    """A factor or summand, rounded to float32."""
    kind(value, (float, int), name)
    within(value, -_MOST, _MOST, name)
    return _rounded([value])[0]


def rate(value: Any, name: str) -> float:
    kind(value, (float, int), name)
    within(value, 0, 1, name)
    return float(value)


def dtype(value: Any, name: str) -> str:
    """The name of a NumPy dtype that MindSpore's data pipeline has."""
    try:
        known = None if value is None else np.dtype(value).name
    except (TypeError, ValueError):
        known = None
    if known not in _DTYPES:
        raise TypeError(f"{name} is {value!r}: expected one of {', '.join(_DTYPES)}")
    return known


def _rounded(values: Sequence[numbers.Real | float]) -> tuple[float, ...]:
    return tuple(float(np.float32(v)) for v in values)

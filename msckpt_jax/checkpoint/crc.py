"""CRC32 of pieces computed in any order. isal is 5 times faster than zlib here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from isal import isal_zlib


def of_buffers(buffers: Iterable[Any], value: int = 0) -> int:
    for buffer in buffers:
        value = isal_zlib.crc32(buffer, value)
    return value


def join(pieces: Iterable[tuple[int, int]], value: int = 0) -> int:
    """The CRC32 of the concatenation of pieces given as ``(crc, length)``."""
    for crc, length in pieces:
        value = isal_zlib.crc32_combine(value, crc, length)
    return value


def of_zeros(count: int) -> int:
    """The CRC32 of ``count`` NUL bytes, in a number of steps logarithmic in ``count``."""
    value, power = 0, isal_zlib.crc32(b"\0")
    size = 1
    while count:
        if count & 1:
            value = isal_zlib.crc32_combine(value, power, size)
        power, size, count = isal_zlib.crc32_combine(power, power, size), size * 2, count >> 1
    return value

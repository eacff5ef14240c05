"""Files that differ in the values of their tensors only: the index of one is that of the others.

The files of ranks are often so alike. To read an index is to go from header to header, without a
look at the values: where all other bytes are the same, there is nothing else to be found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from msckpt_jax import dtypes
from msckpt_jax.checkpoint import wire
from msckpt_jax.checkpoint.entries import Entry, Problem
from msckpt_jax.checkpoint.formats.format import Contents, Format
from msckpt_jax.checkpoint.source import Source
from msckpt_jax.errors import CheckpointError

#: The largest number of bytes beside the values that is kept for comparisons.
_MOST_BYTES = 16 << 20
#: The number of files of one size with which another is compared.
_MOST_KNOWN = 4


class _Known(NamedTuple):
    """A file that was read: where the bytes are that are no values, these bytes, the contents."""

    places: np.ndarray
    held: np.ndarray
    contents: Contents


class Twins:
    """The files that were read, for those that are like one of them."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], list[_Known]] = {}

    def contents(self, kind: Format, source: Source, problem: Problem) -> Contents:
        """The contents of a file; files that are alike have the same ``entries``, one object."""
        data = source.data
        if not isinstance(data, memoryview) or _ends_with_a_sum(kind, data):
            return kind.contents(source, problem)
        every = np.frombuffer(data, np.uint8)
        known = self._known.setdefault((kind.name, len(data)), [])
        for places, held, contents in reversed(known):
            if np.array_equal(every[places], held):
                return contents._replace(data=data)
        problems: list[CheckpointError] = []
        contents = kind.contents(source, problems.append)
        for error in problems:
            problem(error)
        if problems or contents.check_sums or contents.nbytes != len(data):
            return contents
        gaps = list(_gaps(contents.entries.values(), len(data)))
        if sum(stop - start for start, stop in gaps) <= _MOST_BYTES:
            places = np.concatenate([np.arange(*gap) for gap in gaps] or [np.arange(0)])
            nothing = memoryview(b"")  # no file stays open for its likes
            known.append(_Known(places, every[places], contents._replace(data=nothing)))
            del known[:-_MOST_KNOWN]
        return contents


def _ends_with_a_sum(kind: Format, data: memoryview) -> bool:
    """Tell whether a check sum seems to follow the contents: it depends on the values."""
    return kind.check_sum_last and bytes(data[-wire.CRC_BYTES :]).startswith(wire.CRC_MARK)


def _gaps(entries: Iterable[Entry], size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of bytes that are no values of arrays; texts are looked at, too."""
    spans = sorted(
        span
        for entry in entries
        if entry.type != dtypes.STRING
        for tensor in entry.tensors
        for span in tensor.spans
    )
    at = 0
    for start, stop in spans:
        if start > at:
            yield at, start
        at = max(at, stop)
    if at < size:
        yield at, size

"""Ranges of bytes: those that lie near each other are read at once, and several at a time."""

from __future__ import annotations

import bisect
import contextlib
import functools
import itertools
import operator
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np

from msckpt_jax import boxes, display
from msckpt_jax.checkpoint.stores.path import StorePath
from msckpt_jax.errors import CheckpointError

#: A range of bytes: its start and its end.
Range: TypeAlias = tuple[int, int]

#: Ranges with fewer bytes between them are read at once: a request takes the time of so many.
NEAR_BYTES = 256 << 10
#: The most bytes of a request, so that several share the work.
REQUEST_BYTES = 8 << 20
#: Requests at a time. They wait for the store, not for a processor.
READERS = 16
#: The bytes of an index that are read first, after a hop, and at most.
FIRST_BYTES, _HOP_BYTES, MOST_AHEAD = 16 << 10, 4 << 10, 1 << 20
#: The most bytes of an index that are kept, and of tensors that are read before they are wanted.
MOST_KEPT, MOST_HELD = 64 << 20, 96 << 20
#: The bytes at the end that are read at once: a check sum, an index.
_LAST_BYTES = 4 << 10


def joined(ranges: Iterable[Range]) -> list[Range]:
    """Return the ranges in order, near ones joined, each of at most :data:`REQUEST_BYTES`."""
    near: list[Range] = []
    for start, stop in sorted(ranges):
        if near and start - near[-1][1] <= NEAR_BYTES:
            near[-1] = near[-1][0], max(stop, near[-1][1])
        elif start < stop:
            near.append((start, stop))
    return [
        (at, min(at + REQUEST_BYTES, stop))
        for start, stop in near
        for at in range(start, stop, REQUEST_BYTES)
    ]


class Held:
    """Ranges of an object that are in memory."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._data: dict[int, bytes] = {}

    def add(self, start: int, data: bytes) -> None:
        if start not in self._data:
            bisect.insort(self._starts, start)
        self._data[start] = data

    def get(self, start: int, stop: int) -> bytes | memoryview | None:
        """The bytes of a range, a view where they lie in one; None if they are not all held."""
        at = bisect.bisect_right(self._starts, start) - 1
        parts: list[memoryview] = []
        begin = start
        while start < stop:
            if not 0 <= at < len(self._starts):
                return None
            first = self._starts[at]
            data = memoryview(self._data[first])[start - first : stop - first]
            if not data:
                return None
            parts.append(data)
            start, at = start + len(data), at + 1
        if len(parts) == 1:
            return parts[0]
        out = b"".join(parts)
        assert len(out) == stop - begin
        return out


class StoreBytes:
    """An object for reading: indexed with ints and slices, as a memoryview is.

    Small reads are those of an index. They hop from header to header: the first bytes after a hop
    are few, and more are read each time that it goes on right behind them.
    """

    def __init__(self, path: StorePath):
        self._path = path
        self._size, self._tag, _ = path.stat()
        self._lock = threading.Lock()
        self._index, self._kept = Held(), 0
        self._ahead, self._next = FIRST_BYTES, 0
        self._held: tuple[Held, ...] = ()

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            return self._small(index, index + 1)[0]
        start, stop, _ = index.indices(self._size)
        if start >= stop:
            return memoryview(b"")
        if stop - start > MOST_AHEAD:
            return self._long(start, stop)
        return memoryview(self._small(start, stop))

    def close(self) -> None:
        """Forget what was read."""
        self._index, self._held = Held(), ()

    @contextlib.contextmanager
    def holding(self, ranges: Iterable[Range]) -> Iterator[None]:
        """Read ranges now, near ones at once, for who reads within them during the block."""
        held = Held()
        parts = joined(ranges)
        for (start, _), data in zip(parts, self._fetched(parts), strict=True):
            held.add(start, data)
        self._held = (*self._held, held)
        try:
            yield
        finally:
            self._held = tuple(each for each in self._held if each is not held)

    def ranges(self, ranges: Sequence[Range]) -> list[memoryview]:
        """The bytes of ranges, from memory where they are held, else read at once where near."""
        known = [self._of_held(*part) for part in ranges]
        missing = [part for part, data in zip(ranges, known, strict=True) if data is None]
        with self.holding(missing) if missing else contextlib.nullcontext():
            out = [self._of_held(*part) if d is None else d
                   for part, d in zip(ranges, known, strict=True)]  # fmt: skip
        assert None not in out
        return [memoryview(data) for data in out if data is not None]

    def _of_held(self, start: int, stop: int) -> bytes | memoryview | None:
        for held in self._held:
            if (data := held.get(start, stop)) is not None:
                return data
        with self._lock:
            return self._index.get(start, stop)

    def _small(self, start: int, stop: int) -> bytes | memoryview:
        with self._lock:
            held = self._index.get(start, stop)
            if held is None:
                data = self._exactly(start, self._end_of_guess(start, stop))
                if self._kept + len(data) > MOST_KEPT:
                    self._index, self._kept = Held(), 0
                self._index.add(start, data)
                self._kept += len(data)
                held = memoryview(data)[: stop - start]
            return held

    def _end_of_guess(self, start: int, stop: int) -> int:
        if start >= self._size - _LAST_BYTES:
            return self._size
        goes_on = 0 <= start - self._next <= 2 * self._ahead or start < self._next < stop
        self._ahead = min(MOST_AHEAD, 2 * self._ahead) if goes_on else _HOP_BYTES
        self._next = min(self._size, max(stop, start + self._ahead))
        return self._next

    def _long(self, start: int, stop: int) -> memoryview:
        """The bytes of a long range, read by several requests at a time."""
        out = memoryview(bytearray(stop - start))
        at = 0
        for data in self._fetched(joined([(start, stop)])):
            out[at : at + len(data)] = data
            at += len(data)
        return out.toreadonly()

    def _fetched(self, parts: Sequence[Range]) -> Iterator[bytes]:
        """Yield the bytes of ranges, read several at a time."""
        if len(parts) == 1:
            return iter([self._exactly(*parts[0])])
        return _readers(os.getpid()).map(lambda part: self._exactly(*part), parts)

    def _exactly(self, start: int, stop: int) -> bytes:
        data = self._path.read(start, stop, self._tag)
        if len(data) != stop - start:
            raise CheckpointError(
                "the file was cut off while it was open",
                file=self._path,
                offset=start,
                expected=display.counted(stop - start, "byte"),
                found=f"{len(data)}",
            )
        return data


@functools.lru_cache(1)
def _readers(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(READERS, "msckpt reader")


class StorePiece:
    """A part of a tensor in an object: indexing reads the runs of bytes that are wanted."""

    def __init__(self, data: StoreBytes, start: int, shape: tuple[int, ...], dtype: np.dtype):
        self.data, self.shape, self.dtype = data, shape, dtype
        self._start = start
        sizes = itertools.accumulate((dtype.itemsize, *reversed(shape[1:])), operator.mul)
        self._strides = tuple(sizes)[::-1] if shape else ()

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        out = np.empty(boxes.shape_of(boxes.from_index(index, self.shape)), self.dtype)
        self.copy_into(out, index)
        return out

    def copy_into(self, out: np.ndarray, index: tuple[slice, ...]) -> None:
        box = boxes.from_index(index, self.shape)
        axis, spans = self._spans(box)
        inner = boxes.shape_of(box[axis:]), self._strides[axis:]
        places = np.ndindex(*boxes.shape_of(box[:axis]))
        for place, data in zip(places, self.data.ranges(spans), strict=True):
            out[(*place, ...)] = np.ndarray(inner[0], self.dtype, data, 0, inner[1])

    def spans(self, box: boxes.Box) -> list[Range]:
        """The ranges of bytes that are read for a box."""
        return self._spans(box)[1]

    def _spans(self, box: boxes.Box) -> tuple[int, list[Range]]:
        """The axis from which on a single range holds all, and the range of each place before."""
        length, axis = self.dtype.itemsize, len(box)
        while axis > 0:
            (low, high), stride = box[axis - 1], self._strides[axis - 1]
            if high - low > 1 and stride - length > NEAR_BYTES:
                break
            length += (high - low - 1) * stride
            axis -= 1
        corner = self._start + sum(
            low * stride for (low, _), stride in zip(box, self._strides, strict=True)
        )
        starts = (
            corner + sum(i * stride for i, stride in zip(place, self._strides, strict=False))
            for place in np.ndindex(*boxes.shape_of(box[:axis]))
        )
        return axis, [(start, start + length) for start in starts]


@contextlib.contextmanager
def holding(wanted: Iterable[tuple[Sequence[boxes.Piece], boxes.Box]]) -> Iterator[None]:
    """Read what boxes of tensors in objects need, near ranges at once, before the block reads them.

    What would need too much memory is left to be read by the block.
    """
    ranges: dict[StoreBytes, list[Range]] = {}
    nbytes = 0
    for pieces, box in wanted:
        if pieces and isinstance(pieces[0][1], np.ndarray):
            continue  # in memory, or mapped
        for part, source in boxes.origins_of(pieces, box):
            if isinstance(source, StorePiece) and nbytes < MOST_HELD:
                known = ranges.setdefault(source.data, [(0, 0)])
                spans = source.spans(part)
                (low, high), (start, stop) = known[-1], (spans[0][0], spans[-1][1])
                nbytes += max(0, stop - max(start, high)) if start >= low else stop - start
                known.extend(spans)
    with contextlib.ExitStack() as stack:
        for data, spans in ranges.items():
            stack.enter_context(data.holding(spans))
        yield

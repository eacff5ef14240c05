"""Windows of tensors by the cells of the stores that they are read from.

A store keeps an array in chunks, each of which is decoded as a whole. A *cell* is a box of chunks,
no more than it takes for long runs in the files that are made of it. A source of pieces that is an
array in a store has the ``chunk``'s shape, begins to decode a box by ``hold(box)``, and forgets it
by ``drop(box)``.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from msckpt_jax import boxes
from msckpt_jax.boxes import Box
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.records import Tensor

#: The bytes of a cell, unless a single chunk, or those of a run of ``RUN_BYTES``, have more.
CELL_BYTES = 16 << 20
#: The least bytes that are worth a write of their own.
RUN_BYTES = 4096


class Cell(NamedTuple):
    """A box of an array in a store, which is decoded as a whole."""

    source: Any
    box: Box

    @property
    def nbytes(self) -> int:
        return boxes.size_of(self.box) * self.source.dtype.itemsize


def are_read(tensor: Tensor) -> bool:
    """Tell whether a tensor is read from a store, by its first element."""
    return any(_read(tensor, ((0, 1),) * len(tensor.shape)))


def sources_of(tensor: Tensor) -> tuple[Any, ...]:
    """The arrays in stores from which a tensor is read."""
    every = _read(tensor, boxes.whole(tensor.shape))
    return tuple(dict.fromkeys(source for _, source in every))


class Window(NamedTuple):
    """A box of a tensor, by the tensor's number, and the cells that it is read from."""

    number: int
    box: Box
    cells: tuple[Cell, ...]


def windows_of(tensors: Sequence[Tensor]) -> Iterator[Window]:
    """Yield windows that make up tensors which are read from the same arrays, by their cells."""
    grid = _Grid(len(sources_of(tensors[0])))
    tiles: dict[tuple[int, ...], tuple[int, ...]] = {}
    windows = []
    for number, tensor in enumerate(tensors):
        if tensor.shape not in tiles:
            tiles[tensor.shape] = grid.tile(tensor)
        limit = max(1, planning.CHUNK_BYTES // tensor.stored.itemsize)
        for tile in boxes.grid(tensor.shape, tiles[tensor.shape]):
            grid.settle(tensor, tile)
            for part in boxes.of_range(boxes.shape_of(tile), 0, boxes.size_of(tile), limit):
                box = tuple((a + o, b + o) for (a, b), (o, _) in zip(part, tile, strict=True))
                cells = grid.cells(tensor, box)
                windows.append((cells[-1:], cells[:1], cells, number, box))
    windows.sort()
    for *_, cells, number, box in windows:
        yield Window(number, box, tuple(map(grid.cell, cells)))


#: A cell as its array's number, and its first index on each axis.
_Key: TypeAlias = tuple[int, tuple[int, ...]]


class _Grid:
    """The cells of arrays, all of a size on each of them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._numbers: dict[Any, int] = {}
        self._arrays: list[tuple[Any, tuple[int, ...]]] = []

    def tile(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape of a box of a tensor that is read from few chunks, in long runs."""
        shape = tensor.shape
        for axis, length in enumerate(shape):
            head, tail = shape[:axis], shape[axis + 1 :]
            least = RUN_BYTES / (math.prod(tail) * tensor.stored.itemsize)

            def read(n: int, head: Any = head, tail: Any = tail) -> int:
                return self._nbytes(tensor, (*head, n, *tail))

            able = [n for n in _halves(length) if n >= least] or [length]
            chosen = min(able, key=lambda n: max(read(n), CELL_BYTES))  # the first of these
            # It goes on to where other chunks begin.
            ends = range(chosen, length + 1)
            shape = *head, ends[bisect.bisect_right(ends, read(chosen), key=read) - 1], *tail
        return shape

    def _nbytes(self, tensor: Tensor, shape: tuple[int, ...]) -> int:
        """The bytes of the chunks that a box at the corner of a tensor is read from."""
        return sum(
            math.prod(_steps(source, box)) * source.dtype.itemsize
            for source, box in _around(tensor, boxes.whole(shape))
        )

    def settle(self, tensor: Tensor, box: Box) -> None:
        """Let the cells of arrays that have none yet hold what is read for a box."""
        if len(self._arrays) == self._count:
            return
        for source, read in _around(tensor, box):
            if source not in self._numbers:
                self._numbers[source] = len(self._arrays)
                self._arrays.append((source, _steps(source, read)))

    def cells(self, tensor: Tensor, box: Box) -> tuple[_Key, ...]:
        """The cells that are read for a box, in order."""
        out: dict[_Key, None] = {}
        for read, source in _read(tensor, box):
            number = self._numbers[source]
            sides = zip(read, self._arrays[number][1], strict=True)
            starts = [range(a // step * step, b, step) for (a, b), step in sides]
            out.update(dict.fromkeys((number, at) for at in itertools.product(*starts)))
        return tuple(sorted(out))

    def cell(self, key: _Key) -> Cell:
        number, at = key
        source, steps = self._arrays[number]
        sides = zip(at, steps, source.shape, strict=True)
        return Cell(source, tuple((a, min(a + step, n)) for a, step, n in sides))


def _read(tensor: Tensor, box: Box) -> Iterator[boxes.Piece]:
    every = boxes.origins_of(tensor.pieces, box)
    return ((part, source) for part, source in every if hasattr(source, "hold"))


def _around(tensor: Tensor, box: Box) -> Iterable[tuple[Any, Box]]:
    """The least box of each source around what is read of it."""
    out: dict[Any, Box] = {}
    for read, source in _read(tensor, box):
        sides = zip(out.get(source, read), read, strict=True)
        out[source] = tuple((min(a, c), max(b, d)) for (a, b), (c, d) in sides)
    return out.items()


def _steps(source: Any, box: Box) -> tuple[int, ...]:
    """The shape of the least box of chunks that holds a box, as if it did not end at an edge."""
    sides = zip(box, source.chunk, strict=True)
    return tuple((-(-stop // n) - start // n) * n for (start, stop), n in sides)


def _halves(length: int) -> Iterator[int]:
    """Yield a length, half of it, and so on to 1."""
    while length > 1:
        yield length
        length = -(-length // 2)
    yield 1

"""The grid by which a layout cuts a tensor: what overlaps a box is found by arithmetic.

A layout cuts each dimension by itself. The cells that overlap a box are hence all combinations of
those that do so along each dimension, and no two boxes have to be compared. Cells have numbers, in
row-major order.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.boxes import Box, Piece


class Grid(NamedTuple):
    """The cells of a tensor.

    Attributes:
        bounds: where the parts of each dimension begin, and its length at the end.
    """

    bounds: tuple[Sequence[int], ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of parts of each dimension."""
        return tuple(len(side) - 1 for side in self.bounds)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return tuple(side[-1] for side in self.bounds)

    def box(self, cell: int) -> Box:
        """The box of a cell."""
        out: list[tuple[int, int]] = []
        for side in reversed(self.bounds):
            cell, at = divmod(cell, len(side) - 1)
            out.append((side[at], side[at + 1]))
        return tuple(reversed(out))

    def shapes(self, cells: np.ndarray) -> np.ndarray:
        """The shapes of cells, one in each row."""
        out = np.empty((len(cells), len(self.bounds)), np.int64)
        for axis in reversed(range(len(self.bounds))):
            cells, at = np.divmod(cells, self.counts[axis])
            out[:, axis] = np.diff(self.bounds[axis])[at]
        return out

    def near(self, box: Box) -> Iterator[tuple[int, Box]]:
        """Yield the numbers and the boxes of the cells that overlap a box."""
        numbers, sides = [], []
        for side, (start, stop) in zip(self.bounds, box, strict=True):
            first, last = bisect.bisect_right(side, start) - 1, bisect.bisect_left(side, stop)
            parts = [at for at in range(first, last) if start < stop and side[at] < side[at + 1]]
            numbers.append(parts)
            sides.append([(side[at], side[at + 1]) for at in parts])
        weights = [math.prod(self.counts[axis + 1 :]) for axis in range(len(self.bounds))]
        pairs = zip(numbers, weights, strict=True)
        places = itertools.product(*([at * weight for at in parts] for parts, weight in pairs))
        return zip(map(sum, places), itertools.product(*sides), strict=True)


class Tiles(Sequence[Piece]):
    """The pieces of a part of a tensor, each found and opened when a box that it overlaps is read.

    Args:
        grid: the cells of the tensor.
        read: the pieces of a cell, by its number, in coordinates that begin at its corner.
        box: the part of the tensor.
    """

    def __init__(self, grid: Grid, read: Callable[[int], Sequence[Piece]], box: Box):
        self._grid, self._read, self._box = grid, read, box

    def near(self, box: Box) -> Iterator[Piece]:
        """Yield the pieces of the cells that overlap a box; they may go on outside of the part."""
        for cell, origin in self._grid.near(boxes.moved(box, self._box)):
            corner = boxes.within(origin, self._box)
            for part, source in self._read(cell):
                yield boxes.moved(part, corner), source

    def restricted(self, box: Box) -> Tiles:
        """The pieces of a part of this part."""
        begins_there = not any(start for start, _ in self._box)
        return Tiles(self._grid, self._read, box if begins_there else boxes.moved(box, self._box))

    def each(self, change: Callable[[Any], Any]) -> Tiles:
        """The same pieces with their sources changed."""

        def read(cell: int) -> list[Piece]:
            return [(box, change(source)) for box, source in self._read(cell)]

        return Tiles(self._grid, read, self._box)

    def __iter__(self) -> Iterator[Piece]:
        return iter(boxes.restrict(self, boxes.whole(boxes.shape_of(self._box))))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]

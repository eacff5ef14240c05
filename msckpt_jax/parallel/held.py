"""The parts of tensors that rank files hold, by the cells of their layouts."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.parallel.grid import Grid
from msckpt_jax.parallel.opened import Alike
from msckpt_jax.parallel.placement import Staged

#: Stands for no rank.
NONE = -1


class Held(NamedTuple):
    """A tensor that is cut by a grid, and a rank whose file holds each cell; ``NONE`` without one.

    ``staged`` says where it would be if no file were missing, ``is_whole`` that none is.
    """

    staged: Staged
    grid: Grid
    ranks: np.ndarray
    is_whole: bool
    box: boxes.Box

    def rank(self, cell: int) -> int:
        return int(self.ranks[cell])

    def read(self, box: boxes.Box) -> Iterator[tuple[int, int]]:
        """Yield the ranks whose files hold parts of a box, and the number of elements of each."""
        for cell, part in self.grid.near(box):
            common = boxes.intersect(part, box)
            if common is not None and self.ranks[cell] != NONE:
                yield self.rank(cell), boxes.size_of(common)

    def missing(self, box: boxes.Box) -> list[int]:
        """The ranks whose files, or those of their replicas, are needed for a box and missing."""
        if self.is_whole:
            return []
        lacked = [cell for cell, _ in self.grid.near(box) if self.ranks[cell] == NONE]
        ranks, cells = self.staged.cells()
        return ranks[np.isin(cells, lacked)].tolist()


class Holders:
    """The files that hold each name, and the first rank that holds each cell of a tensor.

    Args:
        groups: the ranks by the indices of their files.
        ranks: the number of ranks of the strategy; files of further ones are none of its parts.
    """

    def __init__(self, groups: Sequence[Alike], ranks: int) -> None:
        self._groups = groups
        self._by_name: dict[str, list[int]] = {}
        self._group = np.full(ranks, NONE)  # of each rank's file
        for number, group in enumerate(groups):
            self._group[[rank for rank in group.ranks if rank < ranks]] = number
            for name in group.entries:
                self._by_name.setdefault(name, []).append(number)
        self._of_cells = functools.lru_cache(maxsize=256)(self._first)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def groups(self, name: str) -> list[Alike]:
        """The ranks whose files hold a name, by their indices."""
        return [self._groups[number] for number in self._by_name[name]]

    def ranks(self, name: str) -> list[int]:
        """The ranks whose files hold a name."""
        return sorted(rank for group in self.groups(name) for rank in group.ranks)

    def first(self, name: str) -> int:
        """The first rank whose file holds a name."""
        return self._groups[self._by_name[name][0]].ranks[0]

    def of_cells(self, name: str, staged: Staged) -> np.ndarray:
        """The first rank whose file holds each cell of a tensor; ``NONE`` where there is none."""
        return self._of_cells(staged, tuple(self._by_name[name]))

    def _first(self, staged: Staged, numbers: tuple[int, ...]) -> np.ndarray:
        ranks, cells = staged.cells()
        there = self._places(ranks, numbers) != NONE
        first, at = np.unique(cells[there], return_index=True)
        out = np.full(math.prod(staged.layout.splits), NONE)
        out[first] = ranks[there][at]
        return out

    def _places(self, ranks: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
        """The place among ``numbers`` of the group of each rank's file, or ``NONE``."""
        place = np.full(len(self._groups) + 1, NONE)  # the last one is that of no file
        place[[*numbers]] = range(len(numbers))
        return place[self._group[ranks]]

    def misfit(self, name: str, staged: Staged, grid: Grid, type: str) -> int | None:
        """The first rank whose file has a part of another dtype or shape than its cell."""
        ranks, cells = staged.cells()
        places = self._places(ranks, self._by_name[name])
        entries = [group.entries[name] for group in self.groups(name)]
        kinds = [(entry.type, len(entry.shape)) == (type, len(grid.bounds)) for entry in entries]
        shapes = [e.shape if fits else grid.shape for e, fits in zip(entries, kinds, strict=True)]
        held = np.array(shapes, np.int64).reshape(len(entries), len(grid.bounds))
        differs = (held[places] != grid.shapes(cells)).any(1) | ~np.array(kinds)[places]
        wrong = differs & (places != NONE)
        return int(ranks[wrong.argmax()]) if wrong.any() else None

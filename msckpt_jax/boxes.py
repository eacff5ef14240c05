"""Boxes: rectangular parts of an array, and the copying between arrays cut in different ways.

A box is a tuple of ``(start, stop)``, one a dimension. An array that is cut in parts is a list of
*pieces* ``(box, source)``, where ``source`` gives NumPy arrays when indexed with slices. Device
shards of an array in memory and slices of a tensor in a file both are pieces, so that writing and
reading are the same few functions.

Very many pieces need not be a list: a sequence with the methods ``near(box)``, which yields those
that overlap a box, ``each(change)`` and ``restricted(box)`` is not asked for the others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

Box: TypeAlias = tuple[tuple[int, int], ...]
Piece: TypeAlias = tuple[Box, Any]


def whole(shape: Sequence[int]) -> Box:
    return tuple((0, n) for n in shape)


def from_index(index: Sequence[slice], shape: Sequence[int]) -> Box:
    """The box of a tuple of unit-step slices, as shardings give them."""
    return tuple(s.indices(n)[:2] for s, n in zip(index, shape, strict=True))


def shape_of(box: Box) -> tuple[int, ...]:
    return tuple(stop - start for start, stop in box)


def size_of(box: Box) -> int:
    return math.prod(stop - start for start, stop in box)


def slices(box: Box, origin: Box) -> tuple[slice, ...]:
    """The slices that select ``box`` from an array that covers ``origin``."""
    return tuple(slice(a - o, b - o) for (a, b), (o, _) in zip(box, origin, strict=True))


def within(box: Box, origin: Box) -> Box:
    """The box in coordinates that begin at the corner of ``origin``."""
    return tuple((a - o, b - o) for (a, b), (o, _) in zip(box, origin, strict=True))


def moved(box: Box, origin: Box) -> Box:
    """The box, whose coordinates begin at the corner of ``origin``, in those of ``origin``."""
    return tuple((a + o, b + o) for (a, b), (o, _) in zip(box, origin, strict=True))


def intersect(left: Box, right: Box) -> Box | None:
    """The common part of two boxes, or None when it is empty."""
    common = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(left, right, strict=True))
    return common if all(start < stop for start, stop in common) else None


def of_range(shape: Sequence[int], start: int, stop: int, limit: int) -> Iterator[Box]:
    """Cut the elements ``[start, stop)`` in row-major order into boxes of at most ``limit``.

    Each box is contiguous in row-major order and the boxes follow one another, so that a byte
    range of a file becomes a short list of NumPy views.
    """
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    while start < stop:
        count = min(limit, stop - start)
        index, rest = [], start
        for stride in strides:
            index.append(rest // stride)
            rest %= stride
        # The outermost axis along which a run may begin here: all inner indices are 0 and at
        # least one of its rows fits.
        axis = len(shape)
        while axis > 0 and strides[axis - 1] <= count and not any(index[axis:]):
            axis -= 1
        if axis == len(shape):  # 0-d
            yield ()
            return
        rows = min(shape[axis] - index[axis], count // strides[axis])
        yield (
            *((i, i + 1) for i in index[:axis]),
            (index[axis], index[axis] + rows),
            *((0, n) for n in shape[axis + 1 :]),
        )
        start += rows * strides[axis]


def grid(shape: Sequence[int], steps: Sequence[int]) -> Iterator[Box]:
    """Yield the boxes of ``steps`` that make up an array; those at the edges may be smaller."""
    sides = ([(a, min(a + step, n)) for a in range(0, n, step)]
             for n, step in zip(shape, steps, strict=True))  # fmt: skip
    return itertools.product(*sides)


def near(pieces: Sequence[Piece], box: Box) -> Iterable[Piece]:
    """The pieces among which are all that overlap a box."""
    find = getattr(pieces, "near", None)
    return pieces if find is None else find(box)


def each(pieces: Sequence[Piece], change: Callable[[Any], Any]) -> Sequence[Piece]:
    """The pieces with other sources, which are made of theirs."""
    later = getattr(pieces, "each", None)
    return [(box, change(source)) for box, source in pieces] if later is None else later(change)


def gather(pieces: Sequence[Piece], box: Box, out: np.ndarray) -> None:
    """Fill ``out`` (of the shape of ``box``) from the pieces that overlap ``box``.

    Raises:
        ValueError: the pieces do not cover the box exactly once; ``out`` would keep what its
            memory held before.
    """
    covered = 0
    for origin, source in near(pieces, box):
        if origin == box:  # as most tensors are, and small ones count
            copy(out, source, slices(box, box))
            covered += out.size
            continue
        common = intersect(origin, box)
        if common is not None:
            copy(out[(*slices(common, box), ...)], source, slices(common, origin))
            covered += size_of(common)
    if covered != out.size:
        raise ValueError(
            f"the parts of a tensor do not cover {box} exactly once: "
            f"they have {covered} of {out.size} elements"
        )


def copy(out: np.ndarray, source: Any, index: tuple[slice, ...]) -> None:
    """Do ``out[...] = source[index]``; a source that can write into an array does it itself."""
    copy_into = getattr(source, "copy_into", None)
    if copy_into is None:
        out[...] = source[index]
    else:
        copy_into(out, index)


def restrict(pieces: Sequence[Piece], box: Box) -> list[Piece]:
    """The pieces of the part ``box``, in coordinates that begin at its corner."""
    out: list[Piece] = []
    for origin, source in near(pieces, box):
        common = intersect(origin, box)
        if common is not None:
            out.append(
                (within(common, box), part(source, slices(common, origin), shape_of(origin)))
            )
    return out


def part(source: Any, index: tuple[slice, ...], shape: tuple[int, ...]) -> Any:
    """``source[index]``, read at once from memory and later from anything else."""
    if isinstance(source, np.ndarray):
        return source[index] if index else source
    return source if index == slices(whole(shape), whole(shape)) else _Part(source, index)


class _Part:
    """A part of a source that is read when it is indexed."""

    def __init__(self, source: Any, index: tuple[slice, ...]):
        self.source, self.index = source, index

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        return self.source[self._moved(index)]

    def copy_into(self, out: np.ndarray, index: tuple[slice, ...]) -> None:
        copy(out, self.source, self._moved(index))

    def _moved(self, index: tuple[slice, ...]) -> tuple[slice, ...]:
        starts = [s.start for s in self.index]
        return tuple(slice(i.start + o, i.stop + o) for i, o in zip(index, starts, strict=True))

    def origins(self, box: Box) -> Iterator[Piece]:
        starts = [s.start for s in self.index]
        moved = [(a + o, b + o) for (a, b), o in zip(box, starts, strict=True)]
        return origins(self.source, tuple(moved))


def origins(source: Any, box: Box) -> Iterator[Piece]:
    """Yield what is read for a box of a source: boxes of the sources at the bottom, with these.

    A source that reads others says so by a method ``origins(box)``.
    """
    follow = getattr(source, "origins", None)
    if follow is None:
        yield box, source
    else:
        yield from follow(box)


def origins_of(pieces: Sequence[Piece], box: Box) -> Iterator[Piece]:
    """Yield what is read for a box of an array in pieces, as :func:`origins` does."""
    for origin, source in near(pieces, box):
        common = intersect(origin, box)
        if common is not None:
            yield from origins(source, within(common, origin))


def view(pieces: Sequence[Piece], box: Box) -> np.ndarray | None:
    """``box`` as an array without a copy, when one in-memory piece holds all of it."""
    for origin, source in near(pieces, box):
        if isinstance(source, np.ndarray) and all(
            o <= a and b <= p for (a, b), (o, p) in zip(box, origin, strict=True)
        ):
            return source[slices(box, origin)] if box else source  # x[()] is a scalar
    return None

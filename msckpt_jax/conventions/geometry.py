"""Ranges of the atoms of a transform, and the boxes of its tensors that they are.

An axis of a tensor is a list of slots, the slowest first. A slot is an atom, at an offset in a
longer axis where it is one part of several, or a single index where the atom is missing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.boxes import Box, Piece


class Slot(NamedTuple):
    """A part of an axis.

    Attributes:
        atom: the number of the atom that lies here; None for a single index.
        size: the length of the slot.
        start: the first index of the atom, or the single index.
        loop: the loop that gives the single index (``"e"``: the expert), for :meth:`Transform.at`.
    """

    atom: int | None
    size: int
    start: int = 0
    loop: str = ""


Axis: TypeAlias = tuple[Slot, ...]
#: The range of each atom.
Ranges: TypeAlias = dict[int, tuple[int, int]]


def order(axes: Sequence[Axis]) -> list[int]:
    """The atoms of a tensor, the slowest first."""
    return [slot.atom for axis in axes for slot in axis if slot.atom is not None]


def of_box(axes: Sequence[Axis], atoms: Sequence[int], box: Box) -> Iterator[Ranges]:
    """Cut a box into ranges of atoms."""
    parts = (list(_of_axis(axis, atoms, *side)) for axis, side in zip(axes, box, strict=True))
    for chosen in itertools.product(*parts):
        ranges: Ranges = {}
        for part in chosen:
            ranges |= part
        yield ranges


def _of_axis(axis: Axis, atoms: Sequence[int], start: int, stop: int) -> Iterator[Ranges]:
    parts: Iterable[Box] = [((start, stop),)]
    if len(axis) != 1:
        sizes = [slot.size for slot in axis]
        parts = boxes.of_range(sizes, start, stop, max(1, stop - start))
    for part in parts:
        ranges: Ranges = {}
        for slot, (a, b) in zip(axis, part, strict=True):
            length = 1 if slot.atom is None else atoms[slot.atom]
            low, high = max(a - slot.start, 0), min(b - slot.start, length)
            if low >= high:
                break
            if slot.atom is not None:
                ranges[slot.atom] = low, high
        else:
            yield ranges


def held(
    axes: Sequence[Axis], atoms: Sequence[int], ranges: Ranges, pieces: Sequence[Piece]
) -> Iterator[tuple[Ranges, np.ndarray]]:
    """Yield those of the ranges that each piece of a tensor has, and the elements there."""
    bounds = cover(axes, ranges)[0]
    for origin, source in boxes.near(pieces, bounds):
        common = boxes.intersect(origin, bounds)
        if common is None:
            continue
        cut = [ranges]
        if common != bounds:
            every = of_box(axes, atoms, origin)
            cut = [own for each in every if (own := _common(ranges, each))]
        for own in cut:
            inner, shape, chosen = cover(axes, own)
            yield own, np.asarray(source[boxes.slices(inner, origin)]).reshape(shape)[chosen]


def _common(left: Ranges, right: Ranges) -> Ranges | None:
    """The ranges that both have, or None where that is nothing."""
    out = {atom: (max(a, right[atom][0]), min(b, right[atom][1])) for atom, (a, b) in left.items()}
    return out if all(a < b for a, b in out.values()) else None


def count(ranges: Ranges) -> int:
    """The number of elements."""
    return math.prod(b - a for a, b in ranges.values())


def _span(slot: Slot, ranges: Ranges) -> tuple[int, int]:
    """The indices in a slot for these ranges of atoms."""
    low, high = (0, 1) if slot.atom is None else ranges[slot.atom]
    return slot.start + low, slot.start + high


def cover(axes: Sequence[Axis], ranges: Ranges) -> tuple[Box, list[int], tuple]:
    """The least box around these ranges, its shape by slots, and where its elements are there."""
    box: list[tuple[int, int]] = []
    shape: list[int] = []
    chosen: list[int | slice] = []
    for axis in axes:
        spans = [_span(slot, ranges) for slot in axis]
        if len(axis) == 1:
            start, stop = spans[0]
            box.append((start, stop))
            shape.append(stop - start)
            chosen.append(slice(None) if axis[0].atom is not None else 0)
            continue
        strides = [math.prod(slot.size for slot in axis[n + 1 :]) for n in range(len(axis))]
        first = next((n for n, (a, b) in enumerate(spans) if b - a > 1), len(axis) - 1)
        base = sum(a * stride for (a, _), stride in zip(spans[:first], strides, strict=False))
        if axis:
            start, stop = spans[first]
            box.append((base + start * strides[first], base + stop * strides[first]))
        else:
            box.append((0, 1))
        for number, (slot, (a, b)) in enumerate(zip(axis, spans, strict=True)):
            if number <= first:
                a, b = 0, b - a
            shape.append(b if number <= first else slot.size)
            chosen.append(slice(a, b) if slot.atom is not None else a)
    return tuple(box), shape, (*chosen, ...)


def chunks(ranges: Ranges, order: Sequence[int], limit: int) -> Iterator[Ranges]:
    """Cut ranges of atoms along the first of them, until none has more than ``limit`` elements."""
    size = count(ranges)
    if size <= limit or not order:
        yield ranges
        return
    atom, *inner = order
    start, stop = ranges[atom]
    step = max(1, limit * (stop - start) // size)
    for at in range(start, stop, step):
        part = ranges | {atom: (at, min(at + step, stop))}
        yield from chunks(part, inner if step == 1 else (), limit)


def exact(axes: Sequence[Axis], ranges: Ranges) -> Iterator[Ranges]:
    """Cut ranges of atoms until they are a box in these axes."""
    for axis in axes:
        spread = [_span(slot, ranges) for slot in axis]
        partial = [n for n, (slot, (a, b)) in enumerate(zip(axis, spread, strict=True))
                   if b - a < slot.size]  # fmt: skip
        for number in range(partial[-1] if partial else 0):
            start, stop = spread[number]
            if stop - start > 1:
                atom = axis[number].atom
                assert atom is not None
                for index in range(*ranges[atom]):
                    yield from exact(axes, ranges | {atom: (index, index + 1)})
                return
    yield ranges

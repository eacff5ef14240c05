"""A rearrangement of the elements of one tensor into another, as a map between boxes of both.

Both tensors are cut into the same *atoms*, axes that keep together. Each axis of either side is a
list of slots, the slowest first; a slot is an atom, at an offset in a longer axis where it is one
part of several, or a single index where the atom is missing on the other side. All that converters
of checkpoints do to a matrix is that: transposes, splits and merges of axes, interleaved halves,
stacked layers and experts, parts of a concatenation, padding. Two transforms of one tensor make a
transform between their results (:meth:`Transform.between`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import ml_dtypes
import numpy as np

from msckpt_jax import boxes
from msckpt_jax.boxes import Box, Piece
from msckpt_jax.conventions import geometry, tiles
from msckpt_jax.conventions.geometry import Axis, Slot
from msckpt_jax.errors import CheckpointError

#: The elements that are changed at a time: in float32 they stay in the cache.
_BLOCK = 1 << 16


class Step(NamedTuple):
    """A change of the values, in float32, and what undoes it, like ``("multiply", 3.0)``."""

    do: tuple[str, float]
    undo: tuple[str, float]

    @property
    def inverse(self) -> Step:
        return Step(self.undo, self.do)


_APPLY: dict[str, Callable[[Any, np.generic], Any]] = {
    "multiply": lambda x, by: x * by,
    "divide": lambda x, by: x / by,
    "add": lambda x, by: x + by,
}


def changed(values: Any, steps: Iterable[Step], dtype: np.dtype) -> Any:
    """The values, an array of NumPy or JAX of this dtype, after the steps."""
    for (kind, by), _ in steps:
        values = _APPLY[kind](values, dtype.type(by))
    return values


class ApartError(ValueError):
    """Two parts of a tensor have no element in common."""


class Transform(NamedTuple):
    """The elements of one tensor (left) in another one (right).

    Attributes:
        atoms: the lengths of the atoms.
        left, right: the axes of both sides.
        steps: the changes of the values on the way from left to right.
        text: the notation, for reports.
        loops: the indices of its loops, as :meth:`at` gives them.
    """

    atoms: tuple[int, ...]
    left: tuple[Axis, ...]
    right: tuple[Axis, ...]
    steps: tuple[Step, ...] = ()
    text: str = "as it is"
    loops: tuple[tuple[str, int], ...] = ()

    @property
    def inverse(self) -> Transform:
        steps = tuple(step.inverse for step in reversed(self.steps))
        return Transform(self.atoms, self.right, self.left, steps, self.text, self.loops)

    @property
    def size(self) -> int:
        """The number of elements that both tensors have in common."""
        return math.prod(self.atoms)

    def at(self, index: Mapping[str, int]) -> Transform:
        """The transform for these indices of its loops, such as ``{"e": 3}`` for an expert."""
        loops = tuple(index.items())
        return Transform(self.atoms, self.left, self.right, self.steps, self.text, loops)

    def placed(self) -> Transform:
        """The transform with the indices of its loops in its slots: most are made, few are used."""
        if not self.loops:
            return self

        index = dict(self.loops)

        def placed(axis: Axis) -> Axis:
            return tuple(s._replace(start=index.get(s.loop, s.start)) if s.loop else s
                         for s in axis)  # fmt: skip

        left, right = (tuple(map(placed, side)) for side in (self.left, self.right))
        return Transform(self.atoms, left, right, self.steps, self.text)

    @property
    def is_identity(self) -> bool:
        """True where both tensors are the same."""
        return self.left == self.right and not self.steps and all(
            len(axis) < 2 and all(slot.atom is not None and slot.size == self.atoms[slot.atom]
                                  for slot in axis) for axis in self.left
        )  # fmt: skip

    def shape(self) -> tuple[int, ...]:
        """The shape of the right."""
        return tuple(math.prod(slot.size for slot in axis) for axis in self.right)

    def bounds(self) -> Box:
        """The least box of the left that holds all elements."""
        every = {atom: (0, n) for atom, n in enumerate(self.atoms)}
        return geometry.cover(self.placed().left, every)[0]

    def reads(self, box: Box) -> Iterator[Box]:
        """Yield the boxes of the left that :meth:`pull` reads for a box of the right."""
        _, left, right, *_ = self.placed()
        for ranges in geometry.of_box(right, self.atoms, box):
            yield geometry.cover(left, ranges)[0]

    def windows(self, box: Box, limit: int) -> Iterator[Box]:
        """Yield boxes of the left, which make up ``box``, along the rows of the right.

        Each has at most ``limit`` elements, unless a single element of the right's rows has more.
        """
        order, left = geometry.order(self.right), self.placed().left
        for ranges in geometry.of_box(left, self.atoms, box):
            for part in geometry.chunks(ranges, order, limit):
                for exact in geometry.exact(left, part):
                    yield geometry.cover(left, exact)[0]

    def forth(self, box: Box) -> Iterator[tuple[Box, Box]]:
        """Yield boxes of the left, which make up ``box``, and the same elements on the right."""
        _, left, right, *_ = self.placed()
        for ranges in geometry.of_box(left, self.atoms, box):
            for exact in geometry.exact((*left, *right), ranges):
                yield geometry.cover(left, exact)[0], geometry.cover(right, exact)[0]

    def pull(self, box: Box, pieces: Sequence[Piece], out: np.ndarray) -> None:
        """Fill ``out``, the ``box`` of the right, from the pieces of the left.

        Elements of the right that the left has not are left alone.

        Raises:
            ValueError: the pieces do not cover these elements exactly once.
        """
        _, left, right, *_ = self.placed()
        atoms = geometry.order(left)
        order = [atoms.index(atom) for atom in geometry.order(right)]
        for ranges in geometry.of_box(right, self.atoms, box):
            held, size = 0, geometry.count(ranges)
            for own, part in geometry.held(left, self.atoms, ranges, pieces):
                target, shape, chosen = geometry.cover(right, own)
                place = out[(*boxes.slices(target, box), ...)].reshape(shape)[chosen]
                self._move(part.transpose(order), place)
                held += place.size
            if held != size:
                raise ValueError(f"the parts of a tensor do not cover {box} exactly once: "
                                 f"they have {held} of {size} elements")  # fmt: skip

    def _move(self, part: np.ndarray, place: np.ndarray) -> None:
        """Put elements of the left in their place on the right."""
        if not self.steps:
            tiles.copy(place, part)
            return
        held = place if np.can_cast(part.dtype, place.dtype) else np.empty(part.shape, part.dtype)
        tiles.copy(held, part)
        for block in boxes.of_range(place.shape, 0, place.size, _BLOCK):
            index = (*boxes.slices(block, boxes.whole(place.shape)), ...)
            place[index] = self._changed(held[index], place.dtype)

    def _changed(self, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """The values after the steps, in float32, or in float64 for float64."""
        wide = np.dtype(np.float64 if dtype == np.float64 else np.float32)
        before = values.astype(wide)
        with np.errstate(over="ignore", invalid="ignore"):
            out = changed(before, self.steps, wide)
            most = float(ml_dtypes.finfo(dtype).max)
            if not (-most <= out.min() and out.max() <= most):  # or there is a NaN
                over = np.isfinite(before) & ~(np.abs(out) <= most)
                if over.any():
                    raise CheckpointError(
                        f"values do not fit {dtype} when they are scaled ({self.text})",
                        expected=f"{-most} to {most}", found=out[over][0],
                    )  # fmt: skip
        return out


def between(first: Transform, second: Transform) -> Transform:
    """The transform from the right of ``first`` to the right of ``second``: their lefts are one.

    Elements that either of them lacks are left out.

    Raises:
        ApartError: there is no element in common.
        ValueError: there is no common refinement of an axis.
    """
    source, goal = Workpiece.of(first), Workpiece.of(second)
    atoms: list[int] = []
    kept: tuple[Kept, Kept] = {}, {}
    for axis in range(len(first.left)):
        _align(source, goal, axis)
        for a, b in zip(source.left[axis], goal.left[axis], strict=True):
            low = max(a.start, b.start)
            high = min(a.start + source.length(a), b.start + goal.length(b))
            if low >= high:
                raise ApartError("two parts of a tensor have no element in common")
            both = a.atom is not None and b.atom is not None
            for slot, remains in ((a, kept[0]), (b, kept[1])):
                if slot.atom is not None:
                    remains[slot.atom] = len(atoms) if both else None, low - slot.start
            if both:
                atoms.append(high - low)
    steps = first.inverse.steps + second.steps
    return Transform(tuple(atoms), _kept(source.right, kept[0]), _kept(goal.right, kept[1]), steps)


#: By the numbers of atoms: the number of the part that remains (None: a single index that the
#: other side lacks), and where it begins.
Kept: TypeAlias = dict[int, tuple[int | None, int]]


def _kept(axes: Sequence[Sequence[Slot]], kept: Kept) -> tuple[Axis, ...]:
    def renumbered(slot: Slot) -> Slot:
        if slot.atom is None:
            return slot
        atom, skipped = kept[slot.atom]
        return slot._replace(atom=atom, start=slot.start + skipped)

    return tuple(tuple(map(renumbered, axis)) for axis in axes)


class Workpiece:
    """A transform while its axes are cut and moved."""

    def __init__(self, atoms: Sequence[int], left: Sequence[Axis], right: Sequence[Axis]):
        self.atoms = list(atoms)
        self.left = [list(axis) for axis in left]
        self.right = [list(axis) for axis in right]

    @classmethod
    def of(cls, transform: Transform) -> Workpiece:
        return cls(transform.atoms, transform.left, transform.right)

    def length(self, slot: Slot) -> int:
        return 1 if slot.atom is None else self.atoms[slot.atom]

    def cut(self, slots: list[Slot], number: int, inner: int) -> None:
        """Cut a slot in two, on both sides; the second one has length ``inner``.

        Raises:
            ValueError: the slot cannot be cut there.
        """
        slot = slots[number]
        if slot.atom is None:
            slots[number : number + 1] = self._halves(slot, inner)
            return
        for axis in (*self.left, *self.right):
            for at, each in enumerate(axis):
                if each.atom == slot.atom:
                    axis[at : at + 1] = self._halves(each, inner)
                    break
        self.atoms.append(inner)
        self.atoms[slot.atom] //= inner

    def _halves(self, slot: Slot, inner: int) -> list[Slot]:
        size, start = divmod(slot.size, inner), divmod(slot.start, inner)
        if slot.atom is None and not slot.loop and not size[1]:
            return [Slot(None, size[0], start[0]), Slot(None, inner, start[1])]
        if slot.loop or size[1] or start[1] or self.length(slot) % inner:
            raise ValueError(f"a part of an axis, {slot.size} long, cannot be cut at {inner}")
        return [Slot(slot.atom, size[0], start[0]), Slot(len(self.atoms), inner)]


def _align(source: Workpiece, goal: Workpiece, axis: int) -> None:
    """Cut the slots of an axis of the left until both have slots of the same sizes."""
    mine, theirs = source.left[axis], goal.left[axis]
    number = 1
    while number <= max(len(mine), len(theirs)):
        a, b = mine[-number].size, theirs[-number].size
        if a > b:
            source.cut(mine, len(mine) - number, b)
        elif b > a:
            goal.cut(theirs, len(theirs) - number, a)
        number += 1

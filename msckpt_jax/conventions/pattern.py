"""The layout of a Flax leaf in a MindSpore parameter, in the notation of einops.

``"h w i o -> o i h w"`` names the leaf's axes and gives their new order. ``(h d)`` merges axes,
``1`` is a new axis of size one, ``-h`` runs backwards. A pattern works on boxes, so that any part
of either side is made from those parts of the other side that it needs, and no more.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.boxes import Box

#: A box of the leaf and the box of the parameter that holds the same elements.
Pair: TypeAlias = tuple[Box, Box]
#: A box of some axes of the leaf and the range of the parameter's axis that they are merged into.
_Side: TypeAlias = tuple[Box, tuple[int, int]]


class Pattern(NamedTuple):
    """A rearrangement of axes.

    Attributes:
        text: the notation.
        groups: for each axis of the parameter, the leaf's axes in it, the slowest first.
        flipped: the leaf's axes that run backwards in the parameter.
        negated: True if the parameter has the opposite sign.
        fixed: further axes of the leaf, of which the parameter has one index each.
    """

    text: str
    groups: tuple[tuple[int, ...], ...]
    flipped: frozenset[int] = frozenset()
    negated: bool = False
    fixed: tuple[tuple[int, int], ...] = ()

    @property
    def is_identity(self) -> bool:
        if self.flipped or self.negated or self.fixed:
            return False
        return self.groups == tuple((i,) for i in range(len(self.groups)))

    @property
    def order(self) -> list[int]:
        """The leaf's axes in the order of the parameter, the fixed ones first."""
        return [axis for axis, _ in self.fixed] + [axis for g in self.groups for axis in g]

    def inside(self, at: Mapping[int, int]) -> Pattern:
        """The pattern of a leaf that has the axes ``at`` more, for one index on each."""
        count = len(self.order) + len(at)
        free = [axis for axis in range(count) if axis not in at]
        groups = tuple(tuple(free[axis] for axis in group) for group in self.groups)
        flipped = frozenset(free[axis] for axis in self.flipped)
        fixed = tuple(sorted(at.items()))
        return self._replace(groups=groups, flipped=flipped, fixed=fixed)

    def shape(self, leaf: Sequence[int]) -> tuple[int, ...]:
        """The shape of the parameter for a leaf of shape ``leaf``."""
        return tuple(math.prod(leaf[axis] for axis in group) for group in self.groups)

    def forth(self, box: Box, leaf: Sequence[int]) -> Iterator[Pair]:
        """Yield the pairs that make up ``box`` of a leaf of shape ``leaf``."""
        if any(not box[axis][0] <= at < box[axis][1] for axis, at in self.fixed):
            return iter(())
        turned = self._turn(box, leaf)
        return self._pairs(leaf, [_merged([turned[a] for a in g], [leaf[a] for a in g])
                                  for g in self.groups])  # fmt: skip

    def back(self, box: Box, leaf: Sequence[int]) -> Iterator[Pair]:
        """Yield the pairs that make up ``box`` of the parameter of a leaf of shape ``leaf``."""
        return self._pairs(leaf, [_split(side, [leaf[a] for a in g])
                                  for side, g in zip(box, self.groups, strict=True)])  # fmt: skip

    def arrange(self, part: np.ndarray) -> np.ndarray:
        """Rearrange the leaf's side of a :data:`Pair` to the layout of the parameter."""
        turned = self._turned(part)
        return turned.transpose(self.order).reshape(self.shape(part.shape))

    def restore(self, part: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Rearrange the parameter's side of a :data:`Pair` to the layout of the leaf, ``shape``."""
        order = self.order
        loose = part.reshape([shape[axis] for axis in order])
        return self._turned(loose.transpose(np.argsort(order)))

    def _pairs(self, leaf: Sequence[int], sides: Sequence[list[_Side]]) -> Iterator[Pair]:
        for chosen in itertools.product(*sides):
            ends = {axis: (at, at + 1) for axis, at in self.fixed}
            for group, (ranges, _) in zip(self.groups, chosen, strict=True):
                ends.update(zip(group, ranges, strict=True))
            box = tuple(ends[axis] for axis in range(len(leaf)))
            yield self._turn(box, leaf), tuple(side for _, side in chosen)

    def _turn(self, box: Box, leaf: Sequence[int]) -> Box:
        return tuple(
            (leaf[axis] - b, leaf[axis] - a) if axis in self.flipped else (a, b)
            for axis, (a, b) in enumerate(box)
        )

    def _turned(self, part: np.ndarray) -> np.ndarray:
        turned = np.flip(part, tuple(self.flipped)) if self.flipped else part
        return -turned if self.negated else turned


def _merged(ranges: Sequence[tuple[int, int]], sizes: Sequence[int]) -> list[_Side]:
    """Cut a box of several axes so that each part is contiguous when the axes are merged."""
    cut = [axis for axis, n in enumerate(sizes) if ranges[axis] != (0, n)]
    last = cut[-1] if cut else 0
    if not sizes:
        return [((), (0, 1))]
    inner = math.prod(sizes[last + 1 :])
    out: list[_Side] = []
    for index in itertools.product(*(range(a, b) for a, b in ranges[:last])):
        row = 0
        for at, n in zip(index, sizes, strict=False):
            row = row * n + at
        start, stop = ((row * sizes[last] + at) * inner for at in ranges[last])
        out.append(((*((at, at + 1) for at in index), *ranges[last:]), (start, stop)))
    return out


def _split(side: tuple[int, int], sizes: Sequence[int]) -> list[_Side]:
    """Cut a range of a merged axis so that each part is a box of the axes in it."""
    start, out = side[0], []
    for box in boxes.of_range(sizes, *side, max(1, side[1] - side[0])):
        stop = start + boxes.size_of(box)
        out.append((box, (start, stop)))
        start = stop
    return out or [(tuple((0, 0) for _ in sizes), side)]  # without elements


@functools.lru_cache(256)
def parse(text: str) -> Pattern:
    """The pattern of a text like ``"h w i o -> o i h w"``."""
    left, right = text.split("->")
    axes = left.split()
    groups, flipped = [], set()
    for token in re.findall(r"\([^)]*\)|\S+", right):
        names = [] if token == "1" else token.strip("()").split()
        flipped |= {axes.index(name[1:]) for name in names if name.startswith("-")}
        groups.append(tuple(axes.index(name.lstrip("-")) for name in names))
    assert sorted(axis for group in groups for axis in group) == list(range(len(axes))), text
    return Pattern(text, tuple(groups), frozenset(flipped))


@functools.lru_cache(32)
def identity(ndim: int) -> Pattern:
    """The pattern that keeps a leaf's layout."""
    return Pattern("as it is", tuple((axis,) for axis in range(ndim)))


@functools.lru_cache(64)
def general(inputs: int, outputs: int) -> Pattern:
    """The pattern of a kernel over several axes: MindSpore has a single in- and out-axis."""
    names = [f"i{n}" for n in range(inputs)], [f"o{n}" for n in range(outputs)]
    left, right = map(" ".join, names)
    return parse(f"{left} {right} -> ({right}) ({left})" if inputs else f"{right} -> ({right})")

"""The parts of an object: whole stretches of a plan, large enough for any store."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.plan import Part, Plan, Range
from msckpt_jax.checkpoint.records import Tensor

#: The bytes of a part, unless there would be too many. S3 wants 5 MiB, and at most 10,000 parts.
PART_BYTES, MOST_PARTS = 8 << 20, 6_000
#: The least and the most of a part, beside what it should have.
_LEAST, _MOST = 5 / 8, 3 / 2

#: The elements of a tensor, in order, at which those of another holder begin.
Edges: TypeAlias = Callable[[Tensor], np.ndarray]


class Stretch(NamedTuple):
    """Consecutive bytes of a file that are uploaded together, and the parts that hold them."""

    offset: int
    nbytes: int
    parts: list[Part]


def stretches(plan: Plan, edges: Edges | None = None) -> list[Stretch]:
    """Cut a plan into stretches of about :data:`PART_BYTES`, none within an element.

    They end at ``edges`` and between tensors, where these are near, so that a stretch is held by
    one. A file that is smaller is a single one; so is what is left over at the end, with the last.
    """
    size = max(PART_BYTES, -(-plan.nbytes // MOST_PARTS))
    least = -int(-_LEAST * size // 1)
    starts = [0, *itertools.accumulate(planning.size_of(part) for part in plan.parts)]
    cuts = [0]
    while plan.nbytes - cuts[-1] >= size + least:
        cuts.append(_cut_near(plan, starts, cuts[-1], size, least, edges))
    cuts.append(plan.nbytes)
    return [
        Stretch(start, stop - start, [*_between(plan, starts, start, stop)])
        for start, stop in itertools.pairwise(cuts)
    ]


def _cut_near(
    plan: Plan, starts: Sequence[int], begin: int, size: int, least: int, edges: Edges | None
) -> int:
    """The end of a stretch: where something else begins, or the size that it should have."""
    wanted = begin + size
    at = bisect.bisect_right(starts, wanted) - 1
    part, first = plan.parts[at], starts[at]
    places = [first, starts[at + 1]]
    if isinstance(part, Range):
        itemsize = part.tensor.stored.itemsize
        if edges is not None:
            element = part.start + (wanted - first) // itemsize
            every = edges(part.tensor)
            near = int(np.searchsorted(every, element))
            places += [first + (int(edge) - part.start) * itemsize
                       for edge in every[max(0, near - 1) : near + 1]
                       if part.start < edge < part.stop]  # fmt: skip
        wanted -= (wanted - first) % itemsize
    most = min(begin + int(_MOST * size), plan.nbytes - least)
    places = [place for place in places if begin + least <= place <= most]
    return min(places, key=lambda place: abs(place - wanted), default=wanted)


def _between(plan: Plan, starts: Sequence[int], start: int, stop: int) -> Iterator[Part]:
    """Yield what lies in the bytes ``[start, stop)`` of a plan."""
    at = bisect.bisect_right(starts, start) - 1
    while start < stop:
        part, first = plan.parts[at], starts[at]
        end = min(stop, starts[at + 1])
        if end > start:
            yield _cut(part, start - first, end - first)
        start, at = max(start, end), at + 1


def _cut(part: Part, start: int, stop: int) -> Part:
    if isinstance(part, Range):
        size = part.tensor.stored.itemsize
        return part._replace(start=part.start + start // size, stop=part.start + stop // size)
    return planning.as_bytes(part)[start:stop]


def content(stretch: Stretch, staging: np.ndarray) -> bytearray:
    """The bytes of a stretch; ``staging`` as for :func:`planning.buffers`."""
    out = bytearray(stretch.nbytes)
    view = memoryview(out)
    for chunk in planning.chunks(stretch.parts):
        at = chunk.offset
        for buffer in map(planning.as_bytes, planning.buffers(chunk, staging)):
            view[at : at + len(buffer)] = buffer
            at += len(buffer)
    return out

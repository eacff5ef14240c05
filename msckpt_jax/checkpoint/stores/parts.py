"""The parts of an object: whole stretches of a plan, large enough for any store."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.plan import Part, Plan, Range

#: The bytes of a part, unless there would be too many. S3 wants 5 MiB, and at most 10,000 parts.
PART_BYTES, MOST_PARTS = 8 << 20, 9_000


class Stretch(NamedTuple):
    """Consecutive bytes of a file that are uploaded together, and the parts that hold them."""

    offset: int
    nbytes: int
    parts: list[Part]


def stretches(plan: Plan) -> list[Stretch]:
    """Cut a plan into stretches of about :data:`PART_BYTES`, none within an element.

    A file that is smaller is a single one; so is what is left over at the end, with the last.
    """
    size = max(PART_BYTES, -(-plan.nbytes // MOST_PARTS))
    count = max(1, plan.nbytes // size)
    starts = [0, *itertools.accumulate(planning.size_of(part) for part in plan.parts)]
    cuts = [0, *(_before(plan, starts, k * size) for k in range(1, count)), plan.nbytes]
    return [
        Stretch(start, stop - start, [*_between(plan, starts, start, stop)])
        for start, stop in itertools.pairwise(cuts)
    ]


def _before(plan: Plan, starts: Sequence[int], offset: int) -> int:
    """The last offset up to ``offset`` that lies within no element."""
    at = bisect.bisect_right(starts, offset) - 1
    part = plan.parts[at] if at < len(plan.parts) else b""
    if not isinstance(part, Range):
        return offset
    return offset - (offset - starts[at]) % part.tensor.stored.itemsize


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

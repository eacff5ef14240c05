"""Write a file that processes share: the pieces of their shares, and everything else."""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint import writer
from msckpt_jax.checkpoint.plan import Plan, Range
from msckpt_jax.checkpoint.records import Record
from msckpt_jax.parallel.shares import Share, spans

#: The slices of tensors in a file, by the ids of the tensors.
Places: TypeAlias = dict[int, list[tuple[int, int]]]


class Piece(NamedTuple):
    """A part of a share that fits in a window."""

    share: Share
    box: boxes.Box

    @property
    def nbytes(self) -> int:
        return boxes.size_of(self.box) * self.share.tensor.stored.itemsize


def write_others(fd: int, plan: Plan, records: Sequence[Record], local: threading.local) -> None:
    """Write everything but the arrays that span processes: the headers, and all other arrays."""
    spanning = {id(record.content) for record in records if spans(record)}
    for offset, parts in stretches(plan, spanning):
        for chunk in planning.chunks(parts):
            data = planning.buffers(chunk, writer.staging(local))
            writer.write_vector(fd, data, chunk.nbytes, offset + chunk.offset)


def stretches(plan: Plan, without: set[int]) -> Iterator[tuple[int, list[planning.Part]]]:
    """Yield the stretches of parts between the tensors ``without``, with their offsets."""
    offset = begin = 0
    parts: list[planning.Part] = []
    for part in plan.parts:
        size = planning.size_of(part)
        if isinstance(part, Range) and id(part.tensor) in without:
            yield begin, parts
            begin, parts = offset + size, []
        else:
            parts.append(part)
        offset += size
    yield begin, parts


def places(plan: Plan, shares: Sequence[Share]) -> Places:
    """The ``(first element, offset)`` of the slices of each shared tensor, by its id."""
    out: Places = {id(share.tensor): [] for share in shares}
    offset = 0
    for part in plan.parts:
        if isinstance(part, Range) and id(part.tensor) in out:
            out[id(part.tensor)].append((part.start, offset))
        offset += planning.size_of(part)
    return out


def cut(shares: Sequence[Share]) -> Iterator[Piece]:
    """Cut shares into boxes that fit in a window of memory."""
    for share in shares:
        limit = max(1, planning.CHUNK_BYTES // share.tensor.stored.itemsize)
        for box in share.boxes:
            for part in boxes.of_range(boxes.shape_of(box), 0, boxes.size_of(box), limit):
                sides = zip(part, box, strict=True)
                yield Piece(share, tuple((a + o, b + o) for (a, b), (o, _) in sides))


def content(piece: Piece, local: threading.local) -> memoryview:
    """The bytes of a piece, gathered if need be; valid until the next call of the thread."""
    chunk = planning.Chunk(0, piece.nbytes, [planning.Window(piece.share.tensor, piece.box)])
    return planning.as_bytes(planning.buffers(chunk, writer.staging(local))[0])


def write_runs(fd: int, piece: Piece, data: memoryview, places: Places) -> None:
    """Write the bytes of a piece run by run, each contiguous in the file."""
    tensor = piece.share.tensor
    size, slices = tensor.stored.itemsize, places[id(tensor)]
    for start, count in runs(tensor.shape, piece.box):
        stop = start + count
        while start < stop:  # a run may go on in the next slice
            at = bisect.bisect_right(slices, (start, math.inf)) - 1
            first, offset = slices[at]
            end = min(stop, slices[at + 1][0]) if at + 1 < len(slices) else stop
            nbytes = (end - start) * size
            writer.write_vector(fd, [data[:nbytes]], nbytes, offset + (start - first) * size)
            data, start = data[nbytes:], end


def runs(shape: Sequence[int], box: boxes.Box) -> Iterator[tuple[int, int]]:
    """Yield ``(first element, count)`` of each part of a box that is contiguous in the tensor."""
    axis = len(shape)
    while axis > 0 and (axis == len(shape) or box[axis] == (0, shape[axis])):
        axis -= 1
    strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    base = sum(low * stride for (low, _), stride in zip(box, strides, strict=True))
    count = boxes.size_of(box[axis:])
    for index in np.ndindex(*boxes.shape_of(box[:axis])):
        yield base + sum(i * s for i, s in zip(index, strides, strict=False)), count

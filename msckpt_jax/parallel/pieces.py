"""Write a file that processes share: the pieces of their shares, and everything else."""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint import writer
from msckpt_jax.checkpoint.plan import Plan, Range
from msckpt_jax.checkpoint.records import Tensor
from msckpt_jax.parallel.shares import run_of

#: The first element and the offset in the file of each slice of the tensors, by their ids.
Places: TypeAlias = dict[int, list[tuple[int, int]]]
#: Bytes of memory: no number is wider.
_ALIGN = 16


class Piece(NamedTuple):
    """A part of a share that fits in a window."""

    tensor: Tensor
    box: boxes.Box

    @property
    def nbytes(self) -> int:
        return boxes.size_of(self.box) * self.tensor.stored.itemsize


def write_others(fd: int, plan: Plan, without: Iterable[Tensor], local: threading.local) -> None:
    """Write everything but the tensors ``without``: the headers, and all other arrays."""
    left_out = {id(tensor) for tensor in without}
    for offset, parts in stretches(plan, left_out):
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


def places(plan: Plan) -> Places:
    """The ``(first element, offset)`` of the slices of each tensor, by its id."""
    out: Places = {}
    offset = 0
    for part in plan.parts:
        if isinstance(part, Range):
            out.setdefault(id(part.tensor), []).append((part.start, offset))
        offset += planning.size_of(part)
    return out


def cut(
    tensor: Tensor, parts: Iterable[boxes.Box], nbytes: int = planning.CHUNK_BYTES
) -> Iterator[Piece]:
    """Cut boxes of a tensor into pieces that fit in a window of memory."""
    limit = max(1, nbytes // tensor.stored.itemsize)
    for box in parts:
        if boxes.size_of(box) <= limit:
            yield Piece(tensor, box)
            continue
        for part in boxes.of_range(boxes.shape_of(box), 0, boxes.size_of(box), limit):
            sides = zip(part, box, strict=True)
            yield Piece(tensor, tuple((a + o, b + o) for (a, b), (o, _) in sides))


def aligned(nbytes: int) -> int:
    """The bytes from a piece in memory to the next one, whose numbers are of any width."""
    return nbytes + -nbytes % _ALIGN


def content(piece: Piece, local: threading.local) -> memoryview:
    """The bytes of a piece, gathered if need be; valid until the next call of the thread."""
    chunk = planning.Chunk(0, piece.nbytes, [planning.Window(piece.tensor, piece.box)])
    return planning.as_bytes(planning.buffers(chunk, writer.staging(local))[0])


def write_runs(fd: int, piece: Piece, data: memoryview, places: Places) -> None:
    """Write the bytes of a piece run by run, each contiguous in the file."""
    for part, offset in placed(piece, data, places):
        writer.write_vector(fd, [part], len(part), offset)


def placed(piece: Piece, data: memoryview, places: Places) -> Iterator[tuple[memoryview, int]]:
    """Yield the bytes of a piece run by run, each contiguous in the file, with their offsets."""
    tensor = piece.tensor
    size, slices = tensor.stored.itemsize, places[id(tensor)]
    for start, count in runs(tensor.shape, piece.box):
        stop = start + count
        while start < stop:  # a run may go on in the next slice
            at = bisect.bisect_right(slices, (start, math.inf)) - 1
            first, offset = slices[at]
            end = min(stop, slices[at + 1][0]) if at + 1 < len(slices) else stop
            nbytes = (end - start) * size
            yield data[:nbytes], offset + (start - first) * size
            data, start = data[nbytes:], end


def runs(shape: Sequence[int], box: boxes.Box) -> Iterator[tuple[int, int]]:
    """Yield ``(first element, count)`` of each part of a box that is contiguous in the tensor."""
    axis, count = run_of(shape, box)
    strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    base = sum(low * stride for (low, _), stride in zip(box, strides, strict=True))
    for index in np.ndindex(*boxes.shape_of(box[:axis])):
        yield base + sum(i * s for i, s in zip(index, strides, strict=False)), count

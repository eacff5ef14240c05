"""The shares of processes in arrays that span them, and the places of shares in the file.

The rule is the same on every process: a shard that several processes hold is written by the process
that has the least to write. Shards of a process that touch are joined, so that fewer writes are
needed.
"""

from __future__ import annotations

import bisect
import functools
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint import writer
from msckpt_jax.checkpoint.plan import Plan, Range
from msckpt_jax.checkpoint.records import Record, Spread, Tensor, placed


class Share(NamedTuple):
    """The boxes of a tensor that a process writes, joined where they touch."""

    tensor: Tensor
    owner: int
    boxes: tuple[boxes.Box, ...]


class Piece(NamedTuple):
    """A part of a share that fits in a window."""

    share: Share
    box: boxes.Box

    @property
    def nbytes(self) -> int:
        return boxes.size_of(self.box) * self.share.tensor.stored.itemsize


def spans(record: Record) -> bool:
    return record.sharding is not None and not record.sharding.is_fully_addressable


def shares_of(records: Sequence[Record], only: int | None = None) -> list[Share]:
    """The boxes that each process writes of each array that spans processes.

    With ``only`` just the shares of that process are made: there are as many shares of all
    processes as devices times arrays.
    """
    spanning = [(r, _holders(r.sharding, r.dims)) for r in records if spans(r)]
    load = np.zeros(max((h.processes for _, h in spanning), default=0), np.int64)
    out = []
    for record, holders in spanning:
        content = record.content
        assert isinstance(content, Tensor)
        size = content.stored.itemsize
        load += np.pad(holders.alone_elements, (0, len(load) - holders.processes)) * size
        chosen = holders.alone if only is None else {only} & holders.alone.keys()
        own = {owner: list(holders.alone[owner]) for owner in chosen}
        for box, processes in holders.shared:
            owner = int(processes[np.argmin(load[processes])])
            load[owner] += boxes.size_of(box) * size
            if only in (None, owner):
                own.setdefault(owner, []).append(box)
        out += [Share(content, owner, joined(parts)) for owner, parts in sorted(own.items())]
    return out


class _Holders(NamedTuple):
    """The processes that hold the distinct shards of an array.

    Attributes:
        processes: the number of processes, up to the last that holds a shard.
        alone: the shards that a single process holds, by process.
        alone_elements: the number of their elements, by process.
        shared: all other shards, each with its processes in ascending order.
    """

    processes: int
    alone: dict[int, list[boxes.Box]]
    alone_elements: np.ndarray
    shared: list[tuple[boxes.Box, np.ndarray]]


@functools.lru_cache(64)  # the layers of a model are alike
def _holders(sharding: Any, shape: tuple[int, ...]) -> _Holders:
    holders: dict[boxes.Box, set[int]] = {}
    spread = isinstance(sharding, Spread)
    for box, process in sharding.holders if spread else placed(sharding, shape):
        holders.setdefault(box, set()).add(process)
    count = 1 + max(max(processes) for processes in holders.values())
    out = _Holders(count, {}, np.zeros(count, np.int64), [])
    for box, processes in sorted(holders.items()):
        if len(processes) > 1:
            out.shared.append((box, np.array(sorted(processes))))
            continue
        (process,) = processes
        out.alone.setdefault(process, []).append(box)
        out.alone_elements[process] += boxes.size_of(box)
    return out


def joined(parts: Sequence[boxes.Box]) -> tuple[boxes.Box, ...]:
    """Join boxes that touch along an axis, so that fewer writes are needed."""
    out = list(parts)
    for axis in reversed(range(len(out[0]) if out else 0)):
        groups: dict[Any, list[tuple[int, int]]] = {}
        for box in out:
            groups.setdefault((box[:axis], box[axis + 1 :]), []).append(box[axis])
        out = [
            (*before, side, *after)
            for (before, after), sides in groups.items()
            for side in _joined_sides(sorted(sides))
        ]
    return tuple(sorted(out))


def _joined_sides(sides: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    start, stop = sides[0]
    for a, b in sides[1:]:
        if a == stop:
            stop = b
        else:
            yield start, stop
            start, stop = a, b
    yield start, stop


# Writing


def write_others(fd: int, plan: Plan, records: Sequence[Record], local: threading.local) -> None:
    """Write everything but the arrays that span processes: the headers, and all other arrays."""
    spanning = {id(record.content) for record in records if spans(record)}
    for offset, parts in _stretches(plan, spanning):
        for chunk in planning.chunks(parts):
            data = planning.buffers(chunk, writer.staging(local))
            writer.write_vector(fd, data, chunk.nbytes, offset + chunk.offset)


def _stretches(plan: Plan, without: set[int]) -> Iterator[tuple[int, list[planning.Part]]]:
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


def places(plan: Plan, shares: list[Share]) -> dict[int, list[tuple[int, int]]]:
    """The ``(first element, offset)`` of the slices of each shared tensor, by its id."""
    out: dict[int, list[tuple[int, int]]] = {id(share.tensor): [] for share in shares}
    offset = 0
    for part in plan.parts:
        if isinstance(part, Range) and id(part.tensor) in out:
            out[id(part.tensor)].append((part.start, offset))
        offset += planning.size_of(part)
    return out


def pieces(shares: list[Share]) -> Iterator[Piece]:
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


def write_runs(
    fd: int, piece: Piece, data: memoryview, places: dict[int, list[tuple[int, int]]]
) -> None:
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

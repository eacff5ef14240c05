"""The shares of processes in a tensor: the boxes that each of them writes, or sends to a writer.

The rule is the same on every process: a shard that several processes hold is that of the file's
writer if it is among them, else that of the process that has least so far. Shards of a process that
touch are joined, so that fewer writes are needed.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint.records import Record, Spread, Tensor, placed


@dataclasses.dataclass(frozen=True, eq=False)  # known by identity, so that plans are kept by it
class Holders:
    """The processes that hold the distinct shards of a tensor.

    Attributes:
        alone: the shards that a single process holds, by process, joined where they touch.
        processes: the processes of ``alone``.
        elements: the number of elements that each process holds alone.
        held: the number of elements that each process holds at all.
        shared: all other shards, each with its processes in ascending order.
        every: all shards, each with its processes.
        runs: the number of stretches that are contiguous in the tensor, of all shards.
    """

    alone: dict[int, tuple[boxes.Box, ...]]
    processes: frozenset[int]
    elements: np.ndarray
    held: np.ndarray
    shared: list[tuple[boxes.Box, np.ndarray]]
    every: list[tuple[boxes.Box, Sequence[int]]]
    runs: int


class Shares(NamedTuple):
    """The boxes of a tensor by the processes that write or send them."""

    tensor: Tensor
    holders: Holders
    owners: tuple[int, ...]  # of the shards that several processes hold

    def of(self, process: int) -> tuple[boxes.Box, ...]:
        """The boxes of a process."""
        alone = self.holders.alone.get(process, ())
        pairs = zip(self.holders.shared, self.owners, strict=True)
        more = [box for (box, _), owner in pairs if owner == process]
        return joined([*alone, *more]) if more else alone

    @property
    def processes(self) -> frozenset[int]:
        """The processes that have boxes; one object for tensors that are laid out alike."""
        own = self.holders.processes
        return own if own.issuperset(self.owners) else own.union(self.owners)

    @property
    def is_scattered(self) -> bool:
        """True where a shard lies in many short stretches of the file."""
        nbytes = math.prod(self.tensor.shape) * self.tensor.stored.itemsize
        return self.holders.runs > len(self.holders.every) and nbytes < self.holders.runs * LONG_RUN


#: Stretches of so many bytes are written as well one by one: file systems' own units are no larger.
LONG_RUN = 1 << 20


def spans(record: Record) -> bool:
    """Tell whether a record is an array of which other processes hold parts."""
    return record.sharding is not None and not record.sharding.is_fully_addressable


def as_tensor(record: Record) -> Record:
    """The record with content that can be sent in parts."""
    content = record.content
    if not isinstance(content, np.ndarray):
        return record
    piece = (boxes.whole(content.shape), content)
    return record._replace(content=Tensor(content.shape, content.dtype, (piece,)))


def assigned(records: Sequence[Record], writer: int | None = None) -> list[Shares]:
    """The shares of each tensor that spans processes.

    With a ``writer`` other than process 0 also those of tensors that do not: all processes have
    these, and what counts is what process 0 has.
    """
    wanted = [r for r in records if spans(r) or (writer and isinstance(r.content, Tensor))]
    every = [holders_of(record) for record in wanted]
    load = np.zeros(max((len(h.elements) for h in every), default=0), np.int64)
    out = []
    for record, holders in zip(wanted, every, strict=True):
        content = record.content
        assert isinstance(content, Tensor)
        size = content.stored.itemsize
        load[: len(holders.elements)] += holders.elements * size
        owners = []
        for box, processes in holders.shared:
            owner = writer if writer in processes else int(processes[np.argmin(load[processes])])
            assert owner is not None
            load[owner] += boxes.size_of(box) * size
            owners.append(owner)
        out.append(Shares(content, holders, tuple(owners)))
    return out


def holders_of(record: Record) -> Holders:
    """The holders of a tensor; of one that does not span processes it is process 0."""
    if not spans(record):
        return _alone_on_first(record.dims)
    return _holders(record.sharding, record.dims)


@functools.lru_cache(64)
def _alone_on_first(shape: tuple[int, ...]) -> Holders:
    return _of_boxes({boxes.whole(shape): {0}}, shape)


@functools.lru_cache(1024)  # the layers of a model are alike, experts are not
def _holders(sharding: Any, shape: tuple[int, ...]) -> Holders:
    processes: dict[boxes.Box, set[int]] = {}
    spread = isinstance(sharding, Spread)
    for box, process in sharding.holders if spread else placed(sharding, shape):
        processes.setdefault(box, set()).add(process)
    return _of_boxes(processes, shape)


def _of_boxes(holders: dict[boxes.Box, set[int]], shape: tuple[int, ...]) -> Holders:
    count = 1 + max(max(processes) for processes in holders.values())
    elements, held = np.zeros(count, np.int64), np.zeros(count, np.int64)
    alone: dict[int, list[boxes.Box]] = {}
    shared: list[tuple[boxes.Box, np.ndarray]] = []
    for box, processes in sorted(holders.items()):
        held[[*processes]] += boxes.size_of(box)
        if len(processes) > 1:
            shared.append((box, np.array(sorted(processes))))
            continue
        (process,) = processes
        alone.setdefault(process, []).append(box)
        elements[process] += boxes.size_of(box)
    together = {process: joined(parts) for process, parts in alone.items()}
    every: list[tuple[boxes.Box, Sequence[int]]] = [(box, [*several]) for box, several in shared]
    every += [(box, (process,)) for process, parts in together.items() for box in parts]
    runs = sum(boxes.size_of(box) // max(1, run_of(shape, box)[1]) for box, _ in every)
    return Holders(together, frozenset(together), elements, held, shared, every, runs)


def run_of(shape: Sequence[int], box: boxes.Box) -> tuple[int, int]:
    """The axis from which on a box is contiguous in the tensor, and the elements of such a run."""
    axis = len(shape)
    while axis > 0 and (axis == len(shape) or box[axis] == (0, shape[axis])):
        axis -= 1
    return axis, boxes.size_of(box[axis:])


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

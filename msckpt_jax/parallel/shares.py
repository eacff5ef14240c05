"""The shares of processes in arrays that span them: the boxes that each process writes.

The rule is the same on every process: a shard that several processes hold is written by the process
that has the least to write. Shards of a process that touch are joined, so that fewer writes are
needed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint.records import Record, Spread, Tensor, placed


class Share(NamedTuple):
    """The boxes of a tensor that a process writes, joined where they touch."""

    tensor: Tensor
    owner: int
    boxes: tuple[boxes.Box, ...]


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

"""The two processes that keep each part of a tree, on two machines where there are several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint.records import Record
from msckpt_jax.parallel import shares


class Shard(NamedTuple):
    """A box of a tensor, and the processes that keep it.

    Attributes:
        record: the number of the tensor's record.
        box: the part of the tensor.
        keepers: a process that holds it, and one on another machine if there is one.
        sent: whether the second keeper does not hold it, so that the first has to send it.
    """

    record: int
    box: boxes.Box
    keepers: tuple[int, ...]
    sent: bool


def shards(records: Sequence[Record], machines: Sequence[str]) -> list[Shard]:
    """The parts of all tensors, each once; the same list on all processes.

    ``machines`` has a name for the machine of each process. Who holds a part is asked first: a
    part that processes on two machines hold travels nowhere. Among several the one that has least
    to keep so far keeps it.
    """
    partners = _partners(machines)
    load = np.zeros(len(machines), np.int64)
    out = []
    for number, record in enumerate(records):
        itemsize = record.nbytes // max(1, boxes.size_of(boxes.whole(_shape(record))))
        for box, holders in shares.holders_of(record._replace(dims=_shape(record))).every:
            nbytes = boxes.size_of(box) * itemsize
            if not nbytes:
                continue
            first = _idlest(holders, load)
            away = [p for p in map(int, holders) if machines[p] != machines[first]]
            second = [_idlest(away, load)] if away else partners[first]
            keepers = (first, *second)
            load[[*keepers]] += nbytes
            out.append(Shard(number, box, keepers, bool(second) and not away))
    return out


def tensor_of(record: Record) -> Record:
    """The record with a tensor as its content; the bytes of a string are one, too."""
    if isinstance(record.content, bytes):
        record = record._replace(content=np.frombuffer(record.content, np.uint8), type="UInt8")
    return shares.as_tensor(record)


def _shape(record: Record) -> tuple[int, ...]:
    """The shape of the content: of a string the number of its bytes."""
    return (len(record.content),) if isinstance(record.content, bytes) else record.dims


def _idlest(processes: Sequence[int], load: np.ndarray) -> int:
    return int(min(processes, key=lambda process: (load[process], process)))


def _partners(machines: Sequence[str]) -> list[list[int]]:
    """The process of the next machine in a ring that keeps a second copy for each process."""
    groups: dict[str, list[int]] = {}
    for process, machine in enumerate(machines):
        groups.setdefault(machine, []).append(process)
    out: list[list[int]] = [[] for _ in machines]
    several = list(groups.values())
    if len(several) > 1:
        for group, following in zip(several, [*several[1:], several[0]], strict=True):
            for place, process in enumerate(group):
                out[process] = [following[place % len(following)]]
    return out

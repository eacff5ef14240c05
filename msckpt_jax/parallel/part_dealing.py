"""Who uploads which part of an object, and what others send for it.

A part is a stretch of the file of some MiB, whatever lies in it. It is dealt to a process that
holds most of it; what that does not hold is sent by one that does. Every process makes the same
plan of names, shapes and shardings alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.plan import Plan, Range
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.checkpoint.stores import parts
from msckpt_jax.checkpoint.stores.parts import Stretch
from msckpt_jax.checkpoint.stores.path import StorePath
from msckpt_jax.parallel import dealing, shares
from msckpt_jax.parallel.dealing import Parties, Party
from msckpt_jax.parallel.shares import Holders, Shares


class Object(NamedTuple):
    """An object that processes upload together.

    Attributes:
        path: where it is to be.
        plan: the plan of its bytes.
        stretches: those of the plan, a part each.
        records: what the plan was made of.
        uploader: the process that uploads all parts; None: they are dealt to all.
    """

    path: StorePath
    plan: Plan
    stretches: Sequence[Stretch]
    records: Sequence[Record]
    uploader: int | None = None


class Dealt(NamedTuple):
    """The parts of an object by their numbers, from 0 on.

    Attributes:
        uploaders: the process that uploads each.
        together: the parts that are put together from what others send.
    """

    uploaders: list[int]
    together: set[int]

    def of(self, process: int, together: bool) -> list[int]:
        """The numbers of the parts of a process: those that others send to, or its own."""
        return [
            number
            for number, uploader in enumerate(self.uploaders)
            if uploader == process and (number in self.together) == together
        ]


def dealt(objects: Sequence[Object], processes: int) -> tuple[list[Dealt], list[Party]]:
    """The parts of objects dealt to processes, and who sends what to whom.

    The parties are in an order that is the same on all processes. The numbers of their stretches
    are those of the objects.
    """
    parties = Parties()
    load = np.zeros(processes, np.int64)
    out = [_dealt(number, each, load, parties) for number, each in enumerate(objects)]
    return out, [*parties.values()]


def _dealt(number: int, each: Object, load: np.ndarray, parties: Parties) -> Dealt:
    holders = {
        id(record.content): shares.holders_of(record)
        for record in each.records
        if isinstance(record.content, Tensor)
    }
    out = Dealt([], set())
    for part, stretch in enumerate(each.stretches):
        wanted = [
            _wanted(range, holders[id(range.tensor)])
            for range in stretch.parts
            if isinstance(range, Range)
        ]
        uploader = _uploader(wanted, load) if each.uploader is None else each.uploader
        load[uploader] += stretch.nbytes
        out.uploaders.append(uploader)
        members = {uploader}
        members.update(_sender(p, uploader) for want in wanted for _, p in want.held)
        if len(members) > 1:
            out.together.add(part)
            parties.add(members, uploader, [want.by(uploader, number) for want in wanted])
    return out


class _Wanted(NamedTuple):
    """What a part has of a tensor: windows, and the bytes there of each shard with its holders."""

    tensor: Tensor
    holders: Holders
    windows: Sequence[boxes.Box]
    held: list[tuple[int, Any]]

    def by(self, uploader: int, number: int) -> dealing.Stretch:
        """What an uploader gets of it for an object."""
        owners = Shares(self.tensor, self.holders, _owners(self.holders, uploader))
        return dealing.Stretch(number, owners, self.windows)


def _wanted(part: Range, holders: Holders) -> _Wanted:
    size, shape = part.tensor.stored.itemsize, part.tensor.shape
    limit = max(1, planning.CHUNK_BYTES // size)
    windows = tuple(boxes.of_range(shape, part.start, part.stop, limit))
    axis, lows, highs = _sides(holders, shape)
    held = []
    for window in windows:
        low, high = window[axis] if window else (0, 1)
        for number in np.flatnonzero((lows < high) & (highs > low)):
            box, processes = holders.every[number]
            common = boxes.intersect(box, window)
            if common is not None:
                held.append((boxes.size_of(common) * size, processes))
    return _Wanted(part.tensor, holders, windows, held)


def stretches(plan: Plan, records: Sequence[Record]) -> list[Stretch]:
    """The parts of a plan, which end where other processes hold what follows, if they can."""
    holders = {id(r.content): shares.holders_of(r) for r in records if shares.spans(r)}

    def edges(tensor: Tensor) -> np.ndarray:
        known = holders.get(id(tensor))
        return _NO_EDGES if known is None else _edges(known, tensor.shape)

    return parts.stretches(plan, edges)


_NO_EDGES = np.zeros(0, np.int64)


@functools.lru_cache(256)
def _edges(holders: Holders, shape: tuple[int, ...]) -> np.ndarray:
    """The elements at which the rows of other holders begin."""
    axis, lows, _ = _sides(holders, shape)
    return np.unique(lows) * math.prod(shape[axis + 1 :])


def _uploader(wanted: Sequence[_Wanted], load: np.ndarray) -> int:
    """The process that has least to upload among those that hold most of a part."""
    held = np.zeros(len(load), np.int64)
    for want in wanted:
        for nbytes, processes in want.held:
            held[[*processes]] += nbytes
    if not held.any():
        return 0  # text alone, which all have
    return int(np.argmin(np.where(held * 2 >= held.max(), load, np.iinfo(np.int64).max)))


@functools.lru_cache(1024)
def _owners(holders: Holders, uploader: int) -> tuple[int, ...]:
    """The senders of the shards that several processes hold."""
    return tuple(_sender(processes, uploader) for _, processes in holders.shared)


def _sender(processes: Sequence[int] | np.ndarray, uploader: int) -> int:
    """The process that sends a shard: the uploader has it itself, if it can."""
    return uploader if uploader in processes else int(processes[uploader % len(processes)])


@functools.lru_cache(256)
def _sides(holders: Holders, shape: tuple[int, ...]) -> tuple[int, np.ndarray, np.ndarray]:
    """An axis that has more than one element, and where the shards begin and end on it."""
    axis = next((axis for axis, n in enumerate(shape) if n > 1), 0)
    sides = [box[axis] if box else (0, 1) for box, _ in holders.every]
    lows, highs = np.array(sides).reshape(-1, 2).T
    return axis, lows, highs

"""Who writes what: whole files of a folder, and windows of a file that no process holds alone.

Every process makes the same plan of names, shapes and shardings alone.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.plan import Plan
from msckpt_jax.checkpoint.records import Record
from msckpt_jax.parallel import pieces, shares
from msckpt_jax.parallel.shares import Holders, Shares

#: The least part of a file that is worth a writer of its own.
EXTENT_BYTES = 4 << 20
#: Short writes, so many a process, that cost less than the first exchange.
FEW_RUNS = 1000
#: The most members of a party with one writer: the slots of those that do not send stay empty.
FEW_MEMBERS = 16


class Output(NamedTuple):
    """A file that processes write together.

    ``writer`` is the process that alone writes it; None: each writes what it holds.
    """

    path: Any
    plan: Plan
    records: Sequence[Record]
    writer: int | None = None


class Stretch(NamedTuple):
    """A tensor, or consecutive windows of it, that one process writes and others send to it.

    ``number`` is that of the output. Without windows pieces are written as they come.
    """

    number: int
    shares: Shares
    windows: Sequence[boxes.Box] | None = None


class Section(NamedTuple):
    """A window of a tensor, put together before it is written; or all of it, as it comes."""

    number: int
    shares: Shares
    window: boxes.Box | None

    @property
    def nbytes(self) -> int:
        assert self.window is not None
        return boxes.size_of(self.window) * self.shares.tensor.stored.itemsize

    def parts(self, process: int) -> Iterator[boxes.Box]:
        """Yield the boxes that a process has of it."""
        for box in self.shares.of(process):
            common = box if self.window is None else boxes.intersect(box, self.window)
            if common is not None:
                yield common


class Party(NamedTuple):
    """Processes that exchange, and what each of them writes."""

    members: tuple[int, ...]
    stretches: dict[int, list[Stretch]]

    def batches(self, writer: int) -> Iterator[list[Section]]:
        """Yield what a writer gets at a time.

        That is first what it writes as it comes, then windows, as many as fit in memory.
        """
        own = self.stretches.get(writer, [])
        if any(s.windows is None for some in self.stretches.values() for s in some):
            yield [Section(s.number, s.shares, None) for s in own if s.windows is None]
        batch: list[Section] = []
        size = 0
        for stretch in own:
            for window in stretch.windows or ():
                section = Section(stretch.number, stretch.shares, window)
                nbytes = pieces.aligned(section.nbytes)
                if batch and size + nbytes > planning.CHUNK_BYTES:
                    yield batch
                    batch, size = [], 0
                batch.append(section)
                size += nbytes
        if batch:
            yield batch


class Work(NamedTuple):
    """What a process does: first the exchanges with others, then what it writes of its own.

    Attributes:
        parties: those that it is a member of, in an order that is the same on all.
        own: the boxes that it writes directly, each with the number of its output.
        shared: of each output the tensors that are not written together with its headers.
    """

    parties: list[Party]
    own: list[tuple[int, Shares, Sequence[boxes.Box]]]
    shared: list[list[Shares]]


# Files


def writers(outputs: Sequence[Output], processes: int) -> list[int]:
    """The writer of each file: the largest first, each to the process that has least to write.

    Where several have, the one that holds most of the file writes it.
    """
    load = np.zeros(processes, np.int64)
    out = [0] * len(outputs)
    sizes = [output.plan.nbytes for output in outputs]
    for number in sorted(range(len(outputs)), key=lambda n: (-sizes[n], n)):
        held = _held(outputs[number].records, processes)
        out[number] = int(np.argmax(np.where(load == load.min(), held, -1)))
        load[out[number]] += sizes[number]
    return out


def _held(records: Sequence[Record], processes: int) -> np.ndarray:
    """The bytes that each process holds of records."""
    out = np.zeros(processes, np.int64)
    for record in records:
        if not shares.spans(record):
            out[0] += record.nbytes
            continue
        holders = shares.holders_of(record)
        size = math.prod(record.dims)
        out[: len(holders.held)] += holders.held * (record.nbytes // max(1, size))
    return out


def waves(outputs: Sequence[Output]) -> list[list[Output]]:
    """The files that are written at the same time: one of each writer, or a single one of all."""
    seen: dict[int | None, int] = {}
    out: list[list[Output]] = []
    for output in outputs:
        at = seen[output.writer] = seen.get(output.writer, -1) + 1
        out += [[] for _ in range(at + 1 - len(out))]
        out[at].append(output)
    return out


# Tensors


def planned(outputs: Sequence[Output], me: int, processes: int, exchange: bool) -> Work:
    """The work of process ``me`` in a wave; without ``exchange`` each writes what it holds."""
    every = [shares.assigned(output.records, output.writer) for output in outputs]
    work = Work([], [], every)
    parties = Parties()
    for number, (output, tensors) in enumerate(zip(outputs, every, strict=True)):
        if output.writer is None:
            sent = _sent(tensors, processes) if exchange else []
            _to_holders(number, sent, parties)
        else:
            sent = [each for each in tensors if each.processes != {output.writer}]
            _to_writer(output.writer, number, sent, parties, alone=len(outputs) == 1)
        together = {id(each) for each in sent if each.is_scattered}
        if output.writer in (None, me):
            work.own.extend((number, t, t.of(me)) for t in tensors if id(t) not in together)
    work.parties.extend(party for party in parties.values() if me in party.members)
    return work


class Parties(dict[tuple[int, ...], Party]):
    """Parties by their members, in an order that is the same on all processes."""

    def add(self, members: Iterable[int], writer: int, stretches: Iterable[Stretch]) -> None:
        """Let a writer get stretches from the other members."""
        some = tuple(sorted({*members, writer}))
        party = self.setdefault(some, Party(some, {}))
        party.stretches.setdefault(writer, []).extend(stretches)


def _sent(tensors: Sequence[Shares], processes: int) -> list[Shares]:
    """The tensors that lie in so many short stretches that an exchange pays."""
    scattered = [each for each in tensors if each.is_scattered]
    runs = sum(each.holders.runs for each in scattered)
    return scattered if runs > FEW_RUNS * processes else []


def _to_writer(
    writer: int, number: int, tensors: Sequence[Shares], parties: Parties, alone: bool
) -> None:
    """Plan what one process gets of a file; ``alone`` if no other gets anything at the time."""
    together = [Stretch(number, t, _windows_of(t)) for t in tensors if t.is_scattered]
    singly = [Stretch(number, t) for t in tensors if not t.is_scattered]
    for stretches, most in ((together, None), (singly, FEW_MEMBERS - 1 if alone else None)):
        alike = {id(some): some for some in (s.shares.processes for s in stretches)}
        members = set[int]().union(*alike.values()) - {writer}
        for some in _batched(sorted(members), most or max(1, len(members))):
            parties.add(some, writer, stretches)


def _batched(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def _to_holders(number: int, tensors: Sequence[Shares], parties: Parties) -> None:
    """Deal windows of tensors to the processes that hold them, consecutive ones to each."""
    dealt: dict[tuple[int, ...], list[Stretch]] = {}
    for each in tensors:
        for start, stop, members in _regions(each.holders, each.tensor.shape):
            windows = _windows(each.tensor.shape, each.tensor.stored.itemsize, start, stop)
            dealt.setdefault(members, []).append(Stretch(number, each, windows))
    for members, stretches in dealt.items():
        for writer, stretch in _divided(stretches, members):
            parties.add(members, writer, [stretch])


def _divided(stretches: Sequence[Stretch], members: Sequence[int]) -> Iterator[tuple[int, Stretch]]:
    """Yield stretches with their writers, which get about as much each."""
    sizes = [_nbytes(s) for s in stretches]
    total = sum(sizes)
    count = min(len(members), max(1, total // EXTENT_BYTES))
    before = 0
    for stretch, size in zip(stretches, sizes, strict=True):
        windows = stretch.windows or ()
        starts = (before + size * k // len(windows) for k in range(len(windows)))
        dealt = zip((members[start * count // total] for start in starts), windows, strict=True)
        for writer, own in itertools.groupby(dealt, operator.itemgetter(0)):
            yield writer, stretch._replace(windows=[window for _, window in own])
        before += size


def _nbytes(stretch: Stretch) -> int:
    return sum(map(boxes.size_of, stretch.windows or ())) * stretch.shares.tensor.stored.itemsize


def _windows_of(each: Shares) -> Sequence[boxes.Box]:
    shape = each.tensor.shape
    return _windows(shape, each.tensor.stored.itemsize, 0, math.prod(shape))


@functools.lru_cache(256)  # the layers of a model are alike
def _windows(shape: tuple[int, ...], size: int, start: int, stop: int) -> tuple[boxes.Box, ...]:
    """The elements ``[start, stop)`` in boxes that are contiguous in the file."""
    return tuple(boxes.of_range(shape, start, stop, planning.CHUNK_BYTES // size))


@functools.lru_cache(64)
def _regions(holders: Holders, shape: tuple[int, ...]) -> list[tuple[int, int, tuple[int, ...]]]:
    """The ranges of elements that have the same holders, cut on the first axis, and these."""
    axis = next((axis for axis, n in enumerate(shape) if n > 1), 0)
    cuts = sorted({edge for box, _ in holders.every for edge in box[axis]})
    members: list[set[int]] = [set() for _ in cuts[1:]]
    for box, processes in holders.every:
        low, high = (bisect.bisect_left(cuts, edge) for edge in box[axis])
        for each in members[low:high]:
            each.update(processes)
    stride = math.prod(shape[axis + 1 :])
    out: list[tuple[int, int, tuple[int, ...]]] = []
    for start, stop, some in zip(cuts, cuts[1:], members, strict=False):
        held = tuple(sorted(some))
        if out and out[-1][2] == held:
            out[-1] = (out[-1][0], stop * stride, held)
        elif held:
            out.append((start * stride, stop * stride, held))
    return out

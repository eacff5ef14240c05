"""Send what processes hold to those that write it, in rounds of a collective operation.

In a round every member of a party sends a slot of bytes to every other one; the slots of a member
together are a window of 8 MiB, so that memory stays at a few windows whatever is sent. On one
machine all members fill the window of a receiver at once. Sender and receiver know from the plan
what a slot or a window holds. The first bytes of a slot say how the sender goes on, so that all
leave a batch, the exchange, or a failed save in the same round.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.naming import naming
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import pieces, slots
from msckpt_jax.parallel.dealing import Party, Section
from msckpt_jax.parallel.meeting import Meetings
from msckpt_jax.parallel.pieces import Piece
from msckpt_jax.parallel.slots import Carried, Shared, Slots

#: The head of a slot is the state of the sender, and the number of bytes that follow.
#: The bits of a state: more of this batch comes, a batch comes after it, the sender has failed.
_MORE, _LATER, _FAILED = 1, 2, 4
#: The least slot.
_LEAST_BYTES = 4096
#: The pieces that go to a process at a time.
_Slot: TypeAlias = "list[tuple[Section, Piece]]"


class Sink(Protocol):
    """A target that this process writes: it puts the bytes of a piece to their places."""

    def put(self, piece: Piece, data: memoryview) -> None: ...


class FileSink(NamedTuple):
    """A file, the places of tensors in it, and its name in errors."""

    fd: int
    places: pieces.Places
    path: Any = None

    def put(self, piece: Piece, data: memoryview) -> None:
        with naming(self.path):
            pieces.write_runs(self.fd, piece, data, self.places)


class Elsewhere(Exception):  # noqa: N818
    """Another process has failed, and says why."""


def exchange(
    party: Party,
    sinks: Mapping[int, Sink],
    meetings: Meetings,
    written: Callable[[int], None],
    failure: Exception | None,
) -> Exception | None:
    """Do all rounds of a party; return the error that this process knows of.

    After a ``failure`` the others are told in the first round. ``written`` is called with the bytes
    of each part that this process has written. Nothing is raised that other members could be told.

    Raises:
        CheckpointError: a member is gone.
    """
    member = _Member(party, sinks, meetings.me, written)
    members = party.members

    def between() -> Carried | Shared:
        return slots.between(members, meetings.me, slot_bytes(party), meetings.pause)

    way = meetings.together(between, members)
    with contextlib.closing(way):
        return _rounds(way, member, meetings, failure)


def _rounds(
    way: Carried | Shared, member: _Member, meetings: Meetings, failure: Exception | None
) -> Exception | None:
    """Do all rounds of a party; return the error that this process knows of."""
    swapped = meetings.watched if isinstance(way, Shared) else meetings.together
    going = True
    while going:
        if failure is None:
            failure = tried(functools.partial(member.fill, way))
        if failure is not None:
            way.sent.heads[:, 0] = _FAILED
        received = swapped(way.swapped, member.members)
        meetings.alive()
        state = int(np.bitwise_or.reduce(received.heads[:, 0]))
        if state & _FAILED:
            return failure or Elsewhere()
        failure = tried(functools.partial(member.take, received, bool(state & _MORE)))
        going = bool(state & (_MORE | _LATER))
        del received  # before the next ones come
    return failure


def slot_bytes(party: Party) -> int:
    """The most bytes that a member sends to another one in a round."""
    return max(_LEAST_BYTES, pieces.aligned(planning.CHUNK_BYTES // len(party.members)))


def tried(work: Callable[[], None]) -> Exception | None:
    """The error of ``work``, which other processes have to be told before it is raised."""
    try:
        work()
    except Exception as error:
        return error
    return None


def met(meetings: Meetings, work: Callable[[], Exception | None]) -> None:
    """Do ``work`` on all processes, whose exchanges tell of a failure; it returns its own.

    Raises:
        CheckpointError: it failed on another process.
        Exception: it failed here.
    """

    def told() -> None:
        try:
            failure = work()
        except BaseException:
            meetings.fail()
            raise
        if failure is not None and not isinstance(failure, Elsewhere):
            raise failure

    meetings.meet(told)


class _Member:
    """What a process sends to its party, and gets from it, batch after batch.

    A window that is in reach gets values at their places, all in one round. To others go slots, as
    many rounds as it takes, from which their writers put the windows together.
    """

    def __init__(
        self, party: Party, sinks: Mapping[int, Sink], me: int, written: Callable[[int], None]
    ):
        self.members, self._me, self._limit = party.members, me, slot_bytes(party)
        self._sinks, self._written = sinks, written
        self._batches = {writer: party.batches(writer) for writer in party.stretches}
        self._next = {writer: next(batches, None) for writer, batches in self._batches.items()}
        self._begun = False

    def _begin(self, rooms: Mapping[int, np.ndarray]) -> None:
        """Begin the next batch of every writer, with the memory that is in reach."""
        self._begun = True
        batch = {writer: sections or [] for writer, sections in self._next.items()}
        self._next = {writer: next(batches, None) for writer, batches in self._batches.items()}
        self._own = own = batch.get(self._me, [])
        together = any(section.window is not None for some in batch.values() for section in some)
        self._reach = {*rooms} if together else set[int]()
        self._windows = {
            id(section): window
            for writer, some in batch.items()
            if writer in self._reach
            for section, window in _windows(some, rooms[writer])
        }
        self._missing = {
            id(section): self._windows[id(section)].size for section in own if together
        }
        self._sent = {
            writer: self._slots(some, self._me, writer)
            for writer, some in batch.items()
            if writer != self._me or together
        }
        self._ahead = {writer: next(some, None) for writer, some in self._sent.items()}
        self._got = {
            process: self._slots(own, process, process)
            for process in (self.members if own else ())
            if process != self._me or together
        }

    def _slots(self, batch: Iterable[Section], sender: int, other: int) -> Iterator[_Slot]:
        return packed(batch, sender, sys.maxsize if other in self._reach else self._limit)

    def fill(self, way: Carried | Shared) -> None:
        """Fill the slots of a round, or windows."""
        if not self._begun:
            self._begin(way.rooms)
        for process, head, content in zip(self.members, *way.sent, strict=True):
            nbytes = 0
            for section, piece in self._ahead.get(process) or ():
                if process in self._reach:
                    place = self._place(section, piece)
                else:
                    place = _values(content[nbytes:][: piece.nbytes], piece)
                boxes.gather(piece.tensor.pieces, piece.box, place)
                nbytes += pieces.aligned(piece.nbytes)
            head[8:16].view(np.uint64)[0] = nbytes
        self._ahead = {writer: next(more, None) for writer, more in self._sent.items()}
        more = any(slot is not None for slot in self._ahead.values())
        later = any(batch is not None for batch in self._next.values())
        way.sent.heads[:, 0] = _MORE * more + _LATER * later

    def take(self, received: Slots, more: bool) -> None:
        """Take the slots of a round; without ``more`` the batch ends with it."""
        for process, head, content in zip(self.members, *received, strict=True):
            at = 0
            for section, piece in next(self._got.get(process, iter(())), ()):
                self._take(section, piece, process, content[at : at + piece.nbytes])
                at += pieces.aligned(piece.nbytes)
            if at != head[8:16].view(np.uint64)[0]:
                raise CheckpointError(f"process {process} sends what the plan does not say")
        if not more:
            self._close()

    def _take(self, section: Section, piece: Piece, sender: int, data: np.ndarray) -> None:
        if section.window is None:
            self._sinks[section.number].put(piece, data.data)
            self._written(piece.nbytes)
            return
        self._missing[id(section)] -= boxes.size_of(piece.box)
        if sender not in self._reach:
            self._place(section, piece)[...] = _values(data, piece)

    def _place(self, section: Section, piece: Piece) -> np.ndarray:
        """The part of a window where the values of a piece go."""
        assert section.window is not None
        return self._windows[id(section)][(*boxes.slices(piece.box, section.window), ...)]

    def _close(self) -> None:
        """Write the windows of a batch."""
        for section in self._own:
            if section.window is None:
                continue
            if self._missing.pop(id(section)):
                raise CheckpointError("no process has all elements of a window, or several have")
            sink, piece = self._sinks[section.number], Piece(section.shares.tensor, section.window)
            sink.put(piece, planning.as_bytes(self._windows[id(section)]))
            self._written(piece.nbytes)
        self._begun = False


def _windows(batch: Iterable[Section], room: np.ndarray) -> Iterator[tuple[Section, np.ndarray]]:
    """Yield the windows of a batch with their places in the memory of their writer."""
    used = 0
    for section in batch:
        assert section.window is not None
        data = room[used:][: section.nbytes]
        shape = boxes.shape_of(section.window)
        yield section, data.view(section.shares.tensor.stored).reshape(shape)
        used += pieces.aligned(section.nbytes)


def _values(data: np.ndarray, piece: Piece) -> np.ndarray:
    return data.view(piece.tensor.stored).reshape(boxes.shape_of(piece.box))


def packed(batch: Iterable[Section], process: int, limit: int) -> Iterator[_Slot]:
    """Yield what a process sends of a batch, as many pieces at a time as fit in a slot."""
    slot: _Slot = []
    size = 0
    for section in batch:
        for piece in pieces.cut(section.shares.tensor, section.parts(process), limit):
            nbytes = pieces.aligned(piece.nbytes)
            if slot and size + nbytes > limit:
                yield slot
                slot, size = [], 0
            slot.append((section, piece))
            size += nbytes
    if slot:
        yield slot

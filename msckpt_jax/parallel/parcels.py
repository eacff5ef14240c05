"""Write a file on each process at the same time, with parts that other processes send.

Two processes of which one sends to the other, or both, exchange by themselves. Each process goes
through its pairs in an order that is the same on all; neighbours in a ring of processes are done
in three steps, whatever their number.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint import atomic, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.plan import Chunk, Plan
from msckpt_jax.checkpoint.records import Record, Spread, Tensor
from msckpt_jax.parallel import pieces, shares
from msckpt_jax.parallel.dealing import Party, Stretch
from msckpt_jax.parallel.exchange import FileSink, exchange, met, tried
from msckpt_jax.parallel.meeting import Meetings


class Parcel(NamedTuple):
    """Tensors that a process sends, and another one writes; both know their order and shapes.

    The sender has their contents. The receiver's are empty, and stand in the plan of its file.
    """

    sender: int
    receiver: int
    tensors: Sequence[Tensor]


def write(
    file: atomic.Temporary | None,
    plan: Plan,
    parcels: Sequence[Parcel],
    meetings: Meetings,
    options: writer.Options,
) -> None:
    """Write this process's file, if it has one; ``parcels`` are those that it sends or receives.

    All processes call it together, also those that have neither.

    Raises:
        CheckpointError: it failed on another process, or another process is gone.
    """

    def work() -> Exception | None:
        failure: Exception | None = None
        sinks = {} if file is None else {0: FileSink(file.fd, pieces.places(plan))}
        for party in _parties(parcels, meetings.processes):
            failure = exchange(party, sinks, meetings, lambda nbytes: None, failure)
        if failure is None:
            failure = tried(lambda: _write_own(file, plan, parcels, meetings, options))
        return failure

    met(meetings, work)


def _parties(parcels: Sequence[Parcel], processes: int) -> list[Party]:
    parties: dict[tuple[int, ...], Party] = {}
    for parcel in parcels:
        pair = tuple(sorted((parcel.sender, parcel.receiver)))
        party = parties.setdefault(pair, Party(pair, {}))
        stretches = [Stretch(0, each) for each in _shares(parcel)]
        party.stretches.setdefault(parcel.receiver, []).extend(stretches)
    return [parties[pair] for pair in sorted(parties, key=lambda pair: _turn(pair, processes))]


def _turn(pair: tuple[int, ...], processes: int) -> tuple[int, int, int]:
    """The turn of a pair: neighbours at the same distance wait for one another as little as can be.

    Pairs of a ring that begin at even places are apart, and so are those that begin at odd ones;
    the pairs that close the ring come last.
    """
    low, high = pair
    distance, around = high - low, processes - (high - low)
    return min(distance, around), 2 if around < distance else low // distance % 2, low


def _shares(parcel: Parcel) -> list[shares.Shares]:
    records = [
        Record("", "", t.shape, t, sharding=Spread(((boxes.whole(t.shape), parcel.sender),)))
        for t in parcel.tensors
    ]
    return shares.assigned(records)


def _write_own(
    file: atomic.Temporary | None,
    plan: Plan,
    parcels: Sequence[Parcel],
    meetings: Meetings,
    options: writer.Options,
) -> None:
    """Write all that nobody has sent, and the check sum of the whole."""
    if file is None:
        return
    received = {id(t) for p in parcels if p.receiver == meetings.me for t in p.tensors}
    local = threading.local()

    def put(item: tuple[int, Chunk]) -> None:
        offset, chunk = item
        data = planning.buffers(chunk, writer.staging(local))
        writer.write_vector(file.fd, data, chunk.nbytes, offset + chunk.offset)

    items = (
        (offset, chunk)
        for offset, parts in pieces.stretches(plan, received)
        for chunk in planning.chunks(parts)
    )
    for _ in writer.in_threads(put, items, options.threads):
        meetings.alive()
    if plan.trailer is not None:
        whole = np.memmap(file.path, np.uint8, "r", shape=(plan.nbytes,))
        value = writer.checksum([whole], options.threads, lambda _: meetings.alive())
        writer.write_at(file.fd, plan.trailer(value), plan.nbytes)

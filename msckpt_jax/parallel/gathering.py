"""Send the shards to process 0, which alone can write the file.

The processes take turns. Each sends its shards in windows of 8 MiB, every window by a collective
operation of a device of its own and one of process 0; no other process takes part. Process 0
announces the turns in the key-value store, where a waiting process also asks for signs of life.
"""

from __future__ import annotations

import functools
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from msckpt_jax.checkpoint import atomic, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.plan import Plan
from msckpt_jax.checkpoint.records import Record
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import pieces, shares
from msckpt_jax.parallel.meeting import Meetings
from msckpt_jax.parallel.pieces import Piece
from msckpt_jax.parallel.shares import Share

_T = TypeVar("_T")


def gather(
    path: Path, plan: Plan, records: Sequence[Record], options: writer.Options, meetings: Meetings
) -> None:
    """Write all shares on process 0, and send those of this process to it.

    Raises:
        CheckpointError: a process did not come to send or to receive.
        OSError: process 0 cannot write; all processes learn of it when they meet.
    """
    if meetings.me != 0:
        if meetings.wait_for_turn():
            _send(shares.shares_of(records, meetings.me), options, meetings.me)
        return
    by_owner: dict[int, list[Share]] = {}
    for share in shares.shares_of(records):
        by_owner.setdefault(share.owner, []).append(share)
    waiting = list(range(1, meetings.processes))
    fd = atomic.opened_again(path)
    try:
        pieces.write_others(fd, plan, records, threading.local())
        own = _own(by_owner.get(0, []))
        _write(fd, plan, by_owner.get(0, []), own, options, meetings)
        while waiting:
            owner = waiting.pop(0)
            theirs = by_owner.get(owner, [])
            meetings.give_turn(owner, bool(theirs))
            _write(fd, plan, theirs, _received(theirs, owner, options), options, meetings)
        if options.durable:
            os.fsync(fd)
    finally:
        os.close(fd)
        for owner in waiting:  # after an error: no process waits for a turn that does not come
            meetings.give_turn(owner, False)


def _write(
    fd: int,
    plan: Plan,
    owned: list[Share],
    windows: Iterator[tuple[list[Piece], memoryview]],
    options: writer.Options,
    meetings: Meetings,
) -> None:
    """Write the windows of an owner. After an error the rest is received, but not written."""
    places = pieces.places(plan, owned)
    failure: OSError | None = None
    for batch, data in windows:
        meetings.alive()
        if failure is not None:
            continue
        try:
            for piece in batch:
                pieces.write_runs(fd, piece, data, places)
                data = data[piece.nbytes :]
                if options.progress is not None:
                    options.progress(piece.nbytes)
        except OSError as error:
            failure = error
    if failure is not None:
        raise failure


def _own(owned: list[Share]) -> Iterator[tuple[list[Piece], memoryview]]:
    local = threading.local()
    for piece in pieces.cut(owned):
        yield [piece], pieces.content(piece, local)


def _send(owned: list[Share], options: writer.Options, me: int) -> None:
    local = threading.local()
    for batch in _batches(owned):
        window, at = _window(batch), 0
        for piece in batch:
            window[at : at + piece.nbytes] = pieces.content(piece, local)
            at += piece.nbytes
        _in_time(options.timeout, functools.partial(_meet_on_devices, window, me))


def _received(
    owned: list[Share], owner: int, options: writer.Options
) -> Iterator[tuple[list[Piece], memoryview]]:
    for batch in _batches(owned):
        receive = functools.partial(_meet_on_devices, _window(batch), owner)
        yield batch, _in_time(options.timeout, receive).data


def _batches(owned: list[Share]) -> Iterator[list[Piece]]:
    """Yield the pieces of an owner, as many at a time as fit in a window."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces.cut(owned):
        if batch and size + piece.nbytes > planning.CHUNK_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += piece.nbytes
    if batch:
        yield batch


def _window(batch: list[Piece]) -> np.ndarray:
    """Zeros for a batch; their number is a power of two, because each size is compiled once."""
    size = sum(piece.nbytes for piece in batch)
    return np.zeros(1 << max(12, (size - 1).bit_length()), np.uint8)


def _meet_on_devices(window: np.ndarray, owner: int) -> np.ndarray:
    """Return the owner's window there and on process 0: its sum with the zeros of process 0."""
    pair = [_first_device(0), _first_device(owner)]
    mesh = jax.sharding.Mesh(np.array(pair), ("pair",))
    mine = jax.device_put(window[None], pair[0 if jax.process_index() == 0 else 1])
    both = jax.make_array_from_single_device_arrays(
        (2, window.size), jax.NamedSharding(mesh, jax.P("pair")), [mine]
    )
    return np.asarray(_sum(mesh)(both).addressable_data(0))


@functools.lru_cache(8)
def _sum(mesh: jax.sharding.Mesh) -> Any:
    whole = jax.NamedSharding(mesh, jax.P())
    return jax.jit(lambda windows: windows.sum(0, dtype=windows.dtype), out_shardings=whole)


@functools.cache
def _first_device(process: int) -> Any:
    return next(d for d in jax.devices() if d.process_index == process)


def _in_time(timeout: float, work: Callable[[], _T]) -> _T:
    """Return the result of a collective operation, or fail when a process does not take part."""
    out: queue.Queue[tuple[bool, Any]] = queue.Queue()

    def run() -> None:
        try:
            out.put((True, work()))
        except BaseException as error:
            out.put((False, error))

    threading.Thread(target=run, daemon=True, name="msckpt gather").start()
    try:
        good, value = out.get(timeout=timeout)
    except queue.Empty:
        raise CheckpointError(f"no process sent a window for {timeout:g} seconds") from None
    if not good:
        raise CheckpointError(f"another process is gone: {value}") from value
    return value

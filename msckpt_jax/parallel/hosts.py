"""One merged file from many processes: each writes the byte ranges of its own shards.

Process 0 creates the file under a temporary name, writes the headers and what is no sharded
array, and publishes it by a rename once all have said that they are done. The layout of the file
is planned alike on every process, from names, shapes and shardings alone. A replicated shard is
written by the process that has the least to write. When a process does not see the temporary
file, because the hosts share no file system, the shards are sent to process 0 in windows.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import hashlib
import math
import os
import queue
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jax.experimental import multihost_utils

from msckpt_jax.checkpoint import atomic, boxes, wire, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.plan import Plan, Range
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel.meeting import Meetings

_T = TypeVar("_T")


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


def needed(found: Sequence[Record]) -> bool:
    """Whether a record holds an array that spans processes, so that all must write it together."""
    return any(map(_spans, found))


def write(
    target: Any, plan: Plan, found: Sequence[Record], options: writer.Options, may_gather: bool
) -> None:
    """Write ``plan``, the same on every process, to one file.

    ``may_gather`` says that collective operations may run now: no training step does.

    Raises:
        CheckpointError: the trees of the processes differ; a process has failed, or gave no sign
            of life for ``options.timeout`` seconds. The previous file is then left as it was.
            Or the processes share no file system, and ``may_gather`` is false.
    """
    meetings = Meetings(target, options.timeout)
    with contextlib.ExitStack() as stack:
        file: atomic.Temporary | None = None

        def begin() -> str:
            nonlocal file
            if meetings.me != 0:
                return ""
            file = stack.enter_context(_publishing(target, options, meetings))
            writer.reserve(file.fd, plan.nbytes)
            return str(file.path)

        path = Path(meetings.meet(begin, _digest(plan)).first)
        _write_all(path, plan, found, options, meetings, may_gather)
        if options.crc and file is not None:
            _append_crc(file, plan.nbytes, meetings)
    meetings.meet(lambda: None)  # process 0 has published the file


@contextlib.contextmanager
def _publishing(
    target: Any, options: writer.Options, meetings: Meetings
) -> Iterator[atomic.Temporary]:
    """The temporary file of process 0; one on its own disk when the target is an object store."""
    if isinstance(target, Path):
        with atomic.replacing(Path(os.path.realpath(target)), durable=options.durable) as file:
            yield file
        return
    with tempfile.TemporaryDirectory(prefix="msckpt-") as folder:
        path = Path(folder) / target.name
        with open(path, "xb") as file:
            yield atomic.Temporary(file.fileno(), path)
        whole = np.memmap(path, np.uint8, "r")
        upload = writer.Options(progress=lambda _: meetings.alive())
        writer.write(target, Plan([whole], whole.nbytes), upload)


def _write_all(
    path: Path,
    plan: Plan,
    found: Sequence[Record],
    options: writer.Options,
    meetings: Meetings,
    may_gather: bool,
) -> None:
    """Write each process's part, or let process 0 write all where only it sees the file."""
    if meetings.meet(path.exists).everywhere:
        meetings.meet(lambda: _write_mine(path, plan, found, options, meetings))
    elif may_gather:
        meetings.meet(lambda: _gather(path, plan, found, options, meetings))
    else:
        raise CheckpointError(
            "the processes share no file system: the shards have to be sent to process 0, which "
            "cannot be done while training goes on; save without async_save",
            file=meetings.target,
        )


def shares_of(found: Sequence[Record], only: int | None = None) -> list[Share]:
    """Who writes what of each array that spans processes: the same rule on every process.

    With ``only`` no more than the shares of that process are made: those of all are as many as
    devices times arrays.
    """
    spanning = [(r, _holders(r.sharding, r.dims)) for r in found if _spans(r)]
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


def _spans(record: Record) -> bool:
    return record.sharding is not None and not record.sharding.is_fully_addressable


class _Holders(NamedTuple):
    """Which processes hold the distinct shards of an array.

    ``alone``: what only one has, by process, and ``alone_elements`` how many elements that are.
    ``shared``: the other shards, with the processes of each in ascending order.
    """

    processes: int
    alone: dict[int, list[boxes.Box]]
    alone_elements: np.ndarray
    shared: list[tuple[boxes.Box, np.ndarray]]


@functools.lru_cache(64)  # the layers of a model are alike
def _holders(sharding: Any, shape: tuple[int, ...]) -> _Holders:
    found: dict[boxes.Box, set[int]] = {}
    for device, index in sharding.devices_indices_map(shape).items():
        box = boxes.from_index(index or (), shape)
        found.setdefault(box, set()).add(device.process_index)
    count = 1 + max(max(processes) for processes in found.values())
    out = _Holders(count, {}, np.zeros(count, np.int64), [])
    for box, processes in sorted(found.items()):
        if len(processes) > 1:
            out.shared.append((box, np.array(sorted(processes))))
            continue
        (process,) = processes
        out.alone.setdefault(process, []).append(box)
        out.alone_elements[process] += boxes.size_of(box)
    return out


def joined(parts: Sequence[boxes.Box]) -> tuple[boxes.Box, ...]:
    """Boxes with those that touch along one axis made one, so that fewer writes are needed."""
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


def _write_mine(
    path: Path,
    plan: Plan,
    found: Sequence[Record],
    options: writer.Options,
    meetings: Meetings,
) -> None:
    local = threading.local()
    mine = shares_of(found, meetings.me)
    fd = os.open(path, os.O_WRONLY)
    try:
        if meetings.me == 0:
            _write_others(fd, plan, found, local)
        places = _places(plan, mine)

        def one(piece: Piece) -> None:
            _write_runs(fd, piece, _content(piece, local), places)
            meetings.alive()
            if options.progress is not None:
                options.progress(piece.nbytes)

        for _ in writer.in_threads(one, _pieces(mine), options.threads):
            pass
        if options.durable:
            os.fsync(fd)
    finally:
        os.close(fd)


def _write_others(fd: int, plan: Plan, found: Sequence[Record], local: threading.local) -> None:
    """Write the headers, and the arrays that this process has whole."""
    spanning = {id(record.content) for record in found if _spans(record)}
    for offset, parts in _others(plan, spanning):
        for chunk in planning.chunks(parts):
            data = planning.buffers(chunk, writer.staging(local))
            writer.write_vector(fd, data, chunk.nbytes, offset + chunk.offset)


def _gather(
    path: Path, plan: Plan, found: Sequence[Record], options: writer.Options, meetings: Meetings
) -> None:
    """Send the pieces of all shares to process 0, a window at a time, which writes them.

    A process that fails goes on taking part, or the others would wait for it for ever.
    """
    local = threading.local()
    shares = shares_of(found)
    places = _places(plan, shares)
    failure: BaseException | None = None
    fd = None
    try:
        if meetings.me == 0:
            fd = os.open(path, os.O_WRONLY)
            _write_others(fd, plan, found, local)
    except OSError as error:
        failure = error
    try:
        for owner, batch in _batches(shares):
            window = np.zeros(_rounded(sum(piece.nbytes for piece in batch)), np.uint8)
            if meetings.me == owner:
                at = 0
                for piece in batch:
                    window[at : at + piece.nbytes] = _content(piece, local)
                    at += piece.nbytes
            if owner != 0:
                send = functools.partial(_from_owner, window, meetings.me == owner)
                window = in_time(options.timeout, send)
            if fd is None or failure is not None:
                continue
            try:
                data = window.data
                for piece in batch:
                    _write_runs(fd, piece, data, places)
                    data = data[piece.nbytes :]
                    if options.progress is not None:
                        options.progress(piece.nbytes)
            except OSError as error:
                failure = error
        if fd is not None and options.durable:
            os.fsync(fd)
    finally:
        if fd is not None:
            os.close(fd)
    if failure is not None:
        raise failure


def _from_owner(window: np.ndarray, owner: bool) -> np.ndarray:
    return np.asarray(multihost_utils.broadcast_one_to_all(window, is_source=owner))


def _batches(shares: list[Share]) -> Iterator[tuple[int, list[Piece]]]:
    """The pieces of each owner in turn, as many at a time as fit in a window."""
    batch: list[Piece] = []
    size = 0
    for piece in _pieces(sorted(shares, key=lambda share: share.owner)):
        if batch and (
            piece.share.owner != batch[0].share.owner or size + piece.nbytes > planning.CHUNK_BYTES
        ):
            yield batch[0].share.owner, batch
            batch, size = [], 0
        batch.append(piece)
        size += piece.nbytes
    if batch:
        yield batch[0].share.owner, batch


def _rounded(size: int) -> int:
    """To a power of two: each size of window is compiled once."""
    return 1 << max(12, (size - 1).bit_length())


def _others(plan: Plan, own: set[int]) -> Iterator[tuple[int, list[planning.Part]]]:
    """The stretches of parts that are no sharded tensors, with their offsets."""
    offset = begin = 0
    parts: list[planning.Part] = []
    for part in plan.parts:
        size = planning.size_of(part)
        if isinstance(part, Range) and id(part.tensor) in own:
            yield begin, parts
            begin, parts = offset + size, []
        else:
            parts.append(part)
        offset += size
    yield begin, parts


def _places(plan: Plan, shares: list[Share]) -> dict[int, list[tuple[int, int]]]:
    """For each shared tensor the ``(first element, offset)`` of its slices."""
    out: dict[int, list[tuple[int, int]]] = {id(share.tensor): [] for share in shares}
    offset = 0
    for part in plan.parts:
        if isinstance(part, Range) and id(part.tensor) in out:
            out[id(part.tensor)].append((part.start, offset))
        offset += planning.size_of(part)
    return out


def _pieces(shares: list[Share]) -> Iterator[Piece]:
    """The shares cut into boxes that fit in a window of memory."""
    for share in shares:
        limit = max(1, planning.CHUNK_BYTES // share.tensor.stored.itemsize)
        for box in share.boxes:
            for part in boxes.of_range(boxes.shape_of(box), 0, boxes.size_of(box), limit):
                sides = zip(part, box, strict=True)
                yield Piece(share, tuple((a + o, b + o) for (a, b), (o, _) in sides))


def _content(piece: Piece, local: threading.local) -> memoryview:
    """The bytes of a piece, gathered if need be; valid until the next call of the thread."""
    chunk = planning.Chunk(0, piece.nbytes, [planning.Window(piece.share.tensor, piece.box)])
    return planning.as_bytes(planning.buffers(chunk, writer.staging(local))[0])


def _write_runs(
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
    """``(first element, count)`` of the stretches of a box that are contiguous in the tensor."""
    axis = len(shape)
    while axis > 0 and (axis == len(shape) or box[axis] == (0, shape[axis])):
        axis -= 1
    strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    base = sum(low * stride for (low, _), stride in zip(box, strides, strict=True))
    count = boxes.size_of(box[axis:])
    for index in np.ndindex(*boxes.shape_of(box[:axis])):
        yield base + sum(i * s for i, s in zip(index, strides, strict=False)), count


def _append_crc(file: atomic.Temporary, size: int, meetings: Meetings) -> None:
    """Process 0 reads what all have written: pieces of many hosts have no order to join in."""
    data = np.memmap(file.path, np.uint8, "r", shape=(size,))
    value = writer.checksum([data], progress=lambda _: meetings.alive())
    os.pwrite(file.fd, wire.crc_trailer(value), size)


def _digest(plan: Plan) -> str:
    """What all processes must have in common: headers, and the sizes of what lies between."""
    found = hashlib.sha256()
    for part in plan.parts:
        found.update(part if isinstance(part, bytes) else b"%d" % planning.size_of(part))
    return found.hexdigest()


def in_time(timeout: float, work: Callable[[], _T]) -> _T:
    """The result of a collective operation, or an error when a process does not come to it."""
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

"""One merged file from many processes: each writes the byte ranges of its own shards.

Process 0 creates the file under a temporary name, writes the headers and what is no sharded
array, and publishes it by a rename once all have said that they are done. The layout of the file
is planned alike on every process, from names, shapes and shardings alone. A replicated shard is
written by the process that has the least to write.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import math
import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from msckpt_jax.checkpoint import atomic, boxes, wire, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.plan import Plan, Range
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.errors import CheckpointError

_T = TypeVar("_T")


class Share(NamedTuple):
    """The boxes of a tensor that this process writes, joined where they touch."""

    tensor: Tensor
    boxes: tuple[boxes.Box, ...]


def write(target: Any, plan: Plan, found: Sequence[Record], options: writer.Options) -> None:
    """Write ``plan``, the same on every process, to one file on a shared file system.

    Raises:
        CheckpointError: the trees of the processes differ; a process has failed or died (after
            ``options.timeout`` seconds). The previous file is then left as it was.
        ValueError: encryption, or a target that is no local path.
    """
    if not isinstance(target, Path):
        raise ValueError(f"many processes write to a path of a shared file system, not {target}")
    if options.mode is not None:
        raise ValueError("a file written by many processes cannot be encrypted; encrypt it "
                         "afterwards with `msckpt convert --enc-key-file`")  # fmt: skip
    target = Path(os.path.realpath(target))
    shares = shares_of(found)
    meet = functools.partial(_meet, target, options.timeout)
    if jax.process_index() == 0:
        with atomic.replacing(target, durable=options.durable) as file:
            meet(lambda: writer.reserve(file.fd, plan.nbytes), _digest(plan), file.path.name)
            meet(lambda: _write_share(file.fd, plan, shares, options, first=True))
            if options.crc:
                _append_crc(file, plan.nbytes)
    else:
        name = meet(lambda: None, _digest(plan))
        meet(lambda: _write_mine(target.parent / name, plan, shares, options))
    meet(lambda: None)  # process 0 has published the file


def shares_of(found: Sequence[Record]) -> list[Share]:
    """What this process writes of each sharded tensor: the same rule on every process."""
    load: Counter[int] = Counter()
    out = []
    me = jax.process_index()
    for record in found:
        content, sharding = record.content, record.sharding
        if sharding is None or sharding.is_fully_addressable:
            continue
        holders: dict[boxes.Box, set[int]] = {}
        for device, index in sharding.devices_indices_map(record.dims).items():
            box = boxes.from_index(index or (), record.dims)
            holders.setdefault(box, set()).add(device.process_index)
        mine = []
        for box, processes in sorted(holders.items()):
            owner = min(processes, key=lambda p: (load[p], p))
            load[owner] += boxes.size_of(box)
            if owner == me:
                mine.append(box)
        assert isinstance(content, Tensor)
        out.append(Share(content, joined(mine)))
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


def _write_mine(path: Path, plan: Plan, shares: list[Share], options: writer.Options) -> None:
    try:
        fd = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        raise CheckpointError(
            "this process does not see the file that process 0 has made: is the folder on a file "
            "system that all processes share?",
            file=path,
        ) from None
    try:
        _write_share(fd, plan, shares, options, first=False)
    finally:
        os.close(fd)


def _write_share(
    fd: int, plan: Plan, shares: list[Share], options: writer.Options, first: bool
) -> None:
    places = _places(plan, shares)
    local = threading.local()
    if first:
        own = {id(share.tensor) for share in shares}
        for offset, parts in _others(plan, own):
            for chunk in planning.chunks(parts):
                found = planning.buffers(chunk, writer.staging(local))
                writer.write_vector(fd, found, chunk.nbytes, offset + chunk.offset)

    def one(piece: tuple[Share, boxes.Box]) -> None:
        _write_box(fd, piece[0].tensor, piece[1], places[id(piece[0].tensor)], local, options)

    for _ in writer.in_threads(one, _windows(shares), options.threads):
        pass
    if options.durable:
        os.fsync(fd)


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


def _windows(shares: list[Share]) -> Iterator[tuple[Share, boxes.Box]]:
    """Boxes that fit in a window of memory."""
    for share in shares:
        limit = max(1, planning.CHUNK_BYTES // share.tensor.stored.itemsize)
        for box in share.boxes:
            for part in boxes.of_range(boxes.shape_of(box), 0, boxes.size_of(box), limit):
                yield share, tuple((a + o, b + o) for (a, b), (o, _) in zip(part, box, strict=True))


def _write_box(
    fd: int,
    tensor: Tensor,
    box: boxes.Box,
    places: list[tuple[int, int]],
    local: threading.local,
    options: writer.Options,
) -> None:
    """Gather a box and write its runs, each contiguous in the file."""
    size = tensor.stored.itemsize
    window = planning.Window(tensor, box)
    chunk = planning.Chunk(0, window.nbytes, [window])
    data = planning.as_bytes(planning.buffers(chunk, writer.staging(local))[0])
    for start, count in runs(tensor.shape, box):
        stop = start + count
        while start < stop:  # a run may go on in the next slice
            at = bisect.bisect_right(places, (start, math.inf)) - 1
            first, offset = places[at]
            end = min(stop, places[at + 1][0]) if at + 1 < len(places) else stop
            nbytes = (end - start) * size
            writer.write_vector(fd, [data[:nbytes]], nbytes, offset + (start - first) * size)
            data, start = data[nbytes:], end
    if options.progress is not None:
        options.progress(chunk.nbytes)


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


def _append_crc(file: atomic.Temporary, size: int) -> None:
    """Process 0 reads what all have written: pieces of many hosts have no order to join in."""
    data = np.memmap(file.path, np.uint8, "r", shape=(size,))
    os.pwrite(file.fd, wire.crc_trailer(writer.checksum([data])), size)


# Agreement


def _digest(plan: Plan) -> bytes:
    """What all processes must have in common: headers, and the sizes of what lies between."""
    found = hashlib.sha256()
    for part in plan.parts:
        found.update(part if isinstance(part, bytes) else b"%d" % planning.size_of(part))
    return found.digest()


def _meet(
    target: Path, timeout: float, work: Callable[[], Any], digest: bytes = b"", text: str = ""
) -> str:
    """Do ``work``, wait for all others, and fail on all when it failed on one.

    Returns the text that process 0 has brought along.
    """
    error: BaseException | None = None
    try:
        work()
    except BaseException as caught:
        error = caught
    row = _row(error is None, digest, text)
    try:
        rows = _in_time(timeout, lambda: np.asarray(multihost_utils.process_allgather(row)))
    except CheckpointError as gone:
        raise error or gone from None
    if error is not None:
        raise error
    failed = [i for i, good in enumerate(rows[:, 0]) if not good]
    if failed:
        raise CheckpointError(
            f"saving failed on processes {failed}, whose errors say why", file=target
        )
    if len({row[1:33].tobytes() for row in rows}) > 1:
        raise CheckpointError("the processes save different names, shapes or dtypes", file=target)
    return rows[0, 33:].tobytes().rstrip(b"\0").decode()


def _row(good: bool, digest: bytes, text: str) -> np.ndarray:
    """What a process brings to a meeting: whether it is well, 32 bytes, and 256 of text."""
    data = bytes([good]) + digest.ljust(32, b"\0") + text.encode().ljust(256, b"\0")
    return np.frombuffer(data, np.uint8)


def _in_time(timeout: float, work: Callable[[], _T]) -> _T:
    """The result of a collective operation, or an error when a process does not come to it."""
    out: queue.Queue[tuple[bool, Any]] = queue.Queue()

    def run() -> None:
        try:
            out.put((True, work()))
        except BaseException as error:
            out.put((False, error))

    threading.Thread(target=run, daemon=True, name="msckpt barrier").start()
    try:
        good, value = out.get(timeout=timeout)
    except queue.Empty:
        raise CheckpointError(
            f"another process did not answer for {timeout:g} seconds: it died, or it did not "
            "call save_checkpoint"
        ) from None
    if not good:
        raise CheckpointError(f"another process is gone: {value}") from value
    return value

"""Records become a plan: every byte of the file has its place before any is written.

A plan is the file's parts in order. A part is bytes or an array written as it lies in memory, or
an element range of a :class:`~msckpt_jax.checkpoint.records.Tensor`. :func:`chunks` cuts the plan
into units of bounded size that can be written in any order, by any number of threads.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint.records import Tensor

#: MindSpore cuts tensors here (train/serialization.py, SLICE_SIZE); every reader joins them.
SLICE_BYTES = 512 << 20
#: The most bytes of a chunk, hence the memory that a thread needs: the window of everything that
#: copies piece by piece. Large enough that a call or a seek costs nothing beside the bytes.
CHUNK_BYTES = 8 << 20
#: The number of buffers that POSIX guarantees for a vectored write on Linux.
_MAX_BUFFERS = 1024
#: A chunk, 16 bytes more for each buffer that has to be aligned, and a cipher's last block.
STAGING_BYTES = CHUNK_BYTES + 32 * 1024


class Range(NamedTuple):
    """The elements ``[start, stop)`` of a tensor."""

    tensor: Tensor
    start: int
    stop: int


class Window(NamedTuple):
    """A box of a tensor that is contiguous in the file."""

    tensor: Tensor
    box: boxes.Box

    @property
    def nbytes(self) -> int:
        return boxes.size_of(self.box) * self.tensor.stored.itemsize


Part: TypeAlias = bytes | np.ndarray | memoryview | Range


class Plan(NamedTuple):
    """The parts of a file and their ``nbytes``; ``trailer`` makes its last bytes of their CRC32."""

    parts: list[Part]
    nbytes: int
    trailer: Callable[[int], bytes] | None = None


class Chunk(NamedTuple):
    """Consecutive bytes of the file: their offset, their number, and the parts that hold them."""

    offset: int
    nbytes: int
    items: list[bytes | np.ndarray | memoryview | Window]


def size_of(part: Part) -> int:
    """The bytes of a part."""
    if isinstance(part, Range):
        return (part.stop - part.start) * part.tensor.stored.itemsize
    return len(part) if isinstance(part, bytes) else part.nbytes


def digest(plans: Iterable[Plan]) -> str:
    """A hash of the headers of files and of the sizes of all other parts."""
    out = hashlib.sha256()
    for part in itertools.chain.from_iterable(plan.parts for plan in plans):
        out.update(part if isinstance(part, bytes) else b"%d" % size_of(part))
    return out.hexdigest()


def as_bytes(buffer: bytes | np.ndarray | memoryview) -> memoryview:
    """A contiguous buffer as a flat memoryview of bytes, without a copy."""
    if isinstance(buffer, np.ndarray):  # by uint8, because ml_dtypes know no buffer protocol
        return buffer.reshape(-1).view(np.uint8).data
    return memoryview(buffer)


def chunks(parts: Iterable[Part]) -> Iterator[Chunk]:
    """Cut ``parts`` into chunks of at most ``CHUNK_BYTES``, small neighbours joined."""
    items: list[bytes | np.ndarray | memoryview | Window] = []
    offset = size = 0
    for item, nbytes in _pieces(parts, CHUNK_BYTES):
        if size + nbytes > CHUNK_BYTES or len(items) == _MAX_BUFFERS:
            yield Chunk(offset, size, items)
            offset, items, size = offset + size, [], 0
        items.append(item)
        size += nbytes
    if items:
        yield Chunk(offset, size, items)


def _pieces(
    parts: Iterable[Part], limit: int
) -> Iterator[tuple[bytes | np.ndarray | memoryview | Window, int]]:
    for part in parts:
        if isinstance(part, Range):
            itemsize = part.tensor.stored.itemsize
            most = max(1, limit // itemsize)
            for box in boxes.of_range(part.tensor.shape, part.start, part.stop, most):
                yield Window(part.tensor, box), boxes.size_of(box) * itemsize
            continue
        nbytes = size_of(part)
        if nbytes <= limit:
            yield part, nbytes
            continue
        flat = as_bytes(part)
        for start in range(0, nbytes, limit):
            yield flat[start : start + limit], min(limit, nbytes - start)


def buffers(chunk: Chunk, staging: np.ndarray) -> list[memoryview | bytes | np.ndarray]:
    """The chunk's bytes as a list of buffers; windows are gathered into ``staging`` if need be.

    ``staging`` is a uint8 array of at least ``chunk.nbytes``, reused from chunk to chunk.
    """
    out: list[memoryview | bytes | np.ndarray] = []
    used = 0
    for item in chunk.items:
        if not isinstance(item, Window):
            simple = not isinstance(item, np.ndarray) or item.dtype.kind in "biuf"
            out.append(item if simple else as_bytes(item))
            continue
        stored = item.tensor.stored
        view = boxes.view(item.tensor.pieces, item.box)
        if view is None or view.dtype != stored or not view.flags.c_contiguous:
            nbytes = item.nbytes
            view = staging[used : used + nbytes].view(stored).reshape(boxes.shape_of(item.box))
            boxes.gather(item.tensor.pieces, item.box, view)
            used += nbytes + -nbytes % 16  # the next window may have larger elements
        out.append(as_bytes(view))
    return out

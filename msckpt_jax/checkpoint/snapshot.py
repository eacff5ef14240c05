"""Freeze records: the bytes written later are those that the arrays hold now."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint import writer
from msckpt_jax.checkpoint.records import File, Record, Tensor

_BLOCK = 16 << 20
_ALIGN = 64


def frozen(files: list[File]) -> list[File]:
    """The files with contents that no one else can change: threads copy what is not frozen."""
    copies: dict[int, tuple[np.ndarray, Any]] = {}

    def copied(source: Any) -> np.ndarray:
        if id(source) not in copies:
            copies[id(source)] = np.empty(*_layout(source)), source
        return copies[id(source)][0]

    def keep(record: Record) -> Record:
        return record if record.frozen else _map_arrays(record, copied)

    out = [file._replace(records=[keep(record) for record in file.records]) for file in files]
    _copy_all(list(copies.values()))
    return out


def _layout(source: Any) -> tuple[tuple[int, ...], np.dtype]:
    return source.shape, source.dtype


def _map_arrays(record: Record, change: Any) -> Record:
    content = record.content
    if isinstance(content, Tensor):
        pieces = tuple((box, change(source)) for box, source in content.pieces)
        return record._replace(content=content._replace(pieces=pieces))
    return record if isinstance(content, bytes) else record._replace(content=change(content))


def _copy_all(copies: list[tuple[np.ndarray, Any]]) -> None:
    """Copy in blocks by threads: a small array is one block, a large array is many."""
    blocks: list[tuple[np.ndarray, Any, boxes.Box]] = []
    for copy, source in copies:
        limit = max(1, _BLOCK // max(1, copy.itemsize))
        for box in boxes.of_range(copy.shape, 0, copy.size, limit):
            blocks.append((copy, source, box))

    def copy_block(block: tuple[np.ndarray, Any, boxes.Box]) -> None:
        copy, source, box = block
        index = boxes.slices(box, boxes.whole(copy.shape))
        copy[index] = source[index]

    if sum(copy.nbytes for copy, _ in copies) <= _BLOCK:
        for block in blocks:
            copy_block(block)
    else:
        with ThreadPoolExecutor(writer.THREADS) as pool:
            list(pool.map(copy_block, blocks))


class Place(NamedTuple):
    """The place of an array in the shared memory."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype


class Shared(NamedTuple):
    """Files whose arrays are places in an anonymous file that another process can map."""

    fd: int
    nbytes: int
    files: list[File]


def share(files: list[File]) -> Shared:
    """Copy all arrays into an anonymous file in memory; places stand for them afterwards."""
    places: dict[int, tuple[Place, Any]] = {}
    end = 0

    def placed(source: Any) -> Place:
        nonlocal end
        if id(source) not in places:
            place = Place(end, *_layout(source))
            places[id(source)] = place, source
            end += _nbytes(place)
            end += -end % _ALIGN
        return places[id(source)][0]

    out = [
        File(str(target), [_map_arrays(r, placed)._replace(sharding=None) for r in records])
        for target, records in files
    ]
    fd = anonymous_file(size=end)
    memory = mmap.mmap(fd, end) if end else b""
    _copy_all([(_array(memory, place), source) for place, source in places.values()])
    return Shared(fd, end, out)


def attach(shared: Shared) -> list[File]:
    """The files of :func:`share`, in the process that inherited the descriptor."""
    size = os.fstat(shared.fd).st_size
    memory = mmap.mmap(shared.fd, size) if size else b""

    def array(place: Place) -> np.ndarray:
        return _array(memory, place)

    return [File(t, [_map_arrays(r, array) for r in records]) for t, records in shared.files]


def anonymous_file(content: bytes = b"", size: int = 0) -> int:
    """The descriptor of a new file in memory, at its beginning: ``content``, or so many zeros."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("msckpt_jax")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, max(size, len(content)))
    written = 0
    while written < len(content):
        written += os.pwrite(fd, content[written:], written)
    return fd


def _array(memory: Any, place: Place) -> np.ndarray:
    count = math.prod(place.shape)
    if count == 0:
        return np.empty(place.shape, place.dtype)
    return np.frombuffer(memory, place.dtype, count, place.offset).reshape(place.shape)


def _nbytes(place: Place) -> int:
    return math.prod(place.shape) * place.dtype.itemsize

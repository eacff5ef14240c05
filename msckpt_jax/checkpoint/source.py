"""The bytes of a file for reading: mapped when it is local, fetched block by block when not."""

from __future__ import annotations

import collections
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint import writer
from msckpt_jax.errors import CheckpointError


def open_source(name: Any) -> memoryview | RemoteBytes:
    """The content of a file as something that is indexed with ints and slices.

    Raises:
        CheckpointError: a folder, or an empty file.
        FileNotFoundError: there is no such file.
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"ckpt_file_name must be a path, not {type(name).__name__}")
    path = writer.path_of(name)
    if path.is_dir():
        ranks = any(path.glob("rank_*"))
        hint = "; load_checkpoint reads its rank files with strategy=FILE" if ranks else ""
        raise CheckpointError(f"this is a folder, not a CheckPoint file{hint}", file=path)
    if not isinstance(path, Path):
        remote = RemoteBytes(path)
        if not len(remote):
            raise CheckpointError("the file is empty", file=path)
        return remote
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise CheckpointError("the file is empty", file=path)
        try:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (ValueError, OSError):  # a pipe or another special file
            data = file.read()
    if not data:
        raise CheckpointError("the file is empty", file=path)
    return memoryview(data)


class RemoteBytes:
    """A remote file, read in blocks on demand; the last few blocks are kept."""

    BLOCK = 64 << 10
    KEPT = 64

    def __init__(self, path: Any):
        self._file = path.open("rb")
        self._size = path.stat().length
        self._blocks: collections.OrderedDict[int, bytes] = collections.OrderedDict()

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            number, at = divmod(index, self.BLOCK)
            return self._block(number)[at]
        start, stop, _ = index.indices(self._size)
        if stop - start > self.BLOCK:
            return memoryview(self._read(start, stop - start))
        parts = []
        while start < stop:
            number, at = divmod(start, self.BLOCK)
            part = self._block(number)[at : at + stop - start]
            parts.append(part)
            start += len(part)
        return memoryview(b"".join(parts))

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            start = number * self.BLOCK
            self._blocks[number] = self._read(start, min(self.BLOCK, self._size - start))
            if len(self._blocks) > self.KEPT:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _read(self, start: int, count: int) -> bytes:
        self._file.seek(start)
        data = self._file.read(count)
        if len(data) != count:
            raise CheckpointError(
                "the remote file ends early", offset=start, expected=count, found=len(data)
            )
        return data

    def close(self) -> None:
        self._file.close()


class RemotePiece:
    """A part of a tensor in a remote file: indexing it reads only the rows that are asked for."""

    def __init__(self, data: RemoteBytes, start: int, shape: tuple[int, ...], dtype: np.dtype):
        self.data, self.start, self.shape, self.dtype = data, start, shape, dtype

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        box = boxes.from_index(index, self.shape)
        rows = (box[0], *boxes.whole(self.shape[1:])) if box else box
        row_bytes = boxes.size_of(rows[1:]) * self.dtype.itemsize
        start = self.start + (rows[0][0] * row_bytes if rows else 0)
        stop = start + boxes.size_of(rows) * self.dtype.itemsize
        read = np.frombuffer(self.data[start:stop], self.dtype).reshape(boxes.shape_of(rows))
        return read[boxes.slices(box, rows)]

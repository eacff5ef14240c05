"""The bytes of a file for reading: mapped, read block by block, or by ranges of an object."""

from __future__ import annotations

import bisect
import collections
import itertools
import math
import mmap
import os
import re
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import arguments, boxes, display
from msckpt_jax.checkpoint import paths, settled
from msckpt_jax.checkpoint.mappings import Remapped
from msckpt_jax.checkpoint.naming import naming
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.checkpoint.stores.path import StorePath
from msckpt_jax.checkpoint.stores.ranges import StoreBytes, StorePiece
from msckpt_jax.errors import CheckpointError


class Source(NamedTuple):
    """The content of a path: the ``data`` of a file, or the sorted ``names`` in a folder.

    ``data`` is indexed with ints and slices, as a memoryview is; it is None for a folder. ``mmap``
    says whether local files are mapped, those in the folder, too.
    """

    path: Path | StorePath
    data: Any
    names: Sequence[str] = ()
    mmap: bool = True


def opened(name: PathLike, mmap: bool = True) -> Source:
    """Open a file, or list a folder.

    Raises:
        CheckpointError: the file is empty, or a save into its folder was interrupted.
        FileNotFoundError: there is neither a file nor a folder.
        TypeError: the name is no path, or ``mmap`` no bool.
    """
    arguments.flags(mmap=mmap)
    path = paths.path_of(name, "ckpt_file_name")
    if path.is_dir():
        return Source(path, None, sorted(entry.name for entry in path.iterdir()), mmap)
    try:
        if isinstance(path, StorePath):
            data = StoreBytes(path)
        elif mmap or not path.is_file():
            data = _mapped(path)
        else:
            data = ReadBytes(path)
    except FileNotFoundError:
        settled.check_settled(path.parent)  # a save may be about to put it there
        raise
    if not len(data):
        raise CheckpointError("the file is empty", file=path)
    return Source(path, data, mmap=mmap)


def open_source(name: PathLike, mmap: bool = True) -> Any:
    """The content of a file, to be indexed with ints and slices.

    Raises:
        CheckpointError: a folder, or an empty file.
        FileNotFoundError: there is no such file.
    """
    source = opened(name, mmap)
    if source.data is None:
        raise is_folder(source)
    return source.data


#: What a folder is for which a file of such a name is in it, and the way on.
_FOLDERS = (
    (re.compile(r"rank_\d+$"), "load_checkpoint reads its rank files with strategy=FILE"),
    (re.compile(r"saved_model\.pb$"), "it is a SavedModel of TensorFlow"),
    (re.compile(r".*\.index$"), "it holds checkpoints of TensorFlow"),
    (re.compile(r"Manifest\.json$"), "it is a package of Core ML"),
    (re.compile(r"pytorch_model.*\.bin$"), "msckpt convert reads each of its .bin files"),
)


def is_folder(source: Source, hint: str = "") -> CheckpointError:
    """The error for a folder where a file is needed; ``hint`` follows after a semicolon."""
    told = (text for pattern, text in _FOLDERS if any(map(pattern.match, source.names)))
    hint = next(told, hint)
    problem = "this is a folder, not a CheckPoint file"
    return CheckpointError(f"{problem}; {hint}" if hint else problem, file=source.path)


def _mapped(path: Path) -> memoryview:
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return memoryview(b"")
        try:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (ValueError, OSError):  # a pipe or another special file
            return memoryview(file.read())


class Joined:
    """Several files as one range of bytes; a slice lies within one of them."""

    def __init__(self, files: Sequence[Any]):
        self._files = files
        self.starts = [0, *itertools.accumulate(map(len, files))]

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: slice) -> Any:
        start, stop, _ = index.indices(len(self))
        data, at = self.at(start)
        return data[at : at + stop - start]

    def at(self, start: int) -> tuple[Any, int]:
        """The file in which a byte lies, and its offset there."""
        number = min(bisect.bisect_right(self.starts, start), len(self._files)) - 1
        return self._files[number], start - self.starts[number]

    def close(self) -> None:
        for data in self._files:
            close(data)


def close(data: Any) -> None:
    """Close files that are not mapped; arrays that were read keep a mapping alive."""
    if not isinstance(data, memoryview):
        data.close()


def piece(data: Any, start: int, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """A part of a tensor as an array, or as the source of one that is read when it is indexed."""
    if isinstance(data, Joined):
        data, start = data.at(start)
    if isinstance(data, Remapped):
        data = data.mapped()
    if isinstance(data, StoreBytes):
        return StorePiece(data, start, shape, dtype)
    if isinstance(data, ReadBytes):
        return ReadPiece(data, start, shape, dtype)
    return np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape)


class ReadBytes:
    """A file that is not mapped: read in blocks, of which the last few are kept."""

    BLOCK = 64 << 10
    KEPT = 64

    def __init__(self, path: Path):
        self._path, self._file = path, path.open("rb")
        self.close = weakref.finalize(self, self._file.close)
        self._size = os.fstat(self._file.fileno()).st_size
        self._blocks: collections.OrderedDict[int, bytes] = collections.OrderedDict()
        self._lock = threading.Lock()  # a file has one position, and threads read

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Any:
        with self._lock:
            return self._get(index)

    def _get(self, index: Any) -> Any:
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
        with naming(self._path):  # or an error would name what is written at the time
            self._file.seek(start)
            data = self._file.read(count)
        if len(data) != count:
            raise CheckpointError(
                "the file was cut off while it was open",
                file=self._path,
                offset=start,
                expected=display.counted(count, "byte"),
                found=f"{len(data)}",
            )
        return data


class ReadPiece:
    """A part of a tensor in a file that is not mapped: indexing reads the rows that are wanted."""

    def __init__(self, data: ReadBytes, start: int, shape: tuple[int, ...], dtype: np.dtype):
        self.data, self.start, self.shape, self.dtype = data, start, shape, dtype

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        box = boxes.from_index(index, self.shape)
        rows = (box[0], *boxes.whole(self.shape[1:])) if box else box
        row_bytes = boxes.size_of(rows[1:]) * self.dtype.itemsize
        start = self.start + (rows[0][0] * row_bytes if rows else 0)
        stop = start + boxes.size_of(rows) * self.dtype.itemsize
        read = np.frombuffer(self.data[start:stop], self.dtype).reshape(boxes.shape_of(rows))
        return read[boxes.slices(box, rows)]

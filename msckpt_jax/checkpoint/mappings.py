"""Files that are mapped when they are read, because more are read than may be open at a time."""

from __future__ import annotations

import collections
import mmap
import os
import threading
from pathlib import Path
from typing import Any

from msckpt_jax.errors import CheckpointError


class Mappings:
    """The mappings of many files, of which the last that were read are kept.

    Args:
        most: the number of mappings that are kept; those in use are not counted.
    """

    def __init__(self, most: int):
        self._most = most
        self._open: collections.OrderedDict[Remapped, memoryview] = collections.OrderedDict()
        self._lock = threading.Lock()

    def of(self, file: Remapped) -> memoryview:
        with self._lock:
            data = self._open.get(file)
            if data is None:
                data = self._open[file] = file.map()
                if len(self._open) > self._most:
                    self._open.popitem(last=False)  # unmapped when nobody uses it any more
            else:
                self._open.move_to_end(file)
            return data

    def drop(self, file: Remapped) -> None:
        with self._lock:
            self._open.pop(file, None)


class Remapped:
    """The bytes of a local file, which is mapped when they are read.

    Args:
        path: the file.
        stamp: what tells it from a file that has replaced it; see :func:`stamp_of`.
        mappings: the mappings that are kept.
    """

    def __init__(self, path: Path, stamp: tuple[int, ...], mappings: Mappings):
        self._path, self._stamp, self._mappings = path, stamp, mappings

    def __len__(self) -> int:
        return self._stamp[-1]

    def __getitem__(self, index: Any) -> Any:
        return self.mapped()[index]

    def mapped(self) -> memoryview:
        """All bytes. They stay valid as long as somebody holds them."""
        return self._mappings.of(self)

    def map(self) -> memoryview:
        """A new mapping.

        Raises:
            CheckpointError: the file is not the one whose headers were read.
        """
        with open(self._path, "rb") as file:
            if stamp_of(file.fileno()) != self._stamp:
                raise CheckpointError(
                    "the file was replaced or changed while it was read: read again",
                    file=self._path,
                )
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def close(self) -> None:
        self._mappings.drop(self)


def stamp_of(file: Path | int) -> tuple[int, ...]:
    """The properties of a file that tell it from another one or an earlier one; its size last."""
    stat = os.stat(file)
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size

"""The members of a zip archive as ranges of its bytes, or as bytes that are unpacked when read."""

from __future__ import annotations

import io
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from msckpt_jax.checkpoint.source import Source
from msckpt_jax.errors import CheckpointError

MARK = b"PK\x03\x04"
#: The fixed part of a local header; its last two fields are the lengths of name and extra field.
_LOCAL = struct.Struct("<4s22xHH")


class Archive:
    """A zip archive over the bytes of a source; no member is read before it is asked for.

    Raises:
        CheckpointError: the archive is damaged.
    """

    def __init__(self, source: Source):
        self.path, self.data = source.path, source.data
        self._last: tuple[object, Any] = (None, None)
        self._making = threading.Lock()
        try:
            self._zip = zipfile.ZipFile(_Bytes(source.data))
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
            raise CheckpointError(f"the zip archive is damaged: {error}", file=self.path) from None
        self.members = {info.filename: info for info in self._zip.infolist()}

    def span(self, name: str) -> tuple[int, int] | None:
        """The place of a member in the file, or None if it is compressed.

        Raises:
            CheckpointError: there is no such member, or it lies elsewhere than the archive says.
        """
        info = self._info(name)
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        head = bytes(self.data[info.header_offset : info.header_offset + _LOCAL.size])
        if len(head) < _LOCAL.size or not head.startswith(MARK):
            raise self._damaged(name)
        start = info.header_offset + _LOCAL.size + sum(_LOCAL.unpack(head)[1:])
        if info.file_size != info.compress_size or start + info.file_size > len(self.data):
            raise self._damaged(name)
        return start, start + info.file_size

    def size(self, name: str) -> int:
        """The bytes of a member, unpacked."""
        return self._info(name).file_size

    def read(self, name: str, start: int, count: int) -> bytes:
        """Bytes of a member; what is compressed is unpacked from its start.

        Raises:
            CheckpointError: the member is damaged, or encrypted.
        """
        try:
            with self._zip.open(self._info(name)) as member:
                member.seek(start)
                out = member.read(count)
        except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, EOFError, ValueError):
            raise self._damaged(name) from None
        if len(out) != count:
            raise self._damaged(name)
        return out

    def whole(self, key: object, make: Callable[[], Any]) -> Any:
        """The array that ``make`` returns; the last one is kept, of which many windows are read."""
        with self._making:
            if self._last[0] is not key:
                self._last = None, None  # there is not always room for two
                self._last = key, make()
            return self._last[1]

    def _info(self, name: str) -> zipfile.ZipInfo:
        if name not in self.members:
            raise CheckpointError("the archive lacks a member", file=self.path, expected=name)
        return self.members[name]

    def _damaged(self, name: str) -> CheckpointError:
        return CheckpointError(f"the member {name!r} of the archive is damaged", file=self.path)


class _Bytes(io.RawIOBase):
    """Bytes that are indexed with slices, as a file."""

    def __init__(self, data: Any):
        self._data, self._at = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._data)}[whence]
        if base + offset < 0:
            raise OSError("a seek before the start")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        part = self._data[self._at : min(self._at + len(view), len(self._data))]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

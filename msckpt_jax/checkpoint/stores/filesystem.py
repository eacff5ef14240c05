"""All other stores, by the file systems of fsspec: gcsfs, adlfs and so on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import fsspec

from msckpt_jax.checkpoint.stores.store import REPLACED, Item, Upload
from msckpt_jax.checkpoint.stores.telling import telling
from msckpt_jax.errors import CheckpointError

#: Packages whose files become objects when they are closed, and never before.
_PUBLISH_ON_CLOSE = ("gcsfs", "adlfs", "s3fs")


def store(scheme: str) -> FileSystem:
    """The store of a scheme.

    Raises:
        ImportError: the package that it needs is missing.
        ValueError: fsspec does not know it, or needs more than a scheme, such as a host.
    """
    kind = fsspec.get_filesystem_class(scheme)
    try:
        system = kind()
    except TypeError as error:
        raise ValueError(str(error)) from None
    return FileSystem(system, scheme)


@telling
class FileSystem:
    """A file system of fsspec."""

    takes_parts = False

    def __init__(self, system: Any, scheme: str):
        self.system, self._scheme = system, scheme

    def _path(self, key: str) -> str:
        return self.system._strip_protocol(f"{self._scheme}://{key}")

    def path_of(self, key: str, *_: Any) -> str:
        return f"{self._scheme}://{key}"

    def tag(self, key: str) -> str | None:
        try:
            return self.system.ukey(self._path(key))
        except FileNotFoundError:
            return None

    def about(self, key: str) -> tuple[int, str, float] | None:
        size, tag = self.size(key), self.tag(key)
        if size is None or tag is None:
            return None
        try:
            time = self.system.modified(self._path(key)).timestamp()
        except NotImplementedError:
            time = 0.0
        return size, tag, time

    def size(self, key: str) -> int | None:
        try:
            about = self.system.info(self._path(key))
        except FileNotFoundError:
            return None
        return about["size"] if about["type"] == "file" else None

    def read(self, key: str, start: int, stop: int, tag: str | None = None) -> bytes:
        data = self.system.cat_file(self._path(key), start=start, end=stop)
        if tag is not None and self.tag(key) != tag:  # there is no reading by a tag
            raise CheckpointError(REPLACED, file=self.path_of(key))
        return data

    def put(self, key: str, data: bytes | bytearray) -> None:
        self.system.pipe_file(self._path(key), bytes(data))

    def delete(self, key: str) -> None:
        try:
            self.system.rm_file(self._path(key))
        except FileNotFoundError:
            pass
        self.system.invalidate_cache()

    def items(self, key: str) -> Iterator[Item]:
        path = self._path(key).rstrip("/")
        self.system.invalidate_cache()
        try:
            listed = self.system.ls(path, detail=True)
        except FileNotFoundError:
            return
        for about in listed:
            name = about["name"].rstrip("/")
            if name.strip("/") != path.strip("/"):  # a marker that stands for a folder
                yield Item(name.rpartition("/")[2], about["type"] == "directory")

    def has_items(self, key: str) -> bool:
        return next(self.items(key), None) is not None if self.size(key) is None else False

    def upload(self, key: str) -> Upload:
        raise NotImplementedError(f"{self._scheme}:// takes no parts")

    def resumed(self, key: str, id: str) -> Upload:
        raise NotImplementedError(f"{self._scheme}:// takes no parts")

    def stream(self, key: str) -> FileStream:
        direct = type(self.system).__module__.partition(".")[0] in _PUBLISH_ON_CLOSE
        return FileStream(self.system, self._path(key), direct)


@telling
class FileStream:
    """A file that is written in order: under another name where it would be seen too early."""

    def __init__(self, system: Any, path: str, direct: bool):
        self._system, self._path = system, path
        folder, _, name = path.rpartition("/")
        self._at = path if direct else f"{folder}/.{name}.{os.urandom(6).hex()}.tmp"
        self._file = system.open(self._at, "wb")

    def path_of(self, *_: Any) -> str:
        return self._path

    def write(self, data: Any) -> None:
        self._file.write(data)

    def flush(self) -> None:
        """Do nothing: what is not sent yet is sent when it is committed."""

    def commit(self) -> None:
        self._file.close()
        if self._at != self._path:
            self._system.mv(self._at, self._path)
        self._system.invalidate_cache()

    def discard(self) -> None:
        discard = getattr(self._file, "discard", None)
        if self._at == self._path and discard is not None:
            discard()
            self._file.closed = True  # close() would publish it
            return
        self._file.close()
        if self._system.exists(self._at):
            self._system.rm_file(self._at)

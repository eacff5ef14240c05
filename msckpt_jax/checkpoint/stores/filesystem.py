"""File systems of fsspec as stores: what is written to them goes in order, from one process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import fsspec

from msckpt_jax.checkpoint.stores.store import REPLACED, Item, Upload
from msckpt_jax.checkpoint.stores.telling import telling
from msckpt_jax.errors import CheckpointError

#: Packages whose files become objects when they are closed, and never before.
_PUBLISH_ON_CLOSE = ("s3fs",)
#: What stores call that which changes whenever an object is replaced.
_TAGS = ("generation", "etag", "ETag")


def store(scheme: str) -> FileSystem:
    """The store of a scheme that has no driver of its own; raises as :func:`system`."""
    return FileSystem(system(scheme), scheme)


def system(scheme: str) -> Any:
    """The file system of a scheme.

    Raises:
        ImportError: the package that it needs is missing.
        ValueError: fsspec does not know it, or needs more than a scheme, such as a host.
    """
    kind = fsspec.get_filesystem_class(scheme)
    try:
        return kind()
    except TypeError as error:
        raise ValueError(str(error)) from None


class NoSuchBucketError(OSError):
    """An object cannot be written because its bucket is not there."""


def write(system: Any, path: str, data: bytes | bytearray, **how: Any) -> None:
    """Write an object at once; ``how`` is what only this file system knows.

    Raises:
        NoSuchBucketError: file systems say that the object is not there.
    """
    try:
        system.pipe_file(path, data, **how)
    except FileNotFoundError:
        raise NoSuchBucketError(path) from None


@telling
class FileSystem:
    """A file system of fsspec."""

    takes_parts = False

    def __init__(self, system: Any, scheme: str):
        self.system, self._scheme = system, scheme

    def place(self, key: str) -> str:
        """The path that the file system has for a key."""
        return self.system._strip_protocol(f"{self._scheme}://{key}")

    def path_of(self, key: str, *_: Any) -> str:
        return f"{self._scheme}://{key}"

    def tag(self, key: str) -> str | None:
        about = self._info(key)
        return None if about is None else _tag(about)

    def about(self, key: str) -> tuple[int, str, float] | None:
        about = self._info(key)
        if about is None:
            return None
        try:
            time = self.system.modified(self.place(key)).timestamp()
        except NotImplementedError:
            time = 0.0
        return about["size"], _tag(about), time

    def size(self, key: str) -> int | None:
        about = self._info(key)
        return None if about is None else about["size"]

    def _info(self, key: str) -> Any:
        """What the file system tells of an object; None where there is none."""
        self.system.invalidate_cache()  # a listing tells of objects that have been replaced since
        try:
            about = self.system.info(self.place(key))
        except FileNotFoundError:
            return None
        return about if about["type"] == "file" else None

    def read(self, key: str, start: int, stop: int, tag: str | None = None) -> bytes:
        data = self.system.cat_file(self.place(key), start=start, end=stop)
        if tag is not None and self.tag(key) != tag:  # there is no reading by a tag
            raise CheckpointError(REPLACED, file=self.path_of(key))
        return data

    def put(self, key: str, data: bytes | bytearray) -> None:
        write(self.system, self.place(key), bytes(data))

    def delete(self, key: str) -> None:
        try:
            self.system.rm_file(self.place(key))
        except FileNotFoundError:
            pass
        self.system.invalidate_cache()

    def items(self, key: str) -> Iterator[Item]:
        path = self.place(key).rstrip("/")
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
        return FileStream(self.system, self.place(key), direct)


def _tag(about: dict[str, Any]) -> str:
    return next((str(about[name]) for name in _TAGS if about.get(name)), str(about))


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

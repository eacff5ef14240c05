"""The functions of an object store, and the table of the drivers that have them.

S3 is spoken to by boto3: its client is shared by threads, has one pool of connections, retries with
back-off, and takes the parts of an upload from any process that knows its id. So do Google's and
Azure's stores, by the file systems of gcsfs and adlfs. All other stores are file systems of fsspec
without parts: what is written to them goes in order.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

#: The problem of an object that is read when another one has replaced it.
REPLACED = "another object replaced it while it was open: open it again"
#: That of an upload whose parts are not in the store any more.
GONE = "the parts of this save are gone: let one save at a time write an object, and save again"


class Item(NamedTuple):
    """A name below a key: of an object, or of several whose keys go on after it."""

    name: str
    is_folder: bool


class Upload(Protocol):
    """An object whose parts come in any order, from any thread; it is there once it is complete.

    ``id`` tells it from others of the same key, so that other processes can put parts, too.
    """

    id: str

    def put(self, number: int, data: bytearray | bytes) -> str:
        """Send part ``number``, from 1 on, and return its tag. All but the last have 5 MiB."""
        ...

    def complete(self, tags: Sequence[str]) -> None:
        """Make the object of the parts with these tags; it replaces an older one.

        Raises:
            CheckpointError: another save of the object has removed the parts.
        """
        ...

    def abort(self) -> None:
        """Forget the parts, as far as the store can, and leave an older object as it is."""
        ...


class Stream(Protocol):
    """An object whose bytes come in order; it is there once it is committed."""

    def write(self, data: Any) -> Any:
        """Send the next bytes."""
        ...

    def flush(self) -> None:
        """Send what was held back, as far as the store can."""
        ...

    def commit(self) -> None:
        """Make the object; it replaces an older one."""
        ...

    def discard(self) -> None:
        """Forget the bytes, and leave an older object as it is."""
        ...


class Store(Protocol):
    """An object store. A key begins with the name of the bucket.

    ``takes_parts`` says whether it has ``upload`` and ``resumed``; the others have ``stream``.
    """

    takes_parts: bool

    def size(self, key: str) -> int | None:
        """The bytes of an object, or None where there is none."""
        ...

    def tag(self, key: str) -> str | None:
        """A text that differs from that of an object which replaced it; None without an object."""
        ...

    def about(self, key: str) -> tuple[int, str, float] | None:
        """The size of an object, the tag by which it is read, and the time when it was written.

        None without an object; a time of 0 where the store tells none.
        """
        ...

    def read(self, key: str, start: int, stop: int, tag: str | None = None) -> bytes:
        """The bytes ``[start, stop)``, or fewer where the object ends before.

        Raises:
            CheckpointError: the object does not have the ``tag``: another one has replaced it.
        """
        ...

    def put(self, key: str, data: bytes | bytearray) -> None:
        """Write a small object at once."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object; it does not matter whether there is one."""
        ...

    def items(self, key: str) -> Iterator[Item]:
        """Yield what is directly below a key."""
        ...

    def has_items(self, key: str) -> bool:
        """Tell whether there is anything below a key."""
        ...

    def upload(self, key: str) -> Upload:
        """Begin an upload; what killed ones have left of this key is given up."""
        ...

    def resumed(self, key: str, id: str) -> Upload:
        """The upload that another process has begun."""
        ...

    def stream(self, key: str) -> Stream:
        """Begin an object that is written in order."""
        ...


class _Driver(NamedTuple):
    """A module of this package with a function ``store(scheme)``, and what it needs."""

    module: str
    extra: str | None


#: The drivers by the scheme of a path; those of all other schemes are fsspec's.
_DRIVERS = {
    "s3": _Driver("s3", "s3"),
    "gs": _Driver("gcs", "gcs"),
    "gcs": _Driver("gcs", "gcs"),
    "az": _Driver("azure", "azure"),
    "abfs": _Driver("azure", "azure"),
    "abfss": _Driver("azure", "azure"),
}
_OTHER = _Driver("filesystem", None)  # its error says which package it needs


def of_scheme(scheme: str) -> Store:
    """The store of a scheme, one in each process.

    Raises:
        ImportError: the package that speaks to it is missing.
        ValueError: nothing knows the scheme.
    """
    return _store(scheme, os.getpid())  # connections of a parent are not for its children


@functools.lru_cache(16)
def _store(scheme: str, process: int) -> Store:
    module, extra = _DRIVERS.get(scheme, _OTHER)
    try:
        return importlib.import_module(f"{__package__}.{module}").store(scheme)
    except ImportError as error:
        way = error if extra is None else f"pip install 'msckpt_jax[{extra}]'"
        raise ImportError(f"{scheme}:// needs a package that is missing: {way}") from error

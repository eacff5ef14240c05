"""Paths of objects, with the methods of ``pathlib`` that the package uses."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from msckpt_jax.checkpoint.stores import store as stores
from msckpt_jax.checkpoint.stores.store import Store
from msckpt_jax.errors import StoreError
from msckpt_jax.visible import visible


class Status(NamedTuple):
    """The size of an object, the tag that tells it from one that has replaced it, and its time."""

    st_size: int
    tag: str
    st_mtime: float


class StorePath(os.PathLike[str]):
    """The path of an object, or of all objects whose keys go on after it: ``s3://bucket/key``.

    Raises:
        StoreError: the package that speaks to the store is missing.
        ValueError: no scheme that is known, or no bucket.
    """

    def __init__(self, name: str | os.PathLike[str]):
        self.scheme, _, rest = os.fspath(name).partition("://")
        self.key = "/".join(part for part in rest.split("/") if part)
        if not self.key:
            raise ValueError(visible(f"{os.fspath(name)} names no bucket"))
        try:
            self.store: Store = stores.of_scheme(self.scheme)
        except ValueError:
            raise ValueError(
                f"{os.fspath(name)!r}: neither this package nor fsspec knows {self.scheme}://; use "
                "s3://, gs:// or az://, or pass an open binary file"
            ) from None
        except ImportError as error:
            raise StoreError(str(error), file=self) from None

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}"

    __fspath__ = __str__

    def __repr__(self) -> str:
        return f"StorePath({str(self)!r})"

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return StorePath, (str(self),)

    def __eq__(self, right: object) -> bool:
        return isinstance(right, StorePath) and str(self) == str(right)

    def __lt__(self, right: StorePath) -> bool:
        return str(self) < str(right)

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return os.path.splitext(self.name)[0]

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.name)[1]

    @property
    def parent(self) -> StorePath:
        above = self.key.rpartition("/")[0]
        return StorePath(f"{self.scheme}://{above}") if above else self

    def __truediv__(self, name: str | os.PathLike[str]) -> StorePath:
        return StorePath(f"{self}/{PurePosixPath(name)}") if str(name) != "." else self

    def relative_to(self, folder: StorePath) -> PurePosixPath:
        """The names that lead from a folder to the path.

        Raises:
            ValueError: the path is not below it.
        """
        if self == folder:
            return PurePosixPath()
        if not str(self).startswith(f"{folder}/"):
            raise ValueError(visible(f"{self} is not below {folder}"))
        return PurePosixPath(str(self).removeprefix(f"{folder}/"))

    def with_name(self, name: str) -> StorePath:
        return self.parent / name

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        return "/" in self.key and self.store.size(self.key) is not None

    def is_dir(self) -> bool:
        return self.store.has_items(self.key)

    def iterdir(self) -> Iterator[StorePath]:
        return (self / item.name for item in self.store.items(self.key))

    def stat(self) -> Status:
        about = self.store.about(self.key) if "/" in self.key else None
        if about is None:
            raise FileNotFoundError(2, "there is no such object", str(self))
        return Status(*about)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a store has no folders."""

    def unlink(self, missing_ok: bool = False) -> None:
        if not missing_ok:
            self.stat()
        self.store.delete(self.key)

    def read(self, start: int, stop: int, tag: str | None = None) -> bytes:
        """The bytes ``[start, stop)``, or fewer where the object ends before.

        Raises:
            CheckpointError: the object does not have the ``tag``: another one has replaced it.
        """
        return self.store.read(self.key, start, stop, tag)

    def read_bytes(self) -> bytes:
        size = self.stat().st_size
        return self.read(0, size) if size else b""

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def write_bytes(self, data: bytes) -> None:
        self.store.put(self.key, data)

    def write_text(self, text: str, encoding: str = "utf-8") -> None:
        self.write_bytes(text.encode(encoding))

    def open(self, mode: str = "rb") -> io.BytesIO:
        """The whole object in memory, for small ones."""
        if mode != "rb":
            raise ValueError("objects are written by write_bytes, or by a writer")
        return io.BytesIO(self.read_bytes())

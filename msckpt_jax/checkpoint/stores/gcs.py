"""Google's Cloud Storage, by gcsfs. The parts of an object are objects, which are composed to one.

They lie beside it, in ``.<name>.msckpt-parts/<id of the upload>``, which no listing shows. What
composes them makes the object at once; then they are removed. A rule of the bucket can tell them by
the end of their names.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from msckpt_jax.checkpoint.stores.filesystem import FileSystem, system, write
from msckpt_jax.checkpoint.stores.store import GONE, Item
from msckpt_jax.checkpoint.stores.telling import telling
from msckpt_jax.errors import CheckpointError

#: The most objects that one request composes.
MOST_SOURCES = 32
#: The ends of the names of a part, and of the folder in which the parts of an object lie.
_PART, _PARTS = ".msckpt-part", ".msckpt-parts"


def store(scheme: str) -> GCS:
    """The store of ``gs://``; raises as :func:`filesystem.system`."""
    return GCS(system(scheme), scheme)


@telling
class GCS(FileSystem):
    """The buckets that a file system of gcsfs reaches."""

    takes_parts = True

    def __init__(self, system: Any, scheme: str):
        super().__init__(system, scheme)
        self.live: set[str] = set()  # the ids of uploads that this process has begun

    def items(self, key: str) -> Iterator[Item]:
        for item in super().items(key):
            if not (item.is_folder and item.name.endswith(_PARTS)):
                yield item

    def put(self, key: str, data: bytes | bytearray) -> None:
        _write(self.system, self.place(key), data)

    def upload(self, key: str) -> GCSUpload:
        with contextlib.suppress(OSError):  # who may write may not list: then they stay
            self._give_up_others(key)
        upload = GCSUpload(self, key, secrets.token_hex(8))
        self.live.add(upload.id)
        return upload

    def resumed(self, key: str, id: str) -> GCSUpload:
        return GCSUpload(self, key, id)

    def _give_up_others(self, key: str) -> None:
        """Remove the parts of this object that killed saves have left."""
        for left in super().items(_parts_of(key)):
            if left.name not in self.live:
                GCSUpload(self, key, left.name).abort()


def _write(system: Any, path: str, data: bytes | bytearray) -> None:
    """Write an object at once, in a chunk.

    What has less than a chunk gcsfs sends between marks, where its last byte may be taken for the
    beginning of one.
    """
    write(system, path, data, chunksize=max(1, len(data)), consistency="md5")


def _parts_of(key: str) -> str:
    """The folder of the parts of an object."""
    folder, _, name = key.rpartition("/")
    return f"{folder}/.{name}{_PARTS}"


@telling
class GCSUpload:
    """Objects that become one."""

    def __init__(self, store: GCS, key: str, id: str):
        self._store, self._key, self.id = store, key, id
        self._folder = store.place(f"{_parts_of(key)}/{id}")

    def path_of(self, *_: Any) -> str:
        return self._store.path_of(self._key)

    def put(self, number: int, data: bytearray | bytes) -> str:
        path = f"{self._folder}/{number:05}{_PART}"
        _write(self._store.system, path, data)
        return path

    def complete(self, tags: Sequence[str]) -> None:
        try:
            self._store.system.merge(self._store.place(self._key), self._few(tags))
        except FileNotFoundError:
            raise CheckpointError(GONE, file=self.path_of()) from None
        with contextlib.suppress(OSError):  # the object is there; the next save removes them
            self.abort()

    def abort(self) -> None:
        system = self._store.system
        system.invalidate_cache()
        with contextlib.suppress(FileNotFoundError):
            system.rm(self._folder, recursive=True)
        self._store.live.discard(self.id)

    def _few(self, parts: Sequence[str]) -> list[str]:
        """The parts, joined to so few that one request can compose them."""
        level = 0
        while len(parts) > MOST_SOURCES:
            level += 1
            groups = [parts[at : at + MOST_SOURCES] for at in range(0, len(parts), MOST_SOURCES)]
            parts = [f"{self._folder}/{level}-{n:03}{_PART}" for n in range(len(groups))]
            for part, group in zip(parts, groups, strict=True):
                self._store.system.merge(part, group)
        return [*parts]

"""Azure's Blob Storage, by adlfs and the SDK that it brings. The parts of an object are blocks.

Blocks that are not committed are no object. The next one of that name removes them, or Azure after
a week; nothing else does.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock
from fsspec import asyn

from msckpt_jax.checkpoint.stores.filesystem import FileSystem, system
from msckpt_jax.checkpoint.stores.store import GONE
from msckpt_jax.checkpoint.stores.telling import telling
from msckpt_jax.errors import CheckpointError


def store(scheme: str) -> Azure:
    """The store of ``az://``; raises as :func:`filesystem.system`."""
    return Azure(system(scheme), scheme)


@telling
class Azure(FileSystem):
    """The containers that a file system of adlfs reaches."""

    takes_parts = True

    def upload(self, key: str) -> AzureUpload:
        return AzureUpload(self, key, secrets.token_hex(8))

    def resumed(self, key: str, id: str) -> AzureUpload:
        return AzureUpload(self, key, id)

    def call(self, key: str, method: str, *args: Any) -> Any:
        """The result of a method of the SDK's client for an object."""
        container, name, _ = self.system.split_path(self.place(key))

        async def call() -> Any:
            async with self.system.service_client.get_blob_client(container, name) as client:
                return await getattr(client, method)(*args)

        return asyn.sync(self.system.loop, call)


@telling
class AzureUpload:
    """Blocks that become an object."""

    def __init__(self, store: Azure, key: str, id: str):
        self._store, self._key, self.id = store, key, id

    def path_of(self, *_: Any) -> str:
        return self._store.path_of(self._key)

    def put(self, number: int, data: bytearray | bytes) -> str:
        block = base64.b64encode(f"{self.id}-{number:06}".encode()).decode()  # all of one length
        self._store.call(self._key, "stage_block", block, bytes(data))
        return block

    def complete(self, tags: Sequence[str]) -> None:
        try:
            self._store.call(self._key, "commit_block_list", [BlobBlock(tag) for tag in tags])
        except HttpResponseError as error:
            if error.error_code != "InvalidBlockList":
                raise
            raise CheckpointError(GONE, file=self.path_of()) from None

    def abort(self) -> None:
        """Do nothing: Azure removes the blocks, at the latest after a week."""

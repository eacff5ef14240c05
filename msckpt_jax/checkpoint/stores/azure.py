"""Azure's Blob Storage, by adlfs and the SDK that it brings. The parts of an object are blocks.

Blocks that are not committed are no object. The next one of that name removes them, or Azure after
a week; nothing else does.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from typing import Any

from azure.core.exceptions import HttpResponseError  # pyright: ignore[reportMissingImports]
from azure.storage.blob import BlobBlock  # pyright: ignore[reportMissingImports]
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


@telling
class AzureUpload:
    """Blocks that become an object."""

    def __init__(self, store: Azure, key: str, id: str):
        self._store, self._key, self.id = store, key, id
        self._container, self._name, _ = store.system.split_path(store.place(key))

    def path_of(self, *_: Any) -> str:
        return self._store.path_of(self._key)

    def put(self, number: int, data: bytearray | bytes) -> str:
        block = base64.b64encode(f"{self.id}-{number:06}".encode()).decode()  # all of one length
        self._call("stage_block", block, data)
        return block

    def complete(self, tags: Sequence[str]) -> None:
        try:
            self._call("commit_block_list", [BlobBlock(tag) for tag in tags])
        except HttpResponseError as error:
            if getattr(error, "error_code", None) != "InvalidBlockList":
                raise
            raise CheckpointError(GONE, file=self.path_of()) from None

    def abort(self) -> None:
        """Do nothing: Azure removes the blocks, at the latest after a week."""

    def _call(self, method: str, *args: Any) -> None:
        """Call a method of the SDK's client for the object, where adlfs has its loop."""
        system = self._store.system

        async def call() -> None:
            blob = system.service_client.get_blob_client(self._container, self._name)
            async with blob as client:
                await getattr(client, method)(*args)

        asyn.sync(system.loop, call)

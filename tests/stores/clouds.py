"""Servers of Google's and Azure's protocols on this machine, each in a process of its own.

Google's is gcp-storage-emulator, Azure's Azurite, which ``npm install -g azurite`` installs; where
it is missing its tests are skipped. ``python -m tests.stores.clouds`` runs Google's until its
standard input is closed, and prints its URL.
"""

from __future__ import annotations

import contextlib
import http
import importlib
import itertools
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any, Protocol

import fsspec
import fsspec.config
import pytest

from msckpt_jax.checkpoint.stores import store
from tests.stores import server as servers

_NUMBERS = itertools.count()
#: The account of Azurite, which its documentation tells.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Cloud(Protocol):
    """A server, and what it holds."""

    scheme: str

    def bucket(self) -> str:
        """The name of a new bucket."""
        ...

    def keys(self, bucket: str) -> list[str]:
        """The keys of all objects in a bucket."""
        ...

    def uploads(self, bucket: str) -> list[str]:
        """The keys of the uploads in a bucket that have neither ended nor been aborted."""
        ...


class Google:
    """Google's, in memory; it composes at most 32 objects at a time, as the real one does."""

    scheme = "gs"

    def __init__(self, url: str):
        self._url = url

    def bucket(self) -> str:
        name = f"bucket-{next(_NUMBERS)}"
        self._ask("b?project=p", {"name": name})
        return name

    def keys(self, bucket: str) -> list[str]:
        return sorted(item["name"] for item in self._ask(f"b/{bucket}/o").get("items", ()))

    def uploads(self, bucket: str) -> list[str]:
        parts = (key.partition(".msckpt-parts/") for key in self.keys(bucket))
        return sorted({key.replace(".", "", 1) for key, found, _ in parts if found})

    def _ask(self, path: str, data: Any = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}/storage/v1/{path}", body, headers)
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())


class Azure:
    """Azurite. Blocks that are not committed are no uploads here: nobody can abort them."""

    scheme = "az"

    def __init__(self, connection: str):
        from azure.storage.blob import BlobServiceClient

        self._client = BlobServiceClient.from_connection_string(connection)

    def bucket(self) -> str:
        name = f"bucket-{next(_NUMBERS)}"
        self._client.create_container(name).close()
        return name

    def keys(self, bucket: str) -> list[str]:
        with self._client.get_container_client(bucket) as container:
            return sorted(container.list_blob_names())

    def uploads(self, bucket: str) -> list[str]:
        return []


def google_environment(url: str) -> dict[str, str]:
    """The variables by which gcsfs finds a server."""
    return {
        "STORAGE_EMULATOR_HOST": url,
        "FSSPEC_GS_TOKEN": "anon",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # it asks by gRPC what kind a bucket is
    }


def azure_environment(url: str) -> dict[str, str]:
    """The variable by which adlfs finds a server, and its credentials."""
    account = f"AccountName={_ACCOUNT};AccountKey={_KEY};BlobEndpoint={url}/{_ACCOUNT};"
    return {"AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;{account}"}


@contextlib.contextmanager
def _azurite() -> Iterator[str]:
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("Azurite is not installed: npm install -g azurite")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--silent", "--skipApiVersionCheck", "--inMemoryPersistence", "--disableTelemetry"]
    quiet = {"stdout": subprocess.DEVNULL}
    with subprocess.Popen([program, *options, "--blobPort", str(port)], **quiet) as server:
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_for(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError("Azurite does not start")


def speak_google_by(system: Any) -> None:
    """Let ``gs://`` be spoken by a file system of fsspec, whatever a test before this one took."""
    for scheme in ("gs", "gcs"):
        fsspec.register_implementation(scheme, system, clobber=True)
    store._store.cache_clear()


@pytest.fixture
def cloud(request: pytest.FixtureRequest) -> Cloud:
    """The server whose fixture a test names."""
    chosen = request.getfixturevalue(request.param)
    if request.param == "google":
        speak_google_by(importlib.import_module("gcsfs.core").GCSFileSystem)
    return chosen


@pytest.fixture(scope="session")
def google() -> Iterator[Google]:
    """Google's server of the session; the variables of the environment lead to it."""
    for package in ("gcp_storage_emulator", "gcsfs"):
        pytest.importorskip(package)
    # It complains of clients that do not wait for an answer.
    with (
        servers.running(__name__, stderr=subprocess.DEVNULL) as url,
        servers.reached(google_environment(url)) as patch,
    ):
        patch.setitem(fsspec.config.conf, "gs", {"token": "anon"})  # the variable is read but once
        yield Google(url)


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azure]:
    """Azure's server of the session; the variables of the environment lead to it."""
    pytest.importorskip("adlfs")
    with _azurite() as url, servers.reached(azure_environment(url)):
        yield Azure(azure_environment(url)["AZURE_STORAGE_CONNECTION_STRING"])


def main() -> None:
    from gcp_storage_emulator import server as emulator
    from gcp_storage_emulator.handlers import objects

    compose = objects.compose

    def limited(request: Any, response: Any, *args: Any, **kwargs: Any) -> None:
        if len(request.data["sourceObjects"]) <= 32:
            compose(request, response, *args, **kwargs)
        else:
            response.status = http.HTTPStatus.BAD_REQUEST
            response.json({"error": {"code": 400, "message": "too many components"}})

    objects.compose = limited
    server = emulator.create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    servers.serve(*server._api._httpd.server_address)


if __name__ == "__main__":
    main()

"""A real S3 server on this machine: moto's, in a process of its own.

``python -m tests.stores.server`` runs it until its standard input is closed, and prints its URL.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[2]
_NUMBERS = itertools.count()


@contextlib.contextmanager
def running(module: str = __name__, **pipes: Any) -> Iterator[str]:
    """The URL of a server that a module runs during the block; it ends by :func:`serve`."""
    command = [sys.executable, "-m", module]
    pipes |= {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=_ROOT, text=True, **pipes) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()


def serve(host: str, port: int) -> None:
    """Tell who has started this process where its server is, and end when that one does."""
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()
    os._exit(0)


@contextlib.contextmanager
def reached(variables: Mapping[str, str]) -> Iterator[pytest.MonkeyPatch]:
    """Let the environment lead to a server during the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield patch


def environment(url: str) -> dict[str, str]:
    """The variables by which boto3 finds a server, and its credentials."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class Server:
    """A server, and what it holds.

    Attributes:
        scheme: that of its URLs.
        url: its address.
        client: one of boto3.
    """

    scheme = "s3"

    def __init__(self, url: str):
        import boto3

        self.url = url
        self.client: Any = boto3.client("s3")

    def bucket(self) -> str:
        """The name of a new bucket."""
        name = f"bucket-{next(_NUMBERS)}"
        self.client.create_bucket(Bucket=name)
        return name

    def keys(self, bucket: str) -> list[str]:
        """The keys of all objects in a bucket."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return sorted(row["Key"] for page in pages for row in page.get("Contents", ()))

    def uploads(self, bucket: str) -> list[str]:
        """The keys of the uploads in a bucket that have neither ended nor been aborted."""
        found = self.client.list_multipart_uploads(Bucket=bucket)
        return sorted(row["Key"] for row in found.get("Uploads", ()))

    def check_credentials(self, after: float = 0) -> None:
        """Let the server ask whether a user may do something, after so many requests more."""
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", str(after).encode(), {"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(request).close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of the session; the variables of the environment lead to it."""
    for package in ("moto", "boto3"):
        pytest.importorskip(package)
    with running() as url, reached(environment(url)):
        yield Server(url)


@pytest.fixture
def bucket(server: Server) -> str:
    """The URL of a new bucket, such as ``s3://bucket-3``."""
    return f"s3://{server.bucket()}"


def main() -> None:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    with contextlib.redirect_stdout(sys.stderr):
        moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        moto.start()
    serve(*moto.get_host_and_port())


if __name__ == "__main__":
    main()

"""What goes to an S3 server and comes from it: the bytes, how many, and what a failure leaves."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.records import Tensor
from msckpt_jax.checkpoint.stores import parts, s3, uploads
from msckpt_jax.checkpoint.stores import store as stores
from tests.stores import memory
from tests.stores import server as servers
from tests.stores.server import Server

ROWS = np.arange(4 << 20, dtype=np.float32).reshape(-1, 1024)  # 16 MiB, two parts


@pytest.mark.parametrize(
    ("threads", "cores", "neighbours", "uploaders"),
    [(4, 16, 1, 8), (4, 2, 1, 4), (4, 2, 2, 2), (4, 2, 4, 1), (4, 2, 99, 1), (4, 96, 8, 8),
     (1, 16, 1, 1), (12, 2, 4, 12)],
)  # fmt: skip
def test_processes_of_a_machine_divide_its_threads(
    monkeypatch: pytest.MonkeyPatch, threads: int, cores: int, neighbours: int, uploaders: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert uploads.uploaders(threads, neighbours) == uploaders


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the ranges that are asked for."""
    sizes: list[int] = []
    original = s3.S3.read

    def counting(self: Any, key: str, start: int, stop: int, *tag: Any) -> bytes:
        sizes.append(stop - start)
        return original(self, key, start, stop, *tag)

    monkeypatch.setattr(s3.S3, "read", counting)
    return sizes


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"crc_check": True, "slice_bytes": 1 << 20},
        {"format": "safetensors"},
        {"threads": 1, "crc_check": True},
    ],
)
def test_the_bytes_are_those_of_a_local_save(
    bucket: str, tmp_path: Path, mesh: Any, kwargs: dict[str, Any]
) -> None:
    columns = jax.device_put(ROWS, jax.NamedSharding(mesh, jax.P(None, "y")))
    for name, tree in {"large": {"w": columns, "v": ROWS[0]}, "small": {"v": ROWS[0]}}.items():
        ms.save_checkpoint(tree, tmp_path / name, **kwargs)
        ms.save_checkpoint(tree, f"{bucket}/{name}", **kwargs)
        (file,) = tmp_path.glob(f"{name}.*")
        assert paths.path_of(f"{bucket}/{file.name}").read_bytes() == file.read_bytes()
        check = "crc_check" in kwargs
        found = ms.load_checkpoint(f"{bucket}/{file.name}", crc_check=check)
        assert np.array_equal(found["v"], ROWS[0])


def test_an_encrypted_object(bucket: str) -> None:
    ms.save_checkpoint({"w": ROWS}, f"{bucket}/a", enc_key=bytes(16))
    assert np.array_equal(ms.load_checkpoint(f"{bucket}/a.ckpt", dec_key=bytes(16))["w"], ROWS)


@pytest.mark.parametrize("format", ["ckpt", "safetensors"])
def test_headers_alone_open_a_file_and_a_shard_reads_its_bytes(
    bucket: str, mesh: Any, read: list[int], format: str
) -> None:
    tree = {f"w{k}": ROWS + k for k in range(3)} | {f"v{k}": ROWS[k] for k in range(30)}
    ms.save_checkpoint(tree, f"{bucket}/a", format=format)
    file = ms.open_checkpoint(f"{bucket}/a.{format}")
    assert sum(read) < 300_000
    assert len(read) < 12
    read.clear()
    eighth = file.get_slice("w1")[: len(ROWS) // 8]
    assert np.array_equal(eighth, ROWS[: len(ROWS) // 8] + 1)
    assert sum(read) <= 1.05 * eighth.nbytes
    read.clear()
    assert file.get_slice("w1")[5, 7] == ROWS[5, 7] + 1
    assert (len(read), sum(read)) == (1, 4)
    read.clear()
    sharding = jax.NamedSharding(mesh, jax.P("x", "y"))
    like = {name: jax.ShapeDtypeStruct(ROWS.shape, ROWS.dtype, sharding=sharding)
            for name in ("w0", "w1")} | {f"v{k}": tree[f"v{k}"] for k in range(30)}  # fmt: skip
    found = ms.load_checkpoint(f"{bucket}/a.{format}", like=like)
    assert all(np.array_equal(found[name], tree[name]) for name in like)
    assert len(read) < 30  # not one for each of 62 parts and more
    assert sum(read) < 1.2 * 2 * ROWS.nbytes


def test_parts_are_whole_elements_and_large_enough(rng: np.random.Generator) -> None:
    for _ in range(100):
        pieces: list[planning.Part] = []
        for _ in range(rng.integers(1, 8)):
            count = int(rng.integers(2, 12 << 20))
            tensor = Tensor((count,), np.dtype(str(rng.choice(["f2", "f4", "f8"]))), ())
            cut = int(rng.integers(1, count))
            pieces += [bytes(int(rng.integers(1, 99))), planning.Range(tensor, 0, cut)]
            pieces += [bytes(30), planning.Range(tensor, cut, count)]
        nbytes = sum(map(planning.size_of, pieces))
        every = np.sort(rng.integers(0, 12 << 20, 50))
        for edges in (None, lambda tensor: every):  # noqa: B023
            found = parts.stretches(planning.Plan(pieces, nbytes), edges)
            at = 0
            for part in found:
                assert part.offset == at
                assert sum(map(planning.size_of, part.parts)) == part.nbytes  # Ranges are whole
                assert part.nbytes < 14 << 20
                at += part.nbytes
            assert at == nbytes
            assert all(part.nbytes >= 5 << 20 for part in found[:-1] if len(found) > 1)


def test_an_interrupt_leaves_the_old_object(server: Server, bucket: str) -> None:
    ms.save_checkpoint({"w": ROWS}, f"{bucket}/a")

    def interrupt(nbytes: int) -> None:
        raise KeyboardInterrupt

    for key in (None, bytes(16)):
        with pytest.raises(KeyboardInterrupt):
            ms.save_checkpoint({"w": ROWS + 1}, f"{bucket}/a", progress=interrupt, enc_key=key)
        assert not server.uploads(bucket.removeprefix("s3://"))
    assert np.array_equal(ms.load_checkpoint(f"{bucket}/a.ckpt")["w"], ROWS)


KILLED = """
import os, signal, sys
import numpy as np
import msckpt_jax as ms
from msckpt_jax.checkpoint.stores import s3
setattr(s3.S3Upload, sys.argv[2], lambda *args: os.kill(os.getpid(), signal.SIGKILL))
ms.save_checkpoint({"w": np.zeros(4 << 20, np.float32)}, sys.argv[1], threads=1)
"""


@pytest.mark.parametrize("moment", ["put", "complete"])
def test_a_kill_leaves_the_old_object_and_the_next_save_no_parts(
    server: Server, bucket: str, moment: str
) -> None:
    ms.save_checkpoint({"w": ROWS}, f"{bucket}/a")
    ended = subprocess.run([sys.executable, "-c", KILLED, f"{bucket}/a", moment], timeout=100)
    assert ended.returncode == -signal.SIGKILL
    assert server.uploads(bucket.removeprefix("s3://")) == ["a.ckpt"]
    assert np.array_equal(ms.load_checkpoint(f"{bucket}/a.ckpt")["w"], ROWS)
    ms.save_checkpoint({"w": ROWS + 1}, f"{bucket}/a")
    assert not server.uploads(bucket.removeprefix("s3://"))
    assert ms.load_checkpoint(f"{bucket}/a.ckpt")["w"][0, 0] == 1


def test_memory_is_some_parts(bucket: str) -> None:
    assert memory.peak_of_save(bucket, 80) < 3 * (8 << 20)


class Gate:
    """A door to a server that can be shut: who is inside is thrown out, and nobody comes in."""

    def __init__(self, url: str):
        host, _, port = url.rpartition("/")[2].partition(":")
        self._server = (host, int(port))
        self._open, self._sockets = True, list[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def shut(self, seconds: float) -> None:
        self._open = False
        self._throw_out()
        threading.Timer(seconds, lambda: setattr(self, "_open", True)).start()

    def close(self) -> None:
        self._throw_out()
        for each in (self._listener, *self._sockets):
            each.close()

    def _throw_out(self) -> None:
        for each in [*self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                guest, _ = self._listener.accept()
                if not self._open:
                    guest.close()
                    continue
                host = socket.create_connection(self._server)
                self._sockets += [guest, host]
                for one, two in ((guest, host), (host, guest)):
                    threading.Thread(target=self._carry, args=(one, two), daemon=True).start()

    def _carry(self, one: socket.socket, two: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                two.sendall(data)
        for end in (one, two):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def gate(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(server.url)
    for name, value in servers.environment(gate.url).items():
        monkeypatch.setenv(name, value)
    stores._store.cache_clear()
    yield gate
    stores._store.cache_clear()
    gate.close()


def test_a_server_that_is_away_for_a_while(bucket: str, gate: Gate) -> None:
    shut = [0]

    def away(nbytes: int) -> None:
        if not shut[0]:
            shut[0] += 1
            gate.shut(0.5)

    ms.save_checkpoint({"w": ROWS}, f"{bucket}/a", progress=away, threads=1)
    gate.shut(0.5)
    assert np.array_equal(ms.load_checkpoint(f"{bucket}/a.ckpt")["w"], ROWS)
    assert shut == [1]


def test_a_server_that_stays_away(
    server: Server, bucket: str, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    ms.save_checkpoint({"w": ROWS}, f"{bucket}/a")
    with pytest.raises(ms.StoreError, match=rf"{bucket}/a\.ckpt"):
        ms.save_checkpoint({"w": ROWS + 1}, f"{bucket}/a", progress=lambda n: gate.shut(60))
    stores._store.cache_clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    assert ms.load_checkpoint(f"{bucket}/a.ckpt")["w"][0, 0] == 0
    ms.save_checkpoint({"w": ROWS + 1}, f"{bucket}/a")
    assert not server.uploads(bucket.removeprefix("s3://"))


def test_paths_survive_a_process(bucket: str) -> None:
    """The store of a child process is its own: connections are not shared."""
    save = ms.save_checkpoint({"w": ROWS}, f"{bucket}/a", async_save="process")
    assert save is not None
    save.result(100)
    assert np.array_equal(ms.load_checkpoint(f"{bucket}/a.ckpt")["w"], ROWS)

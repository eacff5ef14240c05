"""A reader sees the previous file or the whole new one, whatever happens to the writer."""

from __future__ import annotations

import errno
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import atomic

OLD = {"version": 1, "w": np.zeros(100)}
NEW = {"version": 2, "w": np.ones((64, 40_000))}  # 20 MB: several windows


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "a.ckpt"
    ms.save_checkpoint(OLD, str(path))
    return path


def check_unchanged(target: Path) -> None:
    assert ms.load_checkpoint(str(target))["version"] == 1
    assert os.listdir(target.parent) == [target.name]


def full_disk(*_: Any) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["pwritev", "fsync", "replace", "posix_fallocate"])
def test_a_full_disk_leaves_the_old_file(
    target: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(OSError, match="No space left"):
        ms.save_checkpoint(NEW, str(target))
    check_unchanged(target)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("kwargs", [{}, {"enc_key": bytes(16)}, {"threads": 1}])
def test_an_interruption_leaves_the_old_file(
    target: Path, error: type[BaseException], kwargs: dict[str, Any]
) -> None:
    def interrupt(nbytes: int) -> None:
        raise error

    with pytest.raises(error):
        ms.save_checkpoint(NEW, str(target), progress=interrupt, **kwargs)
    check_unchanged(target)


def test_short_writes_go_on(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, data, at: write(fd, data[:1], at))
    ms.save_checkpoint(NEW, str(target))
    assert np.array_equal(ms.load_checkpoint(str(target))["w"], NEW["w"])


def test_file_systems_that_cannot_allocate(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    ms.save_checkpoint(NEW, str(target))
    assert np.array_equal(ms.load_checkpoint(str(target))["w"], NEW["w"])


_ENDLESS = """
import sys
import numpy as np
import msckpt_jax as ms
version = 0
while True:
    version += 1
    tree = {"version": version, "w": np.full((8, 500_000), version, np.float32)}
    ms.save_checkpoint(tree, sys.argv[1], crc_check=True, durable=version % 4 == 0)
    print(version, flush=True)
"""


def test_kill_at_50_random_points(tmp_path: Path) -> None:
    target = tmp_path / "a.ckpt"
    moments = random.Random(0)
    seen: set[int] = set()
    left_behind = 0
    for _ in range(50):
        with subprocess.Popen(
            [sys.executable, "-c", _ENDLESS, target], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()  # the first save is done, the second begins
            time.sleep(moments.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        found = ms.load_checkpoint(str(target), crc_check=True)
        version = int(found["version"])
        assert np.array_equal(found["w"], np.full((8, 500_000), version, np.float32))
        seen.add(version)
        left_behind += len(os.listdir(tmp_path)) > 1
    assert len(seen) > 1
    assert left_behind > 0, "no process was killed while it wrote: the test proves nothing"
    ms.save_checkpoint(OLD, str(target))
    check_unchanged(target)  # what the killed ones left is swept away


def test_two_processes_save_the_same_name(tmp_path: Path) -> None:
    target = tmp_path / "a.ckpt"
    command = [sys.executable, "-c", _ENDLESS, target]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as one,
        subprocess.Popen(command, stdout=subprocess.PIPE) as other,
    ):
        for process in (one, other):
            assert process.stdout is not None
            process.stdout.readline()
        for _ in range(30):
            found = ms.load_checkpoint(str(target), crc_check=True)
            assert np.all(found["w"] == found["version"])
        assert one.poll() is None
        assert other.poll() is None
        one.kill()
        other.kill()


def test_threads_save_the_same_name(tmp_path: Path) -> None:
    target = tmp_path / "a.ckpt"
    errors: list[BaseException] = []

    def save(version: int) -> None:
        try:
            for _ in range(10):
                tree = {"version": version, "w": np.full(1000, version)}
                ms.save_checkpoint(tree, str(target), durable=False)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    found = ms.load_checkpoint(str(target))
    assert np.all(found["w"] == found["version"])
    assert os.listdir(tmp_path) == ["a.ckpt"]


def test_a_live_writer_is_not_swept_away(tmp_path: Path) -> None:
    target = tmp_path / "a.ckpt"
    with atomic.replacing(target, durable=False) as file:
        os.write(file.fd, b"slow")
        with atomic.replacing(target, durable=False) as other:
            os.write(other.fd, b"quick")
        assert target.read_bytes() == b"quick"
    assert target.read_bytes() == b"slow"


# Targets


def bytes_of(tree: Any, tmp_path: Path, **kwargs: Any) -> bytes:
    path = tmp_path / "wanted.ckpt"
    ms.save_checkpoint(tree, str(path), **kwargs)
    return path.read_bytes()


@pytest.mark.parametrize("kwargs", [{}, {"crc_check": True}])
def test_open_files(tmp_path: Path, kwargs: dict[str, Any]) -> None:
    out = io.BytesIO()
    ms.save_checkpoint(NEW, out, **kwargs)
    assert out.getvalue() == bytes_of(NEW, tmp_path, **kwargs)


def test_encrypted_streams(tmp_path: Path) -> None:
    out = io.BytesIO()
    ms.save_checkpoint(NEW, out, enc_key=bytes(16))
    path = tmp_path / "a.ckpt"
    path.write_bytes(out.getvalue())
    assert np.array_equal(ms.load_checkpoint(str(path), dec_key=bytes(16))["w"], NEW["w"])


def test_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    ms.save_checkpoint(NEW, str(pipe))
    reader.join()
    assert got == [bytes_of(NEW, tmp_path)]


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.ckpt"
    link.symlink_to(tmp_path / "real" / "file.ckpt")
    ms.save_checkpoint(OLD, str(link))
    assert link.is_symlink()
    assert os.listdir(tmp_path / "real") == ["file.ckpt"]


@pytest.mark.parametrize(
    ("name", "format", "written"),
    [
        ("a", "ckpt", "a.ckpt"),
        ("a.txt", "ckpt", "a.txt.ckpt"),
        ("ackpt", "ckpt", "ackpt"),
        ("a.ckpt", "safetensors", "a.ckpt.safetensors"),
        ("ü" * 120 + ".ckpt", "ckpt", "ü" * 120 + ".ckpt"),
    ],
)
def test_file_names(tmp_path: Path, name: str, format: str, written: str) -> None:
    ms.save_checkpoint({"w": np.ones(2)}, str(tmp_path / name), format=format)
    assert os.listdir(tmp_path) == [written]


def test_missing_folder_and_folder_as_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        ms.save_checkpoint(OLD, str(tmp_path / "no" / "a.ckpt"))
    with pytest.raises(IsADirectoryError):
        ms.save_checkpoint(OLD, str(tmp_path))
    assert os.listdir(tmp_path) == []

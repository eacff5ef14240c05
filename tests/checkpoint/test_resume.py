"""Interrupted writes of large files are taken up, by the same job only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import leaves, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.formats import ckpt
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.parallel import ordered

ARRAY = np.arange(12 << 20, dtype=np.int32)  # 48 MiB: six windows
STEP = 8 << 20


def plan() -> planning.Plan:
    return ckpt.plan([leaves.of_value("w", ARRAY)], How())


def write(target: Path, job: str, writes: list[int] | None = None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered, "STEP_BYTES", STEP)
        if writes is not None:
            original = writer.write_chunk

            def noted(fd: int, chunk: planning.Chunk, *args: Any) -> list[Any]:
                writes.append(chunk.offset)
                return original(fd, chunk, *args)

            patch.setattr(writer, "write_chunk", noted)
        ordered.write_file(target, plan(), writer.Options(threads=1), job)


_KILLED = """
import os, signal, sys
from pathlib import Path
from tests.checkpoint import test_resume
from msckpt_jax.checkpoint import writer
original, count = writer.write_chunk, int(sys.argv[3])

def write_chunk(fd, chunk, *args):
    if chunk.offset >= count * (8 << 20):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(fd, chunk, *args)

writer.write_chunk = write_chunk
test_resume.write(Path(sys.argv[1]), sys.argv[2])
"""


def kill(target: Path, job: str, count: int) -> None:
    """Write ``count`` windows, then die."""
    command = [sys.executable, "-c", _KILLED, str(target), job, str(count)]
    root = Path(__file__).parents[2]
    assert subprocess.run(command, cwd=root).returncode == -signal.SIGKILL


def test_a_killed_write_goes_on(tmp_path: Path) -> None:
    target, wanted = tmp_path / "a.ckpt", tmp_path / "b.ckpt"
    ms.save_checkpoint({"w": ARRAY}, wanted)
    ms.save_checkpoint({"w": 1}, target)
    for count in (2, 4):
        kill(target, "job", count)
        assert ms.load_checkpoint(target)["w"] == 1
    written: list[int] = []
    write(target, "job", written)
    assert written
    assert min(written) >= 3 * STEP
    assert target.read_bytes() == wanted.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.ckpt", "b.ckpt"]


def test_another_job_begins_anew(tmp_path: Path) -> None:
    target = tmp_path / "a.ckpt"
    kill(target, "one", 3)
    written: list[int] = []
    write(target, "other", written)
    assert min(written) == 0
    assert os.listdir(tmp_path) == ["a.ckpt"]
    kill(target, "one", 3)
    ms.save_checkpoint({"w": 1}, target)  # a save sweeps up, too
    assert os.listdir(tmp_path) == ["a.ckpt"]


def test_an_error_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a.ckpt", "job")
    assert not list(tmp_path.iterdir())


def test_two_at_the_same_job(tmp_path: Path) -> None:
    def again(nbytes: int) -> None:
        with pytest.raises(BlockingIOError, match="another process is writing it"):
            write(tmp_path / "a.ckpt", "job")

    ordered.write_file(
        tmp_path / "a.ckpt", plan(), writer.Options(threads=1, progress=again), "job"
    )
    assert np.array_equal(ms.load_checkpoint(tmp_path / "a.ckpt")["w"], ARRAY)

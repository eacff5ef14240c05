"""What killed writers leave is swept by the next one, and what live writers need never is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import atomic, leftovers
from msckpt_jax.checkpoint import owner as owners
from msckpt_jax.checkpoint import stage as stages
from msckpt_jax.checkpoint.folder import FolderSave
from msckpt_jax.checkpoint.owner import Owner

#: A process that begins to save, says so, and never ends.
_STUCK = """
import sys, time
import numpy as np
import msckpt_jax as ms
def wait(nbytes):
    print("writing", flush=True)
    time.sleep(600)
options = {"format": "safetensors", "max_shard_size": 1000} if sys.argv[2] == "folder" else {}
ms.save_checkpoint({"w": np.zeros(100), "v": np.ones(100)}, sys.argv[1], progress=wait, **options)
"""
#: Two runs after one another, each with the saves of many steps, without locks if that is asked.
_RUNS = """
import sys
import numpy as np
import msckpt_jax as ms
from msckpt_jax.checkpoint import atomic
if sys.argv[2] == "no locks":
    atomic.fcntl = None
for run in range(3):
    config = ms.CheckpointConfig(1, keep_checkpoint_max=2, durable=False)
    with ms.ModelCheckpoint(sys.argv[3], sys.argv[1], config) as ckpt:
        for number in range(150):
            ckpt.step({"w": np.full(1000, number)})
"""


def stuck(target: Path, kind: str = "file") -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", _STUCK, target, kind], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A temporary file as a process on another host names it, which this one cannot lock."""
    path = tmp_path / f".net-1_1.ckpt.{Owner('0' * 12, 1, 5)}-01234567.tmp"
    path.write_bytes(b"half")
    return path


def test_a_killed_writer_and_a_live_one(tmp_path: Path) -> None:
    """Whatever their targets are; the live one's file is there still."""
    dead, live = stuck(tmp_path / "net-1_1.ckpt"), stuck(tmp_path / "net-1_2.ckpt")
    try:
        kill(dead)
        assert len(os.listdir(tmp_path)) == 2
        ms.save_checkpoint({"w": 1}, tmp_path / "net-1_3.ckpt")
        left = sorted(os.listdir(tmp_path))
        assert [name[:13] for name in left] == [".net-1_2.ckpt", "net-1_3.ckpt"]
    finally:
        kill(live)
    (tmp_path / "rank_1").mkdir()
    os.rename(tmp_path / left[0], tmp_path / "rank_1" / left[0])
    with ms.ModelCheckpoint("net", tmp_path):
        assert os.listdir(tmp_path / "rank_1") == []


def test_a_writer_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name says whether it still runs, and when it began: numbers are used again."""
    monkeypatch.setattr(atomic, "fcntl", None)
    dead, live = stuck(tmp_path / "a.ckpt"), stuck(tmp_path / "b.ckpt")
    try:
        kill(dead)
        used_again = Owner(owners.this().host, live.pid, 7)
        (tmp_path / f".c.ckpt.{used_again}-01234567.tmp").touch()
        atomic.sweep(tmp_path)
        (left,) = os.listdir(tmp_path)
        assert left.startswith(".b.ckpt.")
    finally:
        kill(live)
    atomic.sweep(tmp_path)
    assert os.listdir(tmp_path) == []


def test_another_host(tmp_path: Path, elsewhere: Path) -> None:
    """Its file is dead when it was not touched for as long as the run says."""
    config = ms.CheckpointConfig(stale_seconds=100)
    ms.ModelCheckpoint("net", tmp_path, config)
    before = time.time() - 200
    os.utime(elsewhere, (before, before))
    ms.ModelCheckpoint("net", tmp_path)  # an hour
    ms.save_checkpoint({"w": 1}, tmp_path / "net-1_1.ckpt")
    assert elsewhere.exists()
    ms.ModelCheckpoint("net", tmp_path, config)
    assert os.listdir(tmp_path) == ["net-1_1.ckpt"]


def test_a_writer_touches_its_file(tmp_path: Path) -> None:
    with atomic.replacing(tmp_path / "a.ckpt", durable=False) as file:
        os.utime(file.path, (5, 5))
        owners._heart.touch()
        assert time.time() - file.path.stat().st_mtime < 100
    os.utime(tmp_path / "a.ckpt", (5, 5))
    owners._heart.touch()
    assert (tmp_path / "a.ckpt").stat().st_mtime == 5


def test_names_that_are_not_ours_stay(tmp_path: Path) -> None:
    names = ["a.tmp", ".a.ckpt.tmp", ".a.ckpt.0123456789abcdef.tmp", ".a.swp", ".a.ckpt.1-2-3.tmp",
             f"a.ckpt.{Owner('0' * 12, 1, 5)}-01234567.tmp"]  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (5, 5))
    folder = tmp_path / f".d.{Owner('0' * 12, 1, 5)}-01234567.tmp"
    folder.mkdir()
    leftovers.sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*names, folder.name])


@pytest.mark.parametrize("locks", ["locks", "no locks"])
def test_two_live_runs_in_one_folder(tmp_path: Path, locks: str) -> None:
    """Each begins anew while the other writes. A file that was swept could not get its name."""
    runs = [
        subprocess.Popen([sys.executable, "-c", _RUNS, tmp_path, locks, prefix], stderr=-1)
        for prefix in ("m", "n")
    ]
    outputs = [run.communicate(timeout=200)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    left = [f"{prefix}{run}-1_{step}.ckpt" for prefix in "mn" for run in ("", "_1", "_2")
            for step in (149, 150)]  # fmt: skip
    assert sorted(os.listdir(tmp_path)) == sorted(left)


# Stages of folders


def save_folder(path: Path) -> None:
    ms.save_checkpoint({"w": np.zeros(9)}, path, format="safetensors", max_shard_size=1000)


def test_the_stage_of_a_killed_writer(tmp_path: Path) -> None:
    dead, live = stuck(tmp_path / "step_1", "folder"), stuck(tmp_path / "step_2", "folder")
    try:
        kill(dead)
        save_folder(tmp_path / "step_3")
        assert sorted(os.listdir(tmp_path)) == [".step_2.msckpt-save", "step_3"]
    finally:
        kill(live)
    leftovers.sweep(tmp_path)
    assert os.listdir(tmp_path) == ["step_3"]


def test_the_stage_of_another_host(tmp_path: Path) -> None:
    stage = tmp_path / f".step_1{stages.STAGE}"
    (stage / "files").mkdir(parents=True)
    (stage / stages.LOCK).write_text(str(Owner("0" * 12, 1, 5)))
    leftovers.sweep(tmp_path)
    os.utime(stage / stages.LOCK, (5, 5))
    for needed in stages.NEEDED:
        (stage / needed).touch()
        leftovers.sweep(tmp_path)
        assert (stage / "files").exists()
        (stage / needed).unlink()
    leftovers.sweep(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("owner", [Owner("0" * 12, 1, 5), owners.this()], ids=["away", "here"])
def test_a_save_leaves_the_live_stage_of_another_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Owner
) -> None:
    """Where there are no locks, neither the name of its writer nor its sign of life may change."""
    monkeypatch.setattr(atomic, "fcntl", None)
    stage = stages.of(tmp_path, "theirs")
    (stage / "files").mkdir(parents=True)
    (stage / stages.LOCK).write_text(str(owner))
    half_an_hour_ago = time.time() - 1800
    os.utime(stage / stages.LOCK, (half_an_hour_ago, half_an_hour_ago))
    before = (stage / stages.LOCK).stat()
    save_set(tmp_path)
    assert (stage / stages.LOCK).read_text() == str(owner)
    assert (stage / stages.LOCK).stat().st_mtime == before.st_mtime
    assert (stage / "files").is_dir()
    os.utime(stage / stages.LOCK, (5, 5))
    save_set(tmp_path)
    assert stage.exists() == (owner == owners.this())  # that process has not ended


def save_set(folder: Path) -> None:
    with FolderSave(folder, of="ours") as save:
        (save.files / "a").write_text("ours")
        save.commit("a")

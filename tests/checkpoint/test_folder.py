"""Files of a folder that are replaced as one, whatever kills the process that does it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import atomic, folder
from msckpt_jax.checkpoint import stage as stages
from msckpt_jax.checkpoint.folder import FolderSave
from msckpt_jax.checkpoint.stage import STAGE
from msckpt_jax.cli import main

JOURNAL = f"{STAGE}/journal.json"


@pytest.fixture(scope="module")
def in_memory() -> Iterator[Path]:
    """A folder where renames cost nothing, if there is one."""
    path = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    yield Path(path)
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def seen(in_memory: Path) -> dict[str, Any]:
    """What kills.py has seen: it fails where a reader sees a mixture, or a save ends wrongly."""
    command = [sys.executable, "-m", "tests.checkpoint.kills", str(in_memory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_a_save_is_killed_before_every_call(seen: dict[str, Any]) -> None:
    """The next reader sees the old files, the new ones, or refuses; so does transformers."""
    for pair, kinds in seen["every"].items():
        states = {"absent", "2"} if pair.startswith("None") else {"1", "refused", "2"}
        assert {*kinds} == {"calls", *states}, pair
        assert kinds["calls"] > 10


def test_the_save_that_finishes_another_is_killed(seen: dict[str, Any]) -> None:
    assert seen["twice"] > 20


def test_saves_are_killed_at_random_moments(seen: dict[str, Any]) -> None:
    assert seen["random"]["whole"] > 10
    assert seen["random"]["staged"] > 10  # they were killed while they wrote


def test_reading_while_another_process_saves(seen: dict[str, Any]) -> None:
    assert seen["reading"]["whole"] > 10
    assert seen["reading"]["refused"] > 10


# Any set of files


def put(save: FolderSave, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        path = save.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def texts(target: Path) -> dict[str, str]:
    files = (path for path in target.rglob("*") if path.is_file())
    return {path.relative_to(target).as_posix(): path.read_text() for path in files}


RANKS = {"rank_0/net": "a", "rank_1/net": "b", "strategy": "1"}


def test_rank_folders(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with FolderSave(target) as save:
        put(save, RANKS)
        assert not target.exists()
        save.commit("strategy")
    assert texts(target) == RANKS
    (target / "notes").write_text("mine")
    more = {"rank_0/net": "c", "rank_2/deep/net": "d", "strategy": "2"}
    with FolderSave(target) as save:
        put(save, more)
        assert texts(target).items() > RANKS.items()
        save.commit("strategy", outdated=["rank_0/net", "rank_1/net", "none"])
    assert texts(target) == more | {"notes": "mine"}
    assert os.listdir(tmp_path) == ["out"]


def test_an_old_head_that_is_an_ordinary_file_of_the_new_set(tmp_path: Path) -> None:
    """A save that is finished does not take it for the old one."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "alone").write_text("old")
    replace = os.replace

    def failing(source: Any, to: Any) -> None:
        if Path(to).name == "index":
            raise OSError("disk")
        replace(source, to)

    with FolderSave(target) as save, pytest.MonkeyPatch.context() as patch:
        put(save, {"alone": "new", "index": "new"})
        patch.setattr(os, "replace", failing)
        with pytest.raises(OSError, match="disk"):
            save.commit("index", heads=["alone"])
    assert texts(target) == {"alone": "new"} | {
        f"{STAGE}/{name}": text for name, text in texts(target / STAGE).items()
    }
    assert folder.recover(target)
    assert texts(target) == {"alone": "new", "index": "new"}


@pytest.mark.parametrize("exists", [True, False])
def test_a_save_that_fails_leaves_nothing(tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "out"
    if exists:
        target.mkdir()
        (target / "a").write_text("old")

    def fail() -> None:
        with FolderSave(target) as save:
            put(save, {"a": "new"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert texts(tmp_path) == ({"out/a": "old"} if exists else {})
    with FolderSave(target) as save:
        put(save, {"a": "new"})  # without a commit
    assert texts(tmp_path) == ({"out/a": "old"} if exists else {})
    assert os.listdir(tmp_path) == (["out"] if exists else [])


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    for _ in range(2):  # a new folder, and one that is there
        with FolderSave(tmp_path / "out") as save:
            with pytest.raises(BlockingIOError, match="another process is saving"):
                FolderSave(tmp_path / "out").__enter__()
            put(save, {"a": "1"})
            save.commit("a")
    with FolderSave(tmp_path / "out"), pytest.raises(BlockingIOError):
        folder.recover(tmp_path / "out")


def test_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "out").symlink_to("there")
    with FolderSave(tmp_path / "out") as save:
        put(save, {"a": "1"})
        save.commit("a")
    assert (tmp_path / "there" / "a").read_text() == "1"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(NotADirectoryError), FolderSave(tmp_path / "out"):
        pass


# Journals


def interrupted(target: Path, **changes: Any) -> Path:
    """A folder whose save was killed after it had written its journal."""
    (target / STAGE / "files").mkdir(parents=True)
    for name in ("a", "head"):
        (target / name).write_text("old")
        (target / STAGE / "files" / name).write_text("new")
    files = {name: folder._written(target / STAGE / "files" / name) for name in ("a", "head")}
    journal = {"head": "head", "files": files, "heads": ["head"], "outdated": ["b"]} | changes
    (target / JOURNAL).write_text(json.dumps(journal))
    return target


def test_a_reader_is_told_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = interrupted(tmp_path / "out")
    index = "model.safetensors.index.json"
    for path in (target, target / index, target / "model.safetensors"):
        with pytest.raises(ms.CheckpointError, match=f"msckpt recover {target}`, or save anew"):
            ms.open_checkpoint(path)
    assert main(["verify", str(target)]) == 1
    assert "was interrupted" in capsys.readouterr().out
    assert main(["recover", str(target)]) == 0
    assert "is finished" in capsys.readouterr().out
    assert texts(target) == {"a": "new", "head": "new"}
    assert main(["recover", str(target)]) == 0
    assert "as it was" in capsys.readouterr().out
    assert main(["recover", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("change", [
    {"files": {"../a": [1, 2]}}, {"files": {"/etc/passwd": [1, 2]}}, {"outdated": [".."]},
    {"heads": ["x/../../a"]}, {"head": ""}, {"head": 5}, {"files": ["a"]}, {"heads": "a"},
    {"files": {"a\0": [1, 2]}}, {"outdated": 5}, {"more": 1}, {"files": {}},
    {"outdated": ["linked/a"]}, {"outdated": ["."]},
])  # fmt: skip
def test_hostile_journals(tmp_path: Path, change: dict[str, Any]) -> None:
    target = interrupted(tmp_path / "out", **change)
    (target / "linked").symlink_to(tmp_path)
    (tmp_path / "a").write_text("mine")
    before = texts(tmp_path)
    with pytest.raises(ms.CheckpointError, match="journal of an interrupted save is damaged"):
        folder.recover(target)
    with pytest.raises(ms.CheckpointError, match="journal"), FolderSave(target):
        pass
    after = {name: text for name, text in texts(tmp_path).items() if not name.endswith("lock")}
    assert after == before


@pytest.mark.parametrize("how", ["lost", "changed", "moved and changed"])
def test_a_file_that_is_not_as_it_was_written(tmp_path: Path, how: str) -> None:
    """An old file is not taken for a new one that has been moved: the sets would be mixed."""
    target = interrupted(tmp_path / "out")
    staged = target / STAGE / "files" / "a"
    {
        "lost": staged.unlink,
        "changed": lambda: staged.write_text("other"),
        "moved and changed": lambda: staged.rename(target / "a").write_text("other"),
    }[how]()
    with pytest.raises(ms.CheckpointError, match=r"a: this is not the file .* to another folder"):
        folder.recover(target)
    assert (target / "head").read_text() == "old"
    with pytest.raises(ms.CheckpointError, match="msckpt recover"):
        ms.open_checkpoint(target)


def test_a_copy_of_the_folder_is_finished(tmp_path: Path) -> None:
    shutil.copytree(interrupted(tmp_path / "out"), tmp_path / "copy")
    assert folder.recover(tmp_path / "copy")
    assert texts(tmp_path / "copy") == {"a": "new", "head": "new"}


def test_a_folder_that_comes_to_be_while_a_save_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, locked = tmp_path / "out", stages.locked

    def slowly(stage: Path, where: Path) -> int:
        if not target.exists():
            target.mkdir()
            (target / "a").write_text("theirs")
        return locked(stage, where)

    monkeypatch.setattr(stages, "locked", slowly)
    with FolderSave(target) as save:
        put(save, {"head": "mine"})
        save.commit("head")
    assert texts(target) == {"a": "theirs", "head": "mine"}
    assert os.listdir(tmp_path) == ["out"]


def test_staged_files_that_are_a_link(tmp_path: Path) -> None:
    target = interrupted(tmp_path / "out")
    (target / STAGE / "files").rename(tmp_path / "mine")
    (target / STAGE / "files").symlink_to(tmp_path / "mine")
    with pytest.raises(ms.CheckpointError, match="damaged"):
        folder.recover(target)
    assert texts(tmp_path / "mine") == {"a": "new", "head": "new"}


def test_a_stage_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a").write_text("")
    (tmp_path / "out" / STAGE).symlink_to(tmp_path / "mine")
    with pytest.raises(ms.CheckpointError, match="remove it"), FolderSave(tmp_path / "out"):
        pass
    assert texts(tmp_path / "mine") == {"a": ""}


def test_a_sweep_that_looks_at_a_new_stage_does_not_stop_its_save(tmp_path: Path) -> None:
    """Another process may look whether a stage is abandoned just when its writer locks it."""
    stage = stages.beside(tmp_path / "out")
    stage.mkdir()
    fd = os.open(stage / stages.LOCK, os.O_RDWR | os.O_CREAT)
    assert atomic.lock(fd)
    threading.Timer(0.1, os.close, [fd]).start()
    ms.save_checkpoint({"w": np.ones(3)}, tmp_path / "out", format="safetensors",
                       max_shard_size=1 << 20)  # fmt: skip
    assert ms.load_checkpoint(tmp_path / "out")["w"].tolist() == [1, 1, 1]

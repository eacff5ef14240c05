"""A conversion that is killed goes on where it was: the files are right, byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from msckpt_jax.checkpoint import plan
from msckpt_jax.checkpoint.log import Done, Log
from msckpt_jax.checkpoint.stage import STAGE
from msckpt_jax.parallel import cells, ordered
from tests.families import kills, orbaxes


@pytest.fixture(scope="module")
def orbax(tmp_path_factory: pytest.TempPathFactory, mesh: Any) -> Path:
    path = tmp_path_factory.mktemp("source") / "orbax"
    orbaxes.save(path, orbaxes.tree(kills.family(), True, mesh, (0, 2)))
    return path


@pytest.fixture(scope="module")
def seen(orbax: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What kills.py has seen: it fails where a file is not as it should be."""
    command = [sys.executable, "-m", "tests.families.kills", str(orbax)]
    command.append(str(tmp_path_factory.mktemp("kills")))
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["folder", "older", "file.safetensors"])
def test_killed_at_calls(seen: dict[str, Any], kind: str) -> None:
    """The later the kill, the less is left to write; another job begins anew."""
    of_kind = seen[kind]
    left = [n for n in of_kind["calls"] if n < of_kind["all"]]
    assert len(left) >= 3
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.5 * of_kind["all"] < left[0]
    assert of_kind["another"] == of_kind["all"]


def test_killed_at_random_moments(seen: dict[str, Any]) -> None:
    assert sum(of_kind["random"] for of_kind in seen.values()) > 0


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "CELL_BYTES", 1024)
    monkeypatch.setattr(ordered, "STEP_BYTES", 4096)
    monkeypatch.setattr(plan, "CHUNK_BYTES", 2048)


class Interrupted:
    """A conversion that Ctrl-C ends, and what it has left."""

    def __init__(self, orbax: Path, root: Path, error: type[BaseException] = KeyboardInterrupt):
        self.orbax, self.target, self.seen = orbax, root / "out", 0
        self.stage = root / f".out{STAGE}"
        self.error = error
        with pytest.raises(error):
            self.convert("job", self.advance, threads=1)

    def advance(self, nbytes: int) -> None:
        self.seen += nbytes
        if self.seen > 40_000:
            raise self.error

    def convert(self, resume: str, progress: Any, **options: Any) -> None:
        args = self.orbax, self.target, kills.family(), kills.LIMIT, resume
        orbaxes.convert(*args, progress=progress, **options)

    def finished(self, resume: str = "job") -> tuple[int, dict[str, bytes]]:
        """Go on; return the bytes that progress was told of at first, and the files."""
        told: list[int] = []
        self.convert(resume, told.append)
        assert not self.stage.exists()
        assert sum(told) > 60_000  # all bytes are told, also those that were there
        return told[0], orbaxes.contents(self.target)

    @property
    def log(self) -> Path:
        (path,) = self.stage.glob("done.*")
        return path

    @property
    def file(self) -> Path:
        return sorted((self.stage / "files").iterdir())[1]


@pytest.fixture
def wanted(orbax: Path, tmp_path: Path) -> dict[str, bytes]:
    orbaxes.convert(orbax, tmp_path / "wanted", kills.family(), kills.LIMIT)
    return orbaxes.contents(tmp_path / "wanted")


@pytest.mark.usefixtures("small")
def test_it_goes_on(orbax: Path, tmp_path: Path, wanted: dict[str, bytes]) -> None:
    skipped, files = Interrupted(orbax, tmp_path).finished()
    assert skipped > 30_000
    assert files == wanted


@pytest.mark.usefixtures("small")
def test_another_job(orbax: Path, tmp_path: Path, wanted: dict[str, bytes]) -> None:
    skipped, files = Interrupted(orbax, tmp_path).finished("another")
    assert skipped < 3000
    assert files == wanted


@pytest.mark.usefixtures("small")
def test_an_error_leaves_nothing(orbax: Path, tmp_path: Path) -> None:
    Interrupted(orbax, tmp_path, ValueError)
    assert not list(tmp_path.iterdir())


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def linked(work: Interrupted) -> None:
    """A link in the place of a staged file: its target must not be written."""
    other = work.stage.parent / "other"
    os.replace(work.file, other)
    work.stage.joinpath("files", "model-00002-of-00005.safetensors").symlink_to(other)
    other.write_bytes(b"\0" * other.stat().st_size)


def folder_linked(work: Interrupted) -> None:
    files = work.stage / "files"
    files.rename(work.stage.parent / "elsewhere")
    files.symlink_to(work.stage.parent / "elsewhere")


def log_linked(work: Interrupted) -> None:
    log = work.log
    log.rename(work.stage.parent / "log")
    log.symlink_to(work.stage.parent / "log")


DAMAGES = {
    "the first note": lambda work: flip(work.log, 0),
    "the first proof": lambda work: flip(work.log, 20),
    "no log": lambda work: work.log.unlink(),
    "an empty log": lambda work: work.log.write_bytes(b""),
    "another job's log": lambda work: work.log.write_bytes(os.urandom(240)),
    "a file is gone": lambda work: work.file.unlink(),
    "a file is longer": lambda work: work.file.write_bytes(work.file.read_bytes() + b"x"),
    "a file has two names": lambda work: os.link(work.file, work.stage.parent / "second"),
    "a file is a link": linked,
    "the files are a link": folder_linked,
    "the log is a link": log_linked,
}


@pytest.mark.parametrize("damage", list(DAMAGES))
@pytest.mark.usefixtures("small")
def test_what_is_not_proved_is_done_again(
    orbax: Path, tmp_path: Path, wanted: dict[str, bytes], damage: str
) -> None:
    work = Interrupted(orbax, tmp_path)
    DAMAGES[damage](work)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    skipped, files = work.finished()
    assert skipped < 3000
    assert files == wanted
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.usefixtures("small")
def test_the_last_notes_are_lost(orbax: Path, tmp_path: Path, wanted: dict[str, bytes]) -> None:
    work = Interrupted(orbax, tmp_path)
    work.log.write_bytes(work.log.read_bytes()[:-30])  # a note, and a part of one
    (work.stage / "files" / ".model.safetensors.index.json.0.tmp").write_text("half")
    skipped, files = work.finished()
    assert 3000 < skipped < 40_000
    assert files == wanted


def test_an_order_that_has_changed(
    orbax: Path, tmp_path: Path, wanted: dict[str, bytes], small: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    work = Interrupted(orbax, tmp_path)
    monkeypatch.setattr(plan, "CHUNK_BYTES", 1024)
    skipped, files = work.finished()
    assert skipped < 3000
    assert files == wanted


def test_a_log(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    log = Log(fd, 5, "job")
    for count in (3, 7):
        log.add(Done(count, 2))
    assert Log(fd, 5, "job").last == (7, 2)
    assert Log(fd, 5, "another").last == (0, 0)
    note = os.pread(fd, 24, 5)
    os.pwrite(fd, note, 29)  # a note in the place of another
    assert Log(fd, 5, "job").last == (3, 2)
    os.ftruncate(fd, 28)
    assert Log(fd, 5, "job").last == (0, 0)
    os.close(fd)

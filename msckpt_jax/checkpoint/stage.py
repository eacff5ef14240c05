"""The stage of a save: the folder in which it makes its files ready, its lock and its end."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from msckpt_jax.checkpoint import atomic, naming, paths
from msckpt_jax.checkpoint import owner as owners
from msckpt_jax.errors import CheckpointError

#: The folder in which a save is made ready.
STAGE = ".msckpt-save"
#: The names of what lies in it.
FILES, JOURNAL, LOCK, LOG = "files", "journal.json", "lock", "done."
#: The beginnings of names in a stage that the next save needs.
NEEDED = (JOURNAL, LOG)
#: The seconds for which a writer waits for a lock: another's sweep may hold it for a moment.
_PATIENCE = 0.5
_LOCKING = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


def of(target: Any, name: str | None = None) -> Any:
    """The stage of a save into a folder that exists, or of that of a set of files there."""
    if name is None:
        return target / STAGE
    data = name.encode(errors="surrogateescape")
    if len(data) > 200:  # a name may have 255 bytes
        name = f"{data[:100].decode(errors='ignore')}.{hashlib.sha256(data).hexdigest()[:32]}"
    return target / f"{STAGE}.{name}"


def files(stage: Path) -> Path:
    """The folder of a stage in which files are written."""
    return stage / FILES


def all_in(target: Any) -> list[Any]:
    """The stages of all saves into a folder that are under way, or were killed."""
    return [p for p in paths.below(target, STAGE) if p.name == STAGE or is_of_set(p)]


def all_beside(target: Path) -> list[Path]:
    """The stages in a folder of folders that do not exist yet, and of sets of files there."""
    names = [p for p in target.iterdir() if p.name[0] == "."]
    return [p for p in names if p.name.endswith(STAGE) or is_of_set(p)]


def is_of_set(stage: Any) -> bool:
    if not stage.name.startswith(f"{STAGE}."):
        return False
    return not isinstance(stage, Path) or (stage.is_dir() and not stage.is_symlink())


def beside(target: Path) -> Path:
    """The stage of a folder that does not exist yet."""
    return target.with_name(f".{target.name}{STAGE}")


def locked(stage: Path, target: Path) -> int:
    """The open file, locked and signed by this process, that keeps other writers of a folder out.

    Raises:
        BlockingIOError: another process has locked it, and for longer than a sweep does, which
            looks whether a stage is abandoned.
        CheckpointError: the stage is a link.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        if stage.is_symlink():
            raise CheckpointError("a save does not follow this link: remove it", file=stage)
        stage.mkdir(exist_ok=True)
        try:
            fd = os.open(stage / LOCK, _LOCKING, 0o666)
        except FileNotFoundError:  # a save that has just ended has removed the stage
            continue
        if not atomic.lock(fd):
            os.close(fd)
            if time.monotonic() < end:
                time.sleep(_PATIENCE / 50)
                continue
            problem = "another process is saving into this folder"
            raise BlockingIOError(errno.EWOULDBLOCK, problem, str(target))
        if os.fstat(fd).st_nlink:
            _sign(fd, stage)
            return fd
        os.close(fd)


def _sign(fd: int, stage: Path) -> None:
    """Write the name of this process into the lock, or else remove the lock."""
    try:
        with naming.naming(stage / LOCK):
            os.ftruncate(fd, 0)
            text = str(owners.this()).encode()
            while text:
                text = text[os.write(fd, text) :]
    except BaseException:
        with contextlib.suppress(OSError):  # what a killed save has left there stays
            os.unlink(stage / LOCK)
            stage.rmdir()
        os.close(fd)
        raise


@contextlib.contextmanager
def abandoned(stage: Path, stale_seconds: float = owners.STALE_SECONDS) -> Iterator[bool]:
    """Tell whether the writer of a stage is dead; if so, nobody else takes it during the block.

    Nothing is written: where there are no locks, the name of a live writer, and the time of its
    last sign of life, must stay as they are.
    """
    try:
        fd = os.open(stage / LOCK, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        yield False
        return
    try:
        # One that wrote no name was killed at once, or is of an earlier version.
        text = os.pread(fd, 99, 0).decode(errors="replace")
        owner = owners.parse(text) or owners.UNKNOWN
        yield atomic.is_abandoned(atomic.Temporary(fd, stage / LOCK), owner, stale_seconds)
    finally:
        os.close(fd)


def clear(stage: Path, spared: Collection[str] = ()) -> None:
    """Remove all that a save has written in its stage, except the lock."""
    for path in stage.iterdir():
        if path.name in (LOCK, *spared):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def remove(stage: Path) -> None:
    """Remove the stage; the lock goes last, so that no other writer comes in between."""
    clear(stage)
    (stage / LOCK).unlink()
    with contextlib.suppress(OSError):  # another writer has put its lock there
        stage.rmdir()

"""The stage of a save: the folder in which it makes its files ready, and what lies there."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

from msckpt_jax.checkpoint import atomic, paths

#: The folder in which a save is made ready.
STAGE = ".msckpt-save"
#: The names of what lies in it.
FILES, JOURNAL, LOCK, LOG = "files", "journal.json", "lock", "done."
#: The beginnings of names in a stage that the next save needs.
NEEDED = (JOURNAL, LOG)
#: Where locks prove nothing, a stage in which nothing has changed for so long is a killed save's.
_STALE_SECONDS = 3600


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


def is_left(stage: Path) -> bool:
    """Tell whether the save of a stage that this process has locked was killed.

    A second lock that fails proves the first. On file systems where locks mean nothing, or
    something else, the time has to tell.
    """
    fd = os.open(stage / LOCK, os.O_RDWR)
    try:
        if not atomic.lock(fd):
            return True
    finally:
        os.close(fd)
    changed = max(os.lstat(path).st_mtime for path in (stage, *stage.rglob("*")))
    return time.time() - changed > _STALE_SECONDS


def beside(target: Path) -> Path:
    """The stage of a folder that does not exist yet."""
    return target.with_name(f".{target.name}{STAGE}")

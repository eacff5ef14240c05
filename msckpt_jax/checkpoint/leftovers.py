"""Sweep a folder of what dead writers have left in it: temporary files, and stages of folders."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from msckpt_jax.checkpoint import atomic, folder
from msckpt_jax.checkpoint import owner as owners


def sweep(where: Path, stale_seconds: float = owners.STALE_SECONDS) -> None:
    """Remove what dead writers have left in a folder: see :func:`atomic.sweep`.

    The stage of a save stays where the next one needs it: with a journal, or the log of a job.
    """
    atomic.sweep(where, stale_seconds)
    with contextlib.suppress(OSError):
        left = [p for p in where.iterdir() if p.name[0] == "." and p.name.endswith(folder.STAGE)]
        for stage in left:
            _remove_left(stage, stale_seconds)


def _remove_left(stage: Path, stale_seconds: float) -> None:
    """Remove the stage of a dead writer, of which nobody will need a part."""
    with contextlib.suppress(OSError):
        names = os.listdir(stage)
        if stage.is_symlink() or any(name.startswith(folder.NEEDED) for name in names):
            return
        if not names:
            stage.rmdir()  # a writer that has just made it makes it again
            return
        lock = stage / folder.LOCK
        fd = os.open(lock, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            # One that wrote no name was killed at once, or is of an earlier version.
            text = os.pread(fd, 99, 0).decode(errors="replace")
            owner = owners.parse(text) or owners.UNKNOWN
            if atomic.is_abandoned(atomic.Temporary(fd, lock), owner, stale_seconds):
                folder.remove_stage(stage)
        finally:
            os.close(fd)

"""Sweep a folder of what dead writers have left in it: temporary files, and stages of folders."""

from __future__ import annotations

import contextlib
from pathlib import Path

from msckpt_jax.checkpoint import atomic
from msckpt_jax.checkpoint import owner as owners
from msckpt_jax.checkpoint import stage as stages


def sweep(where: Path, stale_seconds: float = owners.STALE_SECONDS) -> None:
    """Remove what dead writers have left in a folder: see :func:`atomic.sweep`.

    The stage of a save stays where the next one needs it: with a journal, or the log of a job.
    """
    atomic.sweep(where, stale_seconds)
    with contextlib.suppress(OSError):
        for stage in stages.all_beside(where):
            _remove_left(stage, stale_seconds)


def _remove_left(stage: Path, stale_seconds: float) -> None:
    """Remove the stage of a dead writer, of which nobody will need a part."""
    with contextlib.suppress(OSError):
        names = [path.name for path in stage.iterdir()]
        if stage.is_symlink() or any(name.startswith(stages.NEEDED) for name in names):
            return
        if not names:
            stage.rmdir()  # a writer that has just made it makes it again
            return
        with stages.abandoned(stage, stale_seconds) as dead:
            if dead:
                stages.remove(stage)

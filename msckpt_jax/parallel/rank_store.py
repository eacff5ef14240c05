"""The rank files of a save in an object store, and their strategy, which replace older ones.

The bytes of all files go up first; :mod:`~msckpt_jax.checkpoint.store_folder` says what comes then.
Where arrays span processes, each sends and completes its own files, between meetings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from msckpt_jax.checkpoint import atomic, one_save, paths, store_folder, writer
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.store_folder import StoreSave
from msckpt_jax.parallel.meeting import Meetings


def write(
    root: AnyPath,
    name: str,
    strategy: AnyPath | None,
    content: bytes,
    together: bool,
    options: writer.Options,
    put: Callable[[AnyPath, str, writer.Options], None],
) -> None:
    """Let ``put`` write the files ``name`` in the rank folders of ``root``, and give them names.

    ``content`` is that of the strategy; another process writes it where ``strategy`` is None.
    ``together``: all processes make the same call.

    Raises:
        CheckpointError: another process failed or died; the older files are as they were.
    """
    meetings = Meetings(root / name, options.timeout, "rank files") if together else None
    leads = meetings is None or meetings.me == 0

    def meet(work: Callable[[], Any], digest: str = "") -> Any:
        return work() if meetings is None else meetings.meet(work, digest).first

    with StoreSave(root, of=name) as save:

        def begin() -> None:
            if leads:
                keeps = strategy is None or _holds(strategy, content)
                if strategy is not None and not keeps:
                    strategy.unlink(missing_ok=True)
                save.begin(_older(root, name))

        def end() -> None:
            if leads:
                if strategy is not None and not _holds(strategy, content):
                    atomic.write(strategy, content)
                save.end()

        label = meet(one_save.new, hashlib.sha256(content).hexdigest())
        meet(lambda: put(save.files, label, options._replace(held=save.held)))
        meet(begin)
        meet(lambda: store_folder.complete(save.held))
        meet(end)


def _older(root: AnyPath, name: str) -> list[str]:
    """The files of a name that are there, which go before the new ones come."""
    ranks = (folder.name for folder in paths.below(root, "rank_"))
    numbered = (rank for rank in ranks if rank.removeprefix("rank_").isdigit())
    return [f"{rank}/{name}" for rank in numbered if (root / rank / name).is_file()]


def _holds(path: AnyPath, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content

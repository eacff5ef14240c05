"""The rank files of a save in an object store, and their strategy, which readers need.

The bytes of all files go up first. Then the older strategy goes, the new files become objects, and
the new strategy is the last. Each process does this with its own files.
"""

from __future__ import annotations

from collections.abc import Callable

from msckpt_jax.checkpoint import atomic, store_folder, writer
from msckpt_jax.checkpoint.paths import AnyPath


def write(
    strategy: AnyPath | None,
    content: bytes,
    options: writer.Options,
    put: Callable[[writer.Options], None],
) -> None:
    """Let ``put`` write this process's rank files, and give them their names.

    ``content`` is the strategy; another process writes it where ``strategy`` is None.
    """
    with store_folder.together() as held:
        put(options._replace(held=held))
        replaces = any(upload.path.is_file() for upload in held)
        if strategy is not None and (replaces or not _holds(strategy, content)):
            strategy.unlink(missing_ok=True)
            store_folder.complete(held)
            atomic.write(strategy, content)


def _holds(path: AnyPath, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content

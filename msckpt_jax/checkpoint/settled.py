"""The reader's side of saves into folders: a set of files is read from one save, or refused."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msckpt_jax.checkpoint import mappings, paths
from msckpt_jax.checkpoint import stage as stages
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.errors import CheckpointError


@contextlib.contextmanager
def reading(
    folder: Any, heads: Iterable[Any], sets: Sequence[str] = ()
) -> Iterator[Callable[[Any], None]]:
    """Refuse a folder in which a save replaces files, at the start of the block and at its end.

    ``sets`` as for :func:`check_settled`.

    Open all files in the block, the head first, and call the function that the block gets with it:
    as long as a head has not been replaced, the files that it names have not been, either. While it
    is open, no other file can be taken for it.

    Raises:
        CheckpointError: a save is under way, was interrupted, or took place during the block.
    """
    stamps = {head: _stamp(head) for head in heads}

    def check(replaced: bool) -> None:
        if replaced:
            problem = "a save replaced its files while they were read: read again"
            raise CheckpointError(problem, file=folder)

    check_settled(folder, sets)
    try:
        yield lambda head: check(head in stamps and stamps[head] is None)
    finally:  # what went wrong in the block may have its reason here
        check_settled(folder, sets)
        check(any(_stamp(head) != stamp for head, stamp in stamps.items()))


@contextlib.contextmanager
def reading_ranks(files: Iterable[Any], strategy: Any) -> Iterator[None]:
    """Refuse rank files that a save replaces before or while they are opened in the block.

    ``strategy`` is the file that tells how they belong together, which saves replace last.

    Raises:
        CheckpointError: as :func:`reading`.
    """
    sets: dict[AnyPath, set[str]] = {}
    for path in map(paths.path_of, files):
        sets.setdefault(path.parent.parent, set()).add(path.name)
    heads = [paths.path_of(strategy)] if isinstance(strategy, str | os.PathLike) else []
    with contextlib.ExitStack() as stack:
        for root, names in sets.items():
            stack.enter_context(reading(root, heads, sorted(names)))
        yield


def check_settled(folder: Any, sets: Iterable[str] = ()) -> None:
    """Refuse a folder whose files a save is replacing, or was when it was killed.

    ``sets`` are the names of the sets of files that are wanted; saves of others do not matter.

    Raises:
        CheckpointError: it is; the message says what to do.
    """
    _check(stages.of(folder), folder)
    wanted = {stages.of(folder, name) for name in sets}
    for stage in wanted.intersection(stages.all_in(folder)) if wanted else ():  # of thousands, few
        _check(stage, folder)


def check_all_settled(folder: AnyPath) -> None:
    """Refuse a folder in which any save gives files their names. Raises as the function above."""
    for stage in stages.all_in(folder):
        _check(stage, folder)


def _check(stage: Any, folder: Any) -> None:
    if (stage / stages.JOURNAL).exists():
        raise CheckpointError(
            "a save is giving its files their names, or was interrupted while it did: read again; "
            f"if this stays, finish it by `msckpt recover {folder}`, or save anew",
            file=folder,
        )


def _stamp(path: Any) -> Any:
    """The properties that tell a file from one that has replaced it; None without a file."""
    if not isinstance(path, Path):
        return path.store.tag(path.key)
    try:
        return mappings.stamp_of(path)
    except OSError:
        return None

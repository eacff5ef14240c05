"""The rank files of a save and their strategy, which replace older ones as one set.

The files are made ready in one folder and get their names together, as
:mod:`~msckpt_jax.checkpoint.folder` says. Where processes share no file system, those of each host
do this by themselves, after all have agreed that all files are complete.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from msckpt_jax.checkpoint import atomic, one_save, paths, stage, store_folder, writer
from msckpt_jax.checkpoint.folder import FolderSave
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.plan import Plan
from msckpt_jax.checkpoint.store_folder import StoreSave
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import rank_store
from msckpt_jax.parallel.meeting import Meetings

#: Writes this process's files of a save below a folder, marked with the name of the save.
Put: TypeAlias = Callable[[AnyPath, str, writer.Options], None]


class RankSet(NamedTuple):
    """The place of a set of rank files, and their strategy.

    Attributes:
        root: the folder of the rank folders.
        name: the name of the files in these.
        strategy: the strategy file, which this process writes; None: another one does.
        content: its bytes.
        spans: whether arrays span processes, which then save together.
    """

    root: Any
    name: str
    strategy: Any
    content: bytes
    spans: bool = False


def write(ranks: RankSet, options: writer.Options, put: Put) -> None:
    """Let ``put`` write rank files, and give all of them their names.

    Raises:
        BlockingIOError: another process is saving the same set.
        CheckpointError: a rank folder leads elsewhere; another process failed or died. The older
            files are as they were.
        FileNotFoundError: there is no such folder.
    """
    if not isinstance(ranks.root, Path):
        rank_store.write(*ranks, options, put)
        return
    if ranks.spans:
        _write_together(ranks, options, put)
        return
    with _saving(ranks, options) as save:
        put(save.files, one_save.new(), options)
        _commit(ranks, save, options)


@contextlib.contextmanager
def replacing(folder: AnyPath, name: Callable[[str], str]) -> Iterator[FolderSave | StoreSave]:
    """A save of rank files, which then replace those in ``folder`` as one set.

    ``name`` gives the name of a rank's file. No strategy tells of them, so that all older ones go
    before the new ones come: nobody reads a mixture.
    """
    with atomic.making_folder(folder.parent), store_folder.of(folder) as save:
        yield save
        older = _present(folder, name)
        save.commit(max(save.names), heads=older, outdated=older)


def _saving(ranks: RankSet, options: writer.Options) -> FolderSave:
    for file in (ranks.root / ranks.name, ranks.strategy):
        if file is not None and not file.parent.is_dir():
            problem = "the folder does not exist; create it first"
            raise FileNotFoundError(errno.ENOENT, problem, str(file.parent))
    for folder in _folders(ranks.root):
        _check_inside(folder)
    return FolderSave(ranks.root, options.durable, of=ranks.name)


def _write_together(ranks: RankSet, options: writer.Options, put: Put) -> None:
    """Write as all processes do; in each file system one of them commits for all."""
    meetings = Meetings(ranks.root / ranks.name, options.timeout, "rank files")
    place = stage.of(Path(os.path.realpath(ranks.root)), ranks.name)
    saves: list[FolderSave] = []

    def written(nbytes: int) -> None:
        meetings.alive()
        if options.progress is not None:
            options.progress(nbytes)

    with contextlib.ExitStack() as stack:

        def lead(name: str) -> str:
            saves.append(stack.enter_context(_saving(ranks, options)))
            _sign(place, name).touch()
            return name

        def join() -> bool:
            """Tell whether this process knows who commits for it."""
            if meetings.me == 0 or _sign(place, name).exists():
                return True
            with contextlib.suppress(BlockingIOError):
                lead(name)
            return bool(saves)

        def follow() -> None:
            if not saves and not _sign(place, name).exists():
                lead(name)  # which says that another save holds the place

        digest = hashlib.sha256(ranks.content).hexdigest()
        begin = meetings.meet(lambda: lead(one_save.new()) if meetings.me == 0 else "", digest)
        name = begin.first
        if not meetings.meet(join).everywhere:
            meetings.meet(follow)
        shown = options._replace(progress=written)
        meetings.meet(lambda: put(stage.files(place), name, shown))
        meetings.meet(lambda: _commit(ranks, saves[0], options) if saves else None)


def _sign(place: Path, save: str) -> Path:
    """The file by which the processes of a file system find out who commits for them."""
    return place / f"{save}.tmp"


def _commit(ranks: RankSet, save: FolderSave, options: writer.Options) -> None:
    new, older = (_present(root, lambda rank: ranks.name) for root in (save.files, ranks.root))
    strategy = ranks.strategy
    if not new:  # without replicas a host may have nothing to hold
        _remove(ranks.root, older)
        return
    if strategy is None or (not older and _holds(strategy, ranks.content)):
        # That the older files are all gone first, keeps readers from a mixture.
        save.commit(max(new), heads=older, outdated=older)
        return
    head = _below(ranks.root, strategy)
    if head is not None:
        _write_strategy(save.files / head, ranks.content, options)
        save.commit(head, outdated=older)
        return
    if not _holds(strategy, ranks.content):
        strategy.unlink(missing_ok=True)
    save.commit(max(new), heads=older, outdated=older)
    if not _holds(strategy, ranks.content):
        _write_strategy(strategy, ranks.content, options)


def _write_strategy(path: AnyPath, content: bytes, options: writer.Options) -> None:
    paths.make(path.parent)  # in the stage
    how = writer.Options(durable=options.durable)
    writer.write(path, Plan([content], len(content)), how)


def _holds(path: AnyPath, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _below(root: Path, path: AnyPath) -> str | None:
    """The name of a file in a folder, or below it; None for one elsewhere."""
    if not isinstance(path, Path):
        return None
    folder = Path(os.path.realpath(path.parent))
    top = Path(os.path.realpath(root))
    return (folder / path.name).relative_to(top).as_posix() if folder.is_relative_to(top) else None


def _present(root: AnyPath, name: Callable[[str], str]) -> set[str]:
    """The files of ranks below ``root``; links that lead nowhere are among them."""
    names = (f"{f.name}/{name(f.name.removeprefix('rank_'))}" for f in _folders(root))
    return {file for file in names if (root / file).is_file() or os.path.lexists(root / file)}


def _folders(root: AnyPath) -> list[Any]:
    ranks = paths.below(root, "rank_")
    return [path for path in ranks if path.name.removeprefix("rank_").isdigit()]


def _remove(root: Path, names: set[str]) -> None:
    for name in names:
        (root / name).unlink()
        with contextlib.suppress(OSError):  # something else lies there
            (root / name).parent.rmdir()


def _check_inside(folder: Path) -> None:
    """Refuse a rank folder in which files cannot get their names by a rename."""
    if folder.is_symlink() or os.stat(folder).st_dev != os.stat(folder.parent).st_dev:
        raise CheckpointError(
            "this rank folder leads elsewhere, by a link or to another file system, so that its "
            "file cannot take its name together with the others: save to another folder",
            file=folder,
        )

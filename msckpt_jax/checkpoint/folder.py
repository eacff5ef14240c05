"""Replace files of a folder as one: a reader sees the old ones, all new ones, or an error.

A save into ``out`` goes through these states. What a killed save leaves is one of them.

===========  ==============================================  ================  ==================
state        on the disk                                     the next reader   the next writer
===========  ==============================================  ================  ==================
staging      the new files grow in ``.msckpt-save/files``    sees the old set  removes them
written      the same, and ``.msckpt-save/journal.json``     refuses           finishes the save
replacing    the same; old heads are gone, some new files    refuses           finishes the save
             have their names, the new head comes last
outdated     the same; the new head is there, old files go   refuses           finishes the save
done         no journal                                      sees the new set  removes the rest
===========  ==============================================  ================  ==================

The *head* is the file by which readers know the others, an index say. Before ``written`` nothing
of the old set is touched; from there on all new files are complete and durable, so that nothing is
ever undone. Heads go first and come last, so that readers who know nothing of the journal miss the
head for a moment, and never take a mixture for a whole.

A folder that does not exist yet is staged beside its place, in ``.out.msckpt-save``, and comes to
be by one rename: there is no journal.

Several *sets* of files may lie in one folder side by side, the rank files of each step of a run,
say. Each is saved by itself, in ``.msckpt-save.<name of the set>``, and whoever saves one finishes
or removes what killed saves of others have left.

A lock keeps other writers out, and tells a save under way from a killed one. It is the lock of
:mod:`~msckpt_jax.checkpoint.atomic`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from msckpt_jax.checkpoint import atomic, naming
from msckpt_jax.checkpoint import journal as journals
from msckpt_jax.checkpoint import log as logs
from msckpt_jax.checkpoint import owner as owners
from msckpt_jax.checkpoint import stage as stages
from msckpt_jax.checkpoint.journal import Journal
from msckpt_jax.checkpoint.log import Log
from msckpt_jax.errors import CheckpointError

#: The seconds for which a process waits for another one that finishes a save.
_PATIENCE = 10.0


class FolderSave:
    """A save of files into the folder ``target``, which no other process does at the time.

    In the block the new files are written below :attr:`files`, under the names that they are to
    have in the folder (also ``rank_0/net.ckpt``), complete and, with ``durable``, synced.
    :meth:`commit` gives them these names. A block that ends without removes them.

    With ``job``, a name that only the same files have, a killed save leaves what it wrote for the
    next one of the same job, which finds it below :attr:`files`, and in :meth:`log` how much of it
    is done. An error removes it.

    With ``of``, the name of a set of files in a folder that exists, other sets may be saved into
    the folder at the time.

    Attributes:
        files: the folder in which to write.

    Raises:
        BlockingIOError: another process is saving into the folder.
        CheckpointError: an interrupted save cannot be finished.
        NotADirectoryError: ``target`` is a file.

    Example:
        >>> from msckpt_jax.checkpoint.folder import FolderSave
        >>> with FolderSave("out") as save:
        ...     _ = (save.files / "index").write_text("a b")
        ...     save.commit("index")
        >>> os.listdir("out")
        ['index']
    """

    held = None  # a folder has no uploads: see StoreSave

    def __init__(
        self,
        target: str | os.PathLike[str],
        durable: bool = True,
        job: str | None = None,
        of: str | None = None,
    ):
        self.target = Path(os.path.realpath(target))
        self._durable, self._job, self._of = durable, job, of

    def __enter__(self) -> Self:
        while True:
            self._new = self._of is None and not self.target.exists()
            if not self._new and not self.target.is_dir():
                problem = "this is a file, not a folder"
                raise NotADirectoryError(errno.ENOTDIR, problem, str(self.target))
            there = stages.of(self.target, self._of)
            self._stage = stages.beside(self.target) if self._new else there
            self._fd = stages.locked(self._stage, self.target)
            if self._new != self.target.exists():
                break
            os.close(self._fd)  # another save has made the folder in the meantime
        self.files = stages.files(self._stage)
        try:
            with naming.naming(self.target):
                _settle(self.target, self._stage, self._left())
                # Until they have the modes of those that they replace, others must not read them.
                self.files.mkdir(mode=0o777 if self._new else 0o700, exist_ok=True)
                _discard(stages.beside(self.target), spared=self._stage)
                if self._of is not None:
                    _sweep(self.target, spared=self._stage)
        except BaseException as error:
            with contextlib.suppress(OSError):
                self._end(type(error))
            raise
        owners.keep_fresh(self._fd)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, *_: object
    ) -> None:
        if isinstance(error, OSError):
            naming.named(error, self.target)
            naming.moved(error, self.files, self.target)
        with naming.naming(self.target):
            self._end(kind)

    def _end(self, kind: type[BaseException] | None) -> None:
        interrupted = kind is not None and not issubclass(kind, Exception)
        kept = interrupted and self._job is not None  # for the next save of the job
        try:
            # With a journal the next writer finishes what failed.
            if not kept and not (self._stage / stages.JOURNAL).exists():
                stages.remove(self._stage)
        finally:
            owners.let_go(self._fd)
            os.close(self._fd)

    def _left(self) -> tuple[str, ...]:
        """The names in the stage that a killed save of the same job has left."""
        log, files = f"{stages.LOG}{self._job}", self._stage / stages.FILES
        whole = self._job is not None and files.is_dir() and not files.is_symlink()
        return (stages.FILES, log) if whole and atomic.is_left(self._stage / log) else ()

    @property
    def names(self) -> set[str]:
        """The names, below the folder, of the files that are to get them."""
        return {f.relative_to(self.files).as_posix() for f in _files(self.files)}

    def log(self) -> contextlib.AbstractContextManager[Log | None]:
        """The log of the job, to be opened; None without a job."""
        return logs.opened(self._stage / f"{stages.LOG}{self._job}", self._job)

    def commit(self, head: str, heads: Collection[str] = (), outdated: Iterable[str] = ()) -> None:
        """Give the files their names.

        Args:
            head: the file that comes last.
            heads: the files by which readers may know an older set; they go first.
            outdated: further old files, which go at the end unless they have been replaced.
        """
        names = sorted(self.names)
        assert head in names  # else no reader would know the others
        _sync(names, self.files, self._durable)
        if self._new:
            os.rename(self.files, self.target)
            if self._durable:
                atomic.sync_folder(self.target.parent)
            return
        for name in names:
            atomic.keep_mode(self.files / name, self.target / name)
        old = {*heads, head}
        journal = Journal(
            head,
            {name: _written(self.files / name) for name in names},
            sorted(old),
            sorted({*outdated, *old} - {*names}),
        )
        with (
            atomic.replacing(self._stage / stages.JOURNAL, durable=self._durable) as file,
            open(file.fd, "w", encoding="utf-8", closefd=False) as text,
        ):
            json.dump(journal._asdict(), text, indent=1)
        _finish(self.target, self._stage, journal, self._durable)


def recover(target: str | os.PathLike[str]) -> bool:
    """Finish or undo an interrupted save into a folder; return whether a new set took its place.

    Raises:
        BlockingIOError: the save is under way in another process.
        CheckpointError: the journal is damaged, or a file is not as it was written.
        FileNotFoundError: there is no such folder.
    """
    folder = Path(os.path.realpath(target))
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(folder))
    finished = [_recover(folder, stage) for stage in stages.all_in(folder)]
    return any(finished)


def finish(target: Path) -> None:
    """Finish the saves that were killed once their files were complete, where that can be done.

    Another process that is at it is waited for, so that several see the same files.

    Raises:
        CheckpointError: a journal is damaged, or a file is not as it was written.
    """
    folder, end = Path(os.path.realpath(target)), time.monotonic() + _PATIENCE
    while complete := [s for s in stages.all_in(folder) if (s / stages.JOURNAL).exists()]:
        try:
            _recover(folder, complete[0])
        except PermissionError:
            return  # the folder may only be read, and readers tell of the journal
        except (BlockingIOError, FileNotFoundError):
            if time.monotonic() > end:
                return
            time.sleep(0.05)


def _recover(folder: Path, stage: Path) -> bool:
    fd = stages.locked(stage, folder)
    try:
        finished = _settle(folder, stage)
        stages.remove(stage)
    finally:
        os.close(fd)
    return finished


def discard(target: Any) -> None:
    """Remove what a killed writer of a folder that is there now has left beside it."""
    if isinstance(target, Path):
        _discard(stages.beside(Path(os.path.realpath(target))))


# The stage


def _sweep(target: Path, spared: Path) -> None:
    """Finish or remove what killed saves of other sets have left; it is no reason to fail."""
    for stage in filter(stages.is_of_set, stages.all_in(target)):
        with contextlib.suppress(OSError, CheckpointError), stages.abandoned(stage) as dead:
            if dead and stage != spared:
                _settle(target, stage)
                stages.remove(stage)


def _discard(stage: Path, spared: Path | None = None) -> None:
    """Remove the stage of a writer that was killed before, or just after, its folder came to be."""
    if stage != spared and stage.is_dir() and not stage.is_symlink():
        with stages.abandoned(stage) as dead:
            if dead:
                stages.remove(stage)


def _settle(target: Path, stage: Path, left: Collection[str] = ()) -> bool:
    """Finish the save that a killed writer left in the stage, else undo it; tell which it was.

    What is ``left`` of a save without a journal stays.
    """
    journal = journals.read(stage / stages.JOURNAL, target, stages.FILES)
    if journal is not None:
        _finish(target, stage, journal, durable=True)
    stages.clear(stage, () if journal is not None else left)
    return journal is not None


# The journal


def _written(path: Path) -> list[int]:
    """The size and the time of a file; it is opened, since then other hosts' writes are seen."""
    with open(path, "rb") as file:
        stat = os.fstat(file.fileno())
    return [stat.st_size, stat.st_mtime_ns]


def _finish(target: Path, stage: Path, journal: Journal, durable: bool) -> None:
    """Do what is left of a save whose files are complete, whatever has been done of it.

    Raises:
        CheckpointError: a file is neither here nor there; nothing more is done.
    """
    files = stage / stages.FILES
    waiting = [name for name in journal.files if (files / name).exists()]
    for name, written in journal.files.items():
        _check_written((files if name in waiting else target) / name, written)
    if journal.head in waiting:  # else it has its name, and the others have theirs
        # An old head may be an ordinary file of the new set, which has its name already.
        gone = [name for name in journal.heads if name in waiting or name not in journal.files]
        _remove_all(target, gone, durable)
        _move([name for name in waiting if name != journal.head], files, target, durable)
        _move([journal.head], files, target, durable)
    _remove_all(target, journal.outdated, durable)
    for emptied in {(target / name).parent for name in journal.outdated} - {target}:
        with contextlib.suppress(OSError):  # something else lies there
            emptied.rmdir()
    (stage / stages.JOURNAL).unlink()
    if durable:
        atomic.sync_folder(stage)


def _check_written(path: Path, written: list[int]) -> None:
    try:
        same = _written(path) == written
    except OSError:
        same = False
    if not same:
        raise CheckpointError(
            "this is not the file that an interrupted save wrote, which hence cannot be finished: "
            "put it back, or save to another folder",
            file=path,
        )


def _move(names: list[str], files: Path, target: Path, durable: bool) -> None:
    for name in names:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(files / name, path)
    _sync(names, target, durable)


def _remove_all(target: Path, names: Iterable[str], durable: bool) -> None:
    for name in names:
        (target / name).unlink(missing_ok=True)
    _sync(names, target, durable)


def _sync(names: Iterable[str], target: Path, durable: bool) -> None:
    """Make the names durable, those of new sub-folders too."""
    folders = {target, *(above for n in names for above in (target / n).parents)}
    for folder in folders if durable else ():
        if folder.is_relative_to(target) and folder.is_dir():
            atomic.sync_folder(folder)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_dir())

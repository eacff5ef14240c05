"""A set of files in a folder of an object store, which replaces the set that is there.

=========  ===============================================  ===============  ======================
state      in the store                                     the next reader  the next writer
=========  ===============================================  ===============  ======================
uploading  the old set; the bytes of the new files go up,   sees the old     begins anew; a rule of
           and are no objects yet                           set              the bucket removes them
replacing  ``.msckpt-save/journal.json``; the old heads     refuses          begins anew
           are gone, the new files become objects one
           after the other, the head last
outdated   the same; the new head is there, old files go    refuses          begins anew
done       no journal                                       sees the new     begins anew
                                                            set
=========  ===============================================  ===============  ======================

The head and the journal are those of :mod:`~msckpt_jax.checkpoint.folder`. There is nothing to
finish for another process, as there is in a folder: the uploads end with theirs. But replacing
takes a request for each file, where uploading takes as long as the bytes do. Nothing is copied.

There are no locks in a store: let one run at a time save into a folder.
"""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from msckpt_jax.checkpoint import folder, paths
from msckpt_jax.checkpoint import stage as stages
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.stores.uploads import Held
from msckpt_jax.errors import CheckpointError

#: The requests that are under way at a time.
_REQUESTS = 16


class StoreSave:
    """A save of files into the folder ``target`` of a store, as :class:`FolderSave` is one.

    With ``of``, the name of a set of files, others may be saved into the folder at the time.

    Attributes:
        files: the folder in which to write: ``target`` itself.
        held: the uploads that are complete but for the last step; see ``writer.Options``.
    """

    def __init__(self, target: AnyPath, of: str | None = None):
        self.target = target
        self.files: Any = target
        self.held: list[Held] = []
        self._journal = stages.of(target, of) / stages.JOURNAL

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _discard(self.held)

    def log(self) -> contextlib.AbstractContextManager[None]:
        """No log: a save that was killed is begun anew."""
        return contextlib.nullcontext()

    @property
    def names(self) -> set[str]:
        """The names, below the folder, of the files that are to get them."""
        return {str(upload.path).removeprefix(f"{self.target}/") for upload in self.held}

    def commit(self, head: str, heads: Collection[str] = (), outdated: Iterable[str] = ()) -> None:
        """Give the files their names; the arguments are those of :class:`FolderSave`."""
        names = self.names
        assert head in names  # else no reader would know the others
        self.begin({*heads, head})
        last = [upload for upload in self.held if upload.path == self.target / head]
        complete(self.held, spared=last)
        complete(self.held)
        self.end({*outdated, *heads} - names)

    def begin(self, gone: Iterable[str]) -> None:
        """Say in the journal that files are being replaced, and remove the first of them."""
        self._journal.write_bytes(json.dumps({"files": sorted(self.names)}).encode())
        self._remove(gone)

    def end(self, outdated: Iterable[str] = ()) -> None:
        """Remove files that were not replaced, and the journal."""
        self._remove(outdated)
        self._journal.unlink()

    def _remove(self, names: Iterable[str]) -> None:
        with ThreadPoolExecutor(_REQUESTS, "msckpt") as pool:
            list(pool.map(lambda name: (self.target / name).unlink(missing_ok=True), names))


@contextlib.contextmanager
def together() -> Iterator[list[Held]]:
    """Yield the list for uploads, which become objects when the block ends well, else are gone."""
    held: list[Held] = []
    try:
        yield held
        complete(held)
    finally:
        _discard(held)


def complete(held: list[Held], spared: Collection[Held] = ()) -> None:
    """Let uploads become objects, and take them off the list."""
    kept = {id(upload) for upload in spared}
    with ThreadPoolExecutor(_REQUESTS, "msckpt") as pool:
        list(pool.map(lambda upload: upload.commit(), (u for u in held if id(u) not in kept)))
    held[:] = spared


def _discard(held: list[Held]) -> None:
    """Forget the uploads that have not become objects."""
    while held:
        held.pop().discard()


def recover(target: AnyPath) -> bool:
    """Finish or undo an interrupted save into a local folder; of one in a store tell the state.

    Returns:
        Whether a new set took its place.

    Raises:
        CheckpointError: there is nothing to finish in a store, but files of two saves: save anew.
        FileNotFoundError: there is no such folder.
        OSError: as :func:`~msckpt_jax.checkpoint.folder.recover`.
    """
    if paths.is_local(target):
        return folder.recover(target)
    if not target.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(target))
    if any((stage / stages.JOURNAL).is_file() for stage in stages.all_in(target)):
        problem = "an interrupted save cannot be finished in a store: save anew, which replaces it"
        raise CheckpointError(problem, file=target)
    return False


def of(target: AnyPath, durable: bool = True, of: str | None = None) -> Any:
    """The save of files, or of a set ``of`` files, into a folder, local or in a store."""
    if paths.is_local(target):
        return folder.FolderSave(target, durable, of=of)
    return StoreSave(target, of)

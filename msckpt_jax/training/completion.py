"""The end of a save: its files are protected, and older files are deleted."""

from __future__ import annotations

import contextlib
import stat
import threading
from pathlib import Path

from msckpt_jax.api.background import AsyncSave
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.training.config import CheckpointConfig
from msckpt_jax.training.retention import Retention, Saved
from msckpt_jax.visible import log


class Completion:
    """The save under way, if there is one, and the complete saves.

    Attributes:
        latest: the newest complete file, or None.
    """

    def __init__(self, config: CheckpointConfig):
        self.latest: str | None = None
        self._retention = Retention(config)
        self._pending: tuple[Saved, AsyncSave] | None = None
        self._deleting: threading.Thread | None = None

    @property
    def best(self) -> str | None:
        best = self._retention.best
        return None if best is None else str(best.files[0])

    @property
    def under_way(self) -> str | None:
        return None if self._pending is None else str(self._pending[0].files[0])

    def earlier(self, saved: list[Saved]) -> None:
        """Let files of earlier runs be deleted, too."""
        self._retention.earlier(saved)

    def begin(self, total: int) -> None:
        """Begin a run after so many steps of the training."""
        self._retention.begin(total)

    def begun(self, saved: Saved, handle: AsyncSave | None) -> None:
        """Take note of a save; without ``handle`` it is complete."""
        if handle is not None:
            self._pending = saved, handle
        else:
            self.protect(saved.files)
            _delete(self._retention.add(saved))

    def settle(self) -> None:
        """Wait for the save under way, then delete older files while training goes on.

        Raises:
            AsyncSaveError: the save failed, and nobody has been told; else the save's own error.
        """
        if self._pending is None:
            return
        saved, handle = self._pending
        handle.wait()
        self._pending = None  # not before: an interrupted wait must not forget it
        handle.settle()
        handle.result()  # an error counts even if somebody has been told of it
        self.protect(saved.files)
        self._join()
        old = self._retention.add(saved)
        if old:  # a large file takes longer to delete than to hand over
            self._deleting = threading.Thread(target=_delete, args=(old,), name="msckpt delete")
            self._deleting.start()

    def finish(self) -> None:
        """Wait as :meth:`settle` does, and until all deletions are done."""
        try:
            self.settle()
        finally:
            self._join()

    def protect(self, files: tuple[AnyPath, ...]) -> None:
        """Let only the owner read a complete CheckPoint, and nobody write it, as MindSpore does."""
        for path in files:
            if isinstance(path, Path):
                with contextlib.suppress(FileNotFoundError):  # process 0 wrote it elsewhere
                    path.chmod(stat.S_IRUSR)
        self.latest = str(files[0])

    def _join(self) -> None:
        if self._deleting is not None:
            self._deleting.join()
            self._deleting = None


def _delete(old: list[Saved]) -> None:
    """Delete old CheckPoints; a file that cannot be deleted is no reason to end a run."""
    for path in (path for saved in old for path in saved.files):
        try:
            if isinstance(path, Path):
                path.chmod(stat.S_IRUSR | stat.S_IWUSR)  # Windows removes no read-only files
            path.unlink()
        except FileNotFoundError:
            pass  # another process was quicker
        except OSError as error:
            log.warning("%s could not be deleted: %s", path, error)

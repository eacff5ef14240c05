"""Asynchronous saves: one at a time, in order, with errors that reach the caller."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import pickle
import subprocess
import threading
from collections.abc import Callable, Generator
from typing import Any

from msckpt_jax import processes
from msckpt_jax.api import exit_status
from msckpt_jax.api.jobs import Job, target_of
from msckpt_jax.checkpoint import snapshot
from msckpt_jax.checkpoint.records import File
from msckpt_jax.errors import AsyncSaveError, CheckpointError
from msckpt_jax.progress import Meter
from msckpt_jax.visible import visible

_lock = threading.Lock()
_pending: list[AsyncSave] = []


class AsyncSave:
    """A save under way; ``result()`` raises its error, else the next save does, else the exit.

    Example:
        >>> save = ms.save_checkpoint({"w": np.ones(3)}, "model.ckpt", async_save=True)
        >>> save.result()
        >>> save.done()
        True
    """

    def __init__(self, work: Callable[[], None], target: str):
        self.target = target
        self._future: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._work = work
        self._delivered = False
        # No daemon: the interpreter waits for it, so that the last save of a program is complete.
        threading.Thread(target=self._run, name=f"msckpt save {target}").start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._future.set_exception(error)
        else:
            self._future.set_result(None)
        finally:
            del self._work  # it holds the snapshot

    def done(self) -> bool:
        """Tell whether the file is complete or the save has failed."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> None:
        """Wait until the file is complete; raise the save's own error if it failed.

        Raises:
            TimeoutError: the save is not done after ``timeout`` seconds.
        """
        error = self._future.exception(timeout)
        self._delivered = True
        if error is not None:
            raise error

    def __await__(self) -> Generator[Any, None, None]:
        """Wait like ``result()``, while other tasks of the event loop run: ``await save``."""
        return asyncio.to_thread(self.result).__await__()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the save is done, well or not, or ``timeout`` seconds are over."""
        concurrent.futures.wait([self._future], timeout)

    def settle(self) -> None:
        """Wait; raise an error that no one has seen yet."""
        error = self._future.exception()
        if error is not None and not self._delivered:
            self._delivered = True
            raise AsyncSaveError(f"the asynchronous save failed: {error}", file=self.target) from (
                error
            )

    @property
    def has_failed(self) -> bool:
        """Tell whether the save is done and has failed, and no one has seen its error."""
        return self.done() and self._future.exception() is not None and not self._delivered

    def __repr__(self) -> str:
        state = "running" if not self.done() else "failed" if self._future.exception() else "done"
        return visible(f"<AsyncSave {self.target} {state}>")


def settle() -> None:
    """Wait for the save under way, so that saves are ordered and one snapshot is held at most.

    Raises:
        AsyncSaveError: the save failed, and no one has seen the error.
    """
    errors: list[AsyncSaveError] = []
    for save in _pending.copy():
        save.wait()
        with _lock:  # not before: an interrupted wait must not forget it
            if save in _pending:
                _pending.remove(save)
        try:
            save.settle()
        except AsyncSaveError as error:
            errors.append(error)
    for error in errors[1:]:
        errors[0].add_note(str(error))
    if errors:
        raise errors[0]


def in_thread(work: Callable[[], None], target: str) -> AsyncSave:
    return _started(AsyncSave(work, target))


def in_process(files: list[File], job: Job, meter: Meter) -> AsyncSave:
    """Save in a new Python process that gets the arrays through shared memory.

    A fork would be quicker to start and may deadlock: JAX runs threads. The process has all that it
    needs when this function returns, and a session of its own: it completes the save even if Ctrl-C
    comes, or this process is killed, or all of its group, as when a notebook's kernel is restarted.
    """
    shared = snapshot.share(files)
    try:
        child = _child(shared, job)
    finally:
        os.close(shared.fd)
    shown = meter()

    def work() -> None:
        with shown as advance:
            _check(child)
            if advance is not None:
                advance(shared.nbytes)

    return _started(AsyncSave(work, str(target_of(files, job))))


def _started(save: AsyncSave) -> AsyncSave:
    with _lock:
        _pending.append(save)
    return save


def _child(shared: snapshot.Shared, job: Job) -> subprocess.Popen[bytes]:
    task = snapshot.anonymous_file(pickle.dumps((shared, job)))
    try:
        return subprocess.Popen(
            processes.module("msckpt_jax.api.child"),
            stdin=task,  # no pipe, from which it could not read on when this process is gone
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(shared.fd,),
            env=processes.environment(),
            start_new_session=True,
        )
    finally:
        os.close(task)


def _check(child: subprocess.Popen[bytes]) -> None:
    _, errors = child.communicate()
    if child.returncode:
        text = errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise CheckpointError(f"the saving process ended with status {child.returncode}: {text}")


def wait(timeout: float | None = None) -> None:
    """Wait until all saves under way are done, each for ``timeout`` seconds at most."""
    for save in _pending.copy():
        save.wait(timeout)


# Once the interpreter shuts down, no executor takes work any more, and atexit comes later still:
# saves under way have to end before. Only this hook, which executors use, too, is in time.
threading._register_atexit(wait)  # type: ignore[attr-defined]
atexit.register(settle)


@atexit.register  # before the function above, whose error ends nothing
def _set_exit_status() -> None:
    if any(save.has_failed for save in _pending):
        exit_status.fail()

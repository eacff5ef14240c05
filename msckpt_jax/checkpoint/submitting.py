"""Work for a pool of threads, also at the end of the program: Python starts no thread then."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

_R = TypeVar("_R")


def submit(pool: Executor, work: Callable[..., _R], *args: Any) -> Future[_R]:
    """The future of ``work(*args)``, by a thread of the pool, or by this one if none starts.

    From Python 3.12 on none starts once the main thread has ended, while saves that it began go on.
    """
    future: Future[_R] = Future()
    waiting = [args]

    def run() -> None:
        try:
            given = waiting.pop()  # once: a pool keeps what it could not start a thread for
        except IndexError:
            return
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = work(*given)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    try:
        pool.submit(run)
    except RuntimeError:
        run()
    return future

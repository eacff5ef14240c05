"""Work by several threads, also at the end of the program: Python starts no thread then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


def in_threads(work: Callable[[_T], _R], items: Iterable[_T], threads: int) -> Iterator[_R]:
    """Yield ``map(work, items)`` in order, by several threads with few items in flight."""
    if threads == 1:
        yield from map(work, items)
        return
    pending: list = []
    with ThreadPoolExecutor(threads, "msckpt") as pool:
        try:
            for item in items:
                pending.append(submit(pool, work, item))
                if len(pending) > 2 * threads:
                    yield pending.pop(0).result()
            while pending:
                yield pending.pop(0).result()
        except BaseException:
            for future in pending:
                future.cancel()
            raise


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

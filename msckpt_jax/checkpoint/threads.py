"""Work by several threads, of which the results come in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

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
                pending.append(pool.submit(work, item))
                if len(pending) > 2 * threads:
                    yield pending.pop(0).result()
            while pending:
                yield pending.pop(0).result()
        except BaseException:
            for future in pending:
                future.cancel()
            raise

"""Write objects. An older one stays until all bytes of the new one are in the store."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from msckpt_jax.checkpoint import crc
from msckpt_jax.checkpoint.plan import Plan
from msckpt_jax.checkpoint.stores import parts
from msckpt_jax.checkpoint.stores.parts import Stretch
from msckpt_jax.checkpoint.stores.path import StorePath
from msckpt_jax.checkpoint.stores.store import Upload
from msckpt_jax.checkpoint.threads import in_threads, submit

#: The threads that upload, unless the caller wants one, or more: they wait for the store. Those of
#: all processes of a machine are so many to a core.
THREADS, PER_CORE = 8, 2
#: The parts in a stream after which they become larger, as their number is limited.
_ALIKE = 1_000


class Held(NamedTuple):
    """An upload whose bytes are all in the store; the object appears when it is committed."""

    path: StorePath
    commit: Callable[[], None]
    discard: Callable[[], None]


def finish(
    path: StorePath,
    commit: Callable[[], None],
    discard: Callable[[], None],
    held: list[Held] | None,
) -> None:
    """Commit an upload, or leave that to who asked for it by ``held``."""
    if held is None:
        commit()
    else:
        held.append(Held(path, commit, discard))


def uploaders(threads: int, neighbours: int = 1) -> int:
    """The number of threads that upload where so many would write a file.

    ``neighbours`` is the number of processes of this machine that upload at the same time.
    """
    if threads == 1 or threads > THREADS:
        return threads
    return min(THREADS, max(1, PER_CORE * (os.cpu_count() or 1) // neighbours))


def write(
    path: StorePath,
    plan: Plan,
    content: Callable[[Stretch], bytearray],
    threads: int,
    held: list[Held] | None,
) -> None:
    """Write the object of a plan to a store that takes parts, several at a time.

    An error, or an interrupt, leaves no part behind.
    """
    stretches = parts.stretches(plan)
    if len(stretches) == 1:
        whole = with_trailer(content(stretches[0]), plan)
        if held is None:
            path.store.put(path.key, whole)
            return
        content, plan = (lambda _: whole), plan._replace(trailer=None)
    with aborted_on_error(path.store.upload(path.key)) as upload:
        work = in_threads(
            lambda numbered: _sent(upload, *numbered, content, plan.trailer is not None),
            enumerate(stretches, 1),
            uploaders(threads),
        )
        sent = list(work)
        tags = [tag for tag, _ in sent]
        if plan.trailer is not None:
            trailer = plan.trailer(crc.join(sums for _, sums in sent))
            tags.append(upload.put(len(tags) + 1, trailer))
        finish(path, lambda: upload.complete(tags), upload.abort, held)


def _sent(
    upload: Upload,
    number: int,
    stretch: Stretch,
    content: Callable[[Stretch], bytearray],
    summed: bool,
) -> tuple[str, tuple[int, int]]:
    """Send a part; return its tag, its check sum and its size."""
    data = content(stretch)
    return upload.put(number, data), (crc.of_buffers([data]) if summed else 0, len(data))


def with_trailer(data: bytearray, plan: Plan) -> bytearray:
    """The bytes of a plan and its trailer, in a part that is too small to be followed by one."""
    return data + plan.trailer(crc.of_buffers([data])) if plan.trailer else data


@contextlib.contextmanager
def aborted_on_error(upload: Upload) -> Iterator[Upload]:
    """Yield an upload that is given up if the block fails."""
    try:
        yield upload
    except BaseException:
        upload.abort()
        raise


@contextlib.contextmanager
def stream(
    path: StorePath, threads: int, held: list[Held] | None
) -> Iterator[Callable[[Any], Any]]:
    """Yield the function that writes the next bytes of an object; an error leaves nothing."""
    store = path.store
    if store.takes_parts:
        out: Any = PartStream(store.upload(path.key), uploaders(threads))
    else:
        out = store.stream(path.key)
    try:
        yield out.write
        if held is not None:
            out.flush()
        finish(path, out.commit, out.discard, held)
    except BaseException:
        out.discard()
        raise


class PartStream:
    """Bytes in order that are sent in parts, several at a time."""

    def __init__(self, upload: Upload, threads: int):
        self._upload, self._threads = upload, threads
        self._pool = ThreadPoolExecutor(threads, "msckpt upload")
        self._part = bytearray()
        self._on_the_way: deque[Future[str]] = deque()
        self._tags: list[str] = []

    def write(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        while view:
            sent = len(self._tags) + len(self._on_the_way)
            room = parts.PART_BYTES * (1 + sent // _ALIKE) - len(self._part)
            self._part += view[:room]
            if len(view) >= room:
                self._send()
            view = view[room:]

    def flush(self) -> None:
        """Send what is left, and wait until all parts are in the store."""
        if self._part or not (self._tags or self._on_the_way):
            self._send()
        while self._on_the_way:
            self._tags.append(self._on_the_way.popleft().result())
        self._pool.shutdown()

    def commit(self) -> None:
        self.flush()
        self._upload.complete(self._tags)

    def discard(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._upload.abort()

    def _send(self) -> None:
        number = len(self._tags) + len(self._on_the_way) + 1
        part, self._part = self._part, bytearray()
        self._on_the_way.append(submit(self._pool, self._upload.put, number, part))
        if len(self._on_the_way) >= self._threads:
            self._tags.append(self._on_the_way.popleft().result())

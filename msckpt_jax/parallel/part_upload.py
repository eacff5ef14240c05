"""One object from many processes: each uploads the parts that are dealt to it.

Process 0 begins the upload, and all others learn its id. What a process lacks of its parts is sent
to it, window by window; a part goes to the store as soon as it is whole, so that memory holds few
of them. Process 0 makes the object of the parts when all processes have reported theirs. Until then
nobody sees it, and if a process fails, the parts are forgotten.
"""

from __future__ import annotations

import bisect
import functools
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

from msckpt_jax.checkpoint import crc, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.plan import Plan, Range
from msckpt_jax.checkpoint.records import Record
from msckpt_jax.checkpoint.stores import parts, uploads
from msckpt_jax.checkpoint.stores.parts import Stretch
from msckpt_jax.checkpoint.stores.path import StorePath
from msckpt_jax.checkpoint.stores.store import Upload
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import part_dealing, pieces
from msckpt_jax.parallel.exchange import Elsewhere, exchange, tried
from msckpt_jax.parallel.meeting import Meetings
from msckpt_jax.parallel.part_dealing import Dealt
from msckpt_jax.parallel.pieces import Piece, Places

#: A part in the store: its number from 0 on, its tag, check sum and size.
Sent: TypeAlias = tuple[int, str, int, int]


def write(
    target: StorePath,
    plan: Plan,
    records: Sequence[Record],
    options: writer.Options,
    may_gather: bool,
) -> None:
    """Write ``plan``, the same on every process, to one object; as :func:`hosts.write`."""
    meetings = Meetings(target, options.timeout)
    store, stretches = target.store, parts.stretches(plan)

    def begin() -> str:
        return store.upload(target.key).id if meetings.me == 0 else ""

    id = meetings.meet(begin, planning.digest([plan])).first
    with uploads.aborted_on_error(store.resumed(target.key, id)) as upload:
        only = 0 if len(stretches) == 1 else None
        dealt = part_dealing.dealt(stretches, records, meetings.me, meetings.processes, only)
        verdict = meetings.meet(
            lambda: upload_parts(upload, plan, stretches, dealt, options, meetings, may_gather)
        )

        def complete() -> None:
            if meetings.me == 0:
                sent = sorted(tuple(part) for answer in verdict.answers for part in answer)
                upload.complete(_tags(upload, plan, sent))

        meetings.meet(complete)


def _tags(upload: Upload, plan: Plan, sent: Sequence[Sent]) -> list[str]:
    """The tags of all parts, after the check sum has been sent as one more."""
    tags = [tag for _, tag, _, _ in sent]
    if plan.trailer is not None and len(sent) > 1:
        trailer = plan.trailer(crc.join((value, size) for _, _, value, size in sent))
        tags.append(upload.put(len(tags) + 1, trailer))
    return tags


def upload_parts(
    upload: Upload,
    plan: Plan,
    stretches: Sequence[Stretch],
    dealt: Dealt,
    options: writer.Options,
    meetings: Meetings,
    may_gather: bool,
) -> list[Sent]:
    """Upload the parts of this process; return them, in no order.

    Raises:
        CheckpointError: parts have to be sent, and may not.
    """
    if dealt.together and not may_gather:
        raise CheckpointError(
            "the shards of several processes lie in one part of the object, so that they have to "
            "be sent, which cannot be done while training goes on; save without async_save",
            file=meetings.target,
        )
    try:
        with ThreadPoolExecutor(uploads.uploaders(options.threads), "msckpt upload") as pool:
            sender = _Sender(upload, plan, len(stretches), options, meetings, pool)
            sink = PartSink(stretches, dealt.of(meetings.me, together=True), plan, sender.send)
            failure: Exception | None = None
            for party in dealt.parties:
                failure = exchange(party, {0: sink}, meetings, _nothing, failure)
            if failure is None:
                failure = tried(lambda: sender.send_own(stretches, dealt))
            sent, failure = sender.ended(failure)
    except BaseException:
        meetings.fail()
        raise
    if failure is not None and not isinstance(failure, Elsewhere):
        raise failure
    return sent


def _nothing(nbytes: int) -> None:
    """Report nothing: what counts is what is in the store."""


class _Sender:
    """Parts on their way to the store, as many at a time as there are threads."""

    def __init__(
        self,
        upload: Upload,
        plan: Plan,
        count: int,
        options: writer.Options,
        meetings: Meetings,
        pool: ThreadPoolExecutor,
    ):
        self._upload, self._plan, self._count = upload, plan, count
        self._options, self._meetings, self._pool = options, meetings, pool
        self._local = threading.local()
        self._on_the_way: deque[Future[Sent]] = deque()
        self._sent: list[Sent] = []

    def send(self, number: int, data: bytearray) -> None:
        """Send a part that is whole; wait first if too many are on their way."""
        self._submit(functools.partial(self._put, number, lambda: data))

    def send_own(self, stretches: Sequence[Stretch], dealt: Dealt) -> None:
        """Send the parts that this process has alone."""
        for number in dealt.of(self._meetings.me, together=False):
            self._submit(functools.partial(self._put, number, lambda s=stretches[number]:
                         parts.content(s, writer.staging(self._local))))  # fmt: skip

    def ended(self, failure: Exception | None) -> tuple[list[Sent], Exception | None]:
        """All parts that were sent, once none is on its way, and the first failure."""
        while self._on_the_way:
            failure = tried(self._settle_one) if failure is None else self._cancelled(failure)
        return self._sent, failure

    def _submit(self, work: Callable[[], Sent]) -> None:
        while len(self._on_the_way) >= uploads.uploaders(self._options.threads):
            self._settle_one()
        self._on_the_way.append(self._pool.submit(work))

    def _settle_one(self) -> None:
        future = self._on_the_way.popleft()
        while True:
            try:
                self._sent.append(future.result(timeout=1.0))
                break
            except TimeoutError:
                if future.done():
                    raise
                self._meetings.alive()
        self._meetings.alive()

    def _cancelled(self, failure: Exception) -> Exception:
        self._on_the_way.popleft().cancel()
        return failure

    def _put(self, number: int, content: Callable[[], bytearray]) -> Sent:
        data = content()
        size = len(data)
        if self._count == 1:
            data = uploads.with_trailer(data, self._plan)
        value = crc.of_buffers([data]) if self._plan.trailer is not None else 0
        tag = self._upload.put(number + 1, data)
        if self._options.progress is not None:
            self._options.progress(size)
        return number, tag, value, size


class PartSink:
    """Parts in memory that are filled piece by piece, and sent when they are whole."""

    def __init__(
        self,
        stretches: Sequence[Stretch],
        numbers: Sequence[int],
        plan: Plan,
        send: Callable[[int, bytearray], None],
    ):
        self._stretches, self._numbers, self._send = stretches, numbers, send
        self._offsets = [stretches[number].offset for number in numbers]
        self._places: Places = pieces.places(plan)
        self._open: dict[int, bytearray] = {}
        self._missing: dict[int, int] = {}

    def put(self, piece: Piece, data: memoryview) -> None:
        """Put the bytes of a piece, which lie in one part."""
        for run, offset in pieces.placed(piece, data, self._places):
            number = self._numbers[bisect.bisect_right(self._offsets, offset) - 1]
            if number not in self._open:
                self._begin(number)
            at = offset - self._stretches[number].offset
            memoryview(self._open[number])[at : at + len(run)] = run
            self._missing[number] -= len(run)
            if not self._missing[number]:
                del self._missing[number]
                self._send(number, self._open.pop(number))

    def _begin(self, number: int) -> None:
        """Make a part, with the headers that lie in it."""
        stretch = self._stretches[number]
        data = self._open[number] = bytearray(stretch.nbytes)
        at = missing = 0
        for part in stretch.parts:
            size = planning.size_of(part)
            if isinstance(part, Range):
                missing += size
            else:
                data[at : at + size] = planning.as_bytes(part)
            at += size
        self._missing[number] = missing

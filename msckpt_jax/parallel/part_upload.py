"""One object from many processes: each uploads the parts that are dealt to it.

Process 0 begins the upload, and all others learn its id. What a process lacks of its parts is sent
to it, window by window; a part goes to the store as soon as it is whole, so that memory holds few
of them. Process 0 makes the object of the parts when all processes have reported theirs. Until then
nobody sees it, and if a process fails, the parts are forgotten.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeAlias

from msckpt_jax.checkpoint import crc, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.plan import Plan, Range
from msckpt_jax.checkpoint.records import Record
from msckpt_jax.checkpoint.store_folder import StoreSave
from msckpt_jax.checkpoint.stores import parts, uploads
from msckpt_jax.checkpoint.stores.path import StorePath
from msckpt_jax.checkpoint.stores.store import Upload
from msckpt_jax.checkpoint.stores.uploads import Held
from msckpt_jax.checkpoint.threads import submit
from msckpt_jax.parallel import dealing, part_dealing, pieces
from msckpt_jax.parallel.dealing import Output
from msckpt_jax.parallel.exchange import Elsewhere, exchange, tried
from msckpt_jax.parallel.meeting import Meetings
from msckpt_jax.parallel.part_dealing import Dealt, Object
from msckpt_jax.parallel.pieces import Piece, Places
from msckpt_jax.visible import visible

#: A part in the store: its number from 0 on, its tag, check sum and size.
Sent: TypeAlias = tuple[int, str, int, int]


def write(
    target: StorePath,
    plan: Plan,
    records: Sequence[Record],
    options: writer.Options,
) -> None:
    """Write ``plan``, the same on every process, to one object; as :func:`hosts.write`."""
    meetings = Meetings(target, options.timeout)
    store, stretches = target.store, part_dealing.stretches(plan, records)

    def begin() -> str:
        return store.upload(target.key).id if meetings.me == 0 else ""

    begun = meetings.meet(begin, planning.digest([plan]))
    with uploads.aborted_on_error(store.resumed(target.key, begun.first)) as upload:
        each = Object(target, plan, stretches, records, 0 if len(stretches) == 1 else None)
        team = _Team(options, meetings, begun.neighbours)

        def work() -> list[Sent]:
            sent = team.upload([each], lambda: {0: upload})
            team.check()
            return sent[0]

        verdict = meetings.meet(work)

        def complete() -> None:
            if meetings.me == 0:
                sent = (tuple(part) for answer in verdict.answers for part in answer)
                upload.complete(_tags(upload, plan, sent))

        meetings.meet(complete)


def write_folder(
    save: StoreSave,
    target: StorePath,
    files: Mapping[str, tuple[Plan, Sequence[Record]]],
    commit: Callable[[], None],
    options: writer.Options,
) -> None:
    """Write the objects of a folder, each by one process; as :func:`hosts.write_folder`.

    Process 0 gets all uploads in ``save.held`` before it calls ``commit``.

    Raises:
        ValueError: the store takes no parts.
    """
    if not target.store.takes_parts:
        raise ValueError(
            visible(
                f"{target}: many processes save a folder to s3://, gs://, az:// or a local file "
                "system only"
            )
        )
    meetings = Meetings(target, options.timeout)
    begun = meetings.meet(lambda: None, planning.digest(plan for plan, _ in files.values()))
    outputs = [Output(target / name, *content) for name, content in files.items()]
    dealt = dealing.writers(outputs, meetings.processes)
    outputs = [o._replace(writer=w) for o, w in zip(outputs, dealt, strict=True)]
    waves = dealing.waves(outputs) if options.may_gather else [outputs]
    with save, contextlib.ExitStack() as stack:

        def begin(path: StorePath) -> Upload:
            return stack.enter_context(uploads.aborted_on_error(path.store.upload(path.key)))

        def work() -> list[tuple[str, str, list[str]]]:
            out: list[tuple[str, str, list[str]]] = []
            team = _Team(options, meetings, begun.neighbours)
            for objects in ([_object(output) for output in wave] for wave in waves):
                opened: dict[int, Upload] = {}

                def begin_mine(objects: Any = objects, opened: Any = opened) -> dict[int, Upload]:
                    mine = (n for n, each in enumerate(objects) if each.uploader == meetings.me)
                    opened.update((number, begin(objects[number].path)) for number in mine)
                    return opened

                sent = team.upload(objects, begin_mine)
                for number, upload in opened.items() if team.failure is None else ():
                    tags = _tags(upload, objects[number].plan, sent[number])
                    out.append((objects[number].path.key, upload.id, tags))
            team.check()
            return out

        verdict = meetings.meet(work)

        def publish() -> None:
            if meetings.me == 0:
                save.held.extend(_held(target, *t) for answer in verdict.answers for t in answer)
                commit()

        meetings.meet(publish)


def _object(output: Output) -> Object:
    path, plan, records, uploader = output
    return Object(path, plan, parts.stretches(plan), records, uploader)


def _held(target: StorePath, key: str, id: str, tags: Sequence[str]) -> Held:
    """The upload of another process, to be committed by this one."""
    upload = target.store.resumed(key, id)
    path = StorePath(f"{target.scheme}://{key}")
    return Held(path, lambda: upload.complete(tags), upload.abort)


def _tags(upload: Upload, plan: Plan, sent: Iterable[Sent]) -> list[str]:
    """The tags of all parts, after the check sum has been sent as one more."""
    every = sorted(sent)
    tags = [tag for _, tag, _, _ in every]
    if plan.trailer is not None and len(every) > 1:
        trailer = plan.trailer(crc.join((value, size) for _, _, value, size in every))
        tags.append(upload.put(len(tags) + 1, trailer))
    return tags


class _Team:
    """The processes that upload objects together. A failure is told to those that wait for parts.

    Attributes:
        failure: the error that this process knows of; it uploads nothing more.
    """

    def __init__(self, options: writer.Options, meetings: Meetings, neighbours: int):
        self._options, self._meetings = options, meetings
        self._threads = uploads.uploaders(options.threads, neighbours)
        self.failure: Exception | None = None

    def check(self) -> None:
        """Raise the error of this process; that of another one is told by the meeting."""
        if self.failure is not None and not isinstance(self.failure, Elsewhere):
            raise self.failure

    def upload(
        self, objects: Sequence[Object], begin: Callable[[], Mapping[int, Upload]]
    ) -> dict[int, list[Sent]]:
        """Upload the parts of this process; return them by the numbers of objects, in no order.

        ``begin`` gives the uploads of the objects that this process has parts of.

        Raises:
            CheckpointError: a process is gone.
        """
        me = self._meetings.me
        dealt, parties = part_dealing.dealt(objects, self._meetings.processes)
        begun: dict[int, Upload] = {}
        try:
            with ThreadPoolExecutor(self._threads, "msckpt upload") as pool:
                if self.failure is None:
                    self.failure = tried(lambda: begun.update(begin()))
                sender = _Sender(begun, objects, self._options, self._meetings, pool, self._threads)
                sinks = {
                    number: PartSink(number, objects[number], each.of(me, True), sender.send)
                    for number, each in enumerate(dealt)
                }
                for party in parties:
                    if me in party.members:
                        self.failure = exchange(
                            party, sinks, self._meetings, _nothing, self.failure
                        )
                sender.exchanged()
                if self.failure is None:
                    self.failure = tried(lambda: sender.send_own(dealt))
                self.failure = sender.ended(self.failure)
        except BaseException:
            self._meetings.fail()
            raise
        return sender.sent


def _nothing(nbytes: int) -> None:
    """Report nothing: what counts is what is in the store."""


class _Sender:
    """Parts on their way to the store, as many at a time as there are threads."""

    def __init__(
        self,
        begun: Mapping[int, Upload],
        objects: Sequence[Object],
        options: writer.Options,
        meetings: Meetings,
        pool: ThreadPoolExecutor,
        most: int,
    ):
        self._begun, self._objects = begun, objects
        self._options, self._meetings = options, meetings
        self._pool, self._most = pool, most
        self._may_hold = not options.may_gather
        self._local = threading.local()
        self._on_the_way: deque[Future[None]] = deque()
        self.sent: dict[int, list[Sent]] = {number: [] for number in range(len(objects))}

    def send(self, object: int, part: int, data: bytearray) -> None:
        """Send a part that is whole; wait first if too many are on their way."""
        self._submit(functools.partial(self._put, object, part, data))

    def exchanged(self) -> None:
        """Say that all parts that others had some of are here; the rest waits for its turn."""
        if self._options.exchanged is not None:
            self._options.exchanged()
        self._may_hold = False

    def send_own(self, dealt: Sequence[Dealt]) -> None:
        """Send the parts that this process has alone."""
        for number, each in enumerate(dealt):
            for part in each.of(self._meetings.me, together=False):
                self._submit(functools.partial(self._put, number, part))

    def ended(self, failure: Exception | None) -> Exception | None:
        """The first failure, once no part is on its way."""
        while self._on_the_way:
            if failure is None:
                failure = tried(self._settle_one)
            else:
                self._on_the_way.popleft().cancel()
        return failure

    def _submit(self, work: Callable[[], None]) -> None:
        while len(self._on_the_way) >= self._most and not self._may_hold:
            self._settle_one()
        self._on_the_way.append(submit(self._pool, work))

    def _settle_one(self) -> None:
        future = self._on_the_way.popleft()
        while not wait([future], timeout=1.0).done:
            self._meetings.alive()
        future.result()
        self._meetings.alive()

    def _put(self, object: int, part: int, data: bytearray | None = None) -> None:
        stretches, plan = self._objects[object].stretches, self._objects[object].plan
        if data is None:
            data = parts.content(stretches[part], writer.staging(self._local))
        size = len(data)
        if len(stretches) == 1:
            data = uploads.with_trailer(data, plan)
        value = crc.of_buffers([data]) if plan.trailer is not None else 0
        tag = self._begun[object].put(part + 1, data)
        self.sent[object].append((part, tag, value, size))
        if self._options.progress is not None:
            self._options.progress(size)


class PartSink:
    """Parts in memory that are filled piece by piece, and sent when they are whole."""

    def __init__(
        self,
        number: int,
        each: Object,
        mine: Sequence[int],
        send: Callable[[int, int, bytearray], None],
    ):
        self._number, self._stretches, self._mine, self._send = number, each.stretches, mine, send
        self._offsets = [each.stretches[part].offset for part in mine]
        self._places: Places = pieces.places(each.plan) if mine else {}
        self._open: dict[int, bytearray] = {}
        self._missing: dict[int, int] = {}

    def put(self, piece: Piece, data: memoryview) -> None:
        """Put the bytes of a piece, which lie in one part."""
        for run, offset in pieces.placed(piece, data, self._places):
            part = self._mine[bisect.bisect_right(self._offsets, offset) - 1]
            if part not in self._open:
                self._begin(part)
            at = offset - self._stretches[part].offset
            memoryview(self._open[part])[at : at + len(run)] = run
            self._missing[part] -= len(run)
            if not self._missing[part]:
                del self._missing[part]
                self._send(self._number, part, self._open.pop(part))

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

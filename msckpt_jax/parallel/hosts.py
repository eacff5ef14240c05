"""Files from many processes: who makes, writes and publishes them, and when.

Every process plans the same layout of all files, from names, shapes and shardings alone. A single
file is made by process 0 under a temporary name; each process writes the byte ranges of its own
shards, or, where these lie in tiny stretches, windows that it puts together from what others send.
The files of a folder are dealt to the processes, and each has one writer. Where the hosts share no
file system, process 0 is the writer of all. Process 0 publishes a file by a rename, or a folder as
one, once all processes have reported that they are done.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax.checkpoint import atomic, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.folder import FolderSave
from msckpt_jax.checkpoint.naming import naming
from msckpt_jax.checkpoint.plan import Plan
from msckpt_jax.checkpoint.records import Record
from msckpt_jax.checkpoint.store_folder import StoreSave
from msckpt_jax.checkpoint.stores.path import StorePath
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import dealing, part_upload, pieces, shares
from msckpt_jax.parallel.dealing import Output, Work
from msckpt_jax.parallel.exchange import FileSink, exchange, met, tried
from msckpt_jax.parallel.meeting import Meetings


def needed(records: Sequence[Record]) -> bool:
    """Tell whether a record holds an array that spans processes, which all must write together."""
    return any(map(shares.spans, records))


def by_parts(target: Any) -> bool:
    """Tell whether processes upload the parts of an object, of which they may lack some."""
    return isinstance(target, StorePath) and target.store.takes_parts


def write(target: Any, plan: Plan, records: Sequence[Record], options: writer.Options) -> None:
    """Write ``plan``, the same on every process, to one file.

    Raises:
        CheckpointError: the trees of the processes differ; a process failed, or gave no sign of
            life for ``options.timeout`` seconds; or the processes share no file system, and
            not ``options.may_gather``. The previous file is left as it was.
    """
    if by_parts(target):
        part_upload.write(target, plan, records, options)
        return
    meetings = Meetings(target, options.timeout)
    with contextlib.ExitStack() as stack:
        file: atomic.Temporary | None = None

        def begin() -> str:
            nonlocal file
            if meetings.me != 0:
                return ""
            file = stack.enter_context(_publishing(target, options, meetings))
            _reserve(file.fd, plan)
            return str(file.path)

        path = Path(meetings.meet(begin, planning.digest([plan])).first)
        shared = _is_shared(path, meetings, options.may_gather)
        output = Output(path, plan, records, None if shared else 0)
        _write_all([output], options, meetings)
        if plan.trailer and file is not None:
            _append_trailer(file, plan.nbytes, plan.trailer, meetings)
    meetings.meet(lambda: None)  # process 0 has published the file


class Content(NamedTuple):
    """The content of a file of a folder."""

    plan: Plan
    records: Sequence[Record]


def write_folder(
    save: FolderSave | StoreSave,
    target: Path | StorePath,
    files: Mapping[str, Content],
    commit: Callable[[], None],
    options: writer.Options,
) -> None:
    """Write the files of a folder, each by one process, or each process its own shares of all.

    Process 0 opens ``save`` and calls ``commit`` when all files are complete. The former happens
    where collective operations may run, as ``options.may_gather`` says.

    Raises:
        CheckpointError: as :func:`write`.
    """
    if isinstance(save, StoreSave):
        assert isinstance(target, StorePath)
        part_upload.write_folder(save, target, files, commit, options)
        return
    meetings = Meetings(target, options.timeout)
    with contextlib.ExitStack() as stack:

        def begin() -> list[str]:
            if meetings.me != 0:
                return []
            stack.enter_context(save)
            probe = save.files.with_name(f"{secrets.token_hex(8)}.tmp")
            probe.touch(exist_ok=False)
            for name, content in files.items():  # here, where the folder will be listed
                path = save.files / name
                with naming(path), open(atomic.created(path), "wb") as file:
                    if not options.may_gather:
                        _reserve(file.fileno(), content.plan)
            return [str(save.files), str(probe)]

        digest = planning.digest([content.plan for content in files.values()])
        staged, probe = map(Path, meetings.meet(begin, digest).first)
        outputs = [Output(staged / name, *content) for name, content in files.items()]
        shared = _is_shared(probe, meetings, options.may_gather)
        if options.may_gather:
            dealt = dealing.writers(outputs, meetings.processes) if shared else [0] * len(outputs)
            outputs = [
                output._replace(writer=writer)
                for output, writer in zip(outputs, dealt, strict=True)
            ]
        _write_all(outputs, options, meetings)
        meetings.meet(lambda: commit() if meetings.me == 0 else None)


@contextlib.contextmanager
def _publishing(
    target: Any, options: writer.Options, meetings: Meetings
) -> Iterator[atomic.Temporary]:
    """Yield the temporary file of process 0, on its own disk if the target is an object store."""
    if isinstance(target, Path):
        with atomic.replacing(Path(os.path.realpath(target)), durable=options.durable) as file:
            yield file
        return
    with tempfile.TemporaryDirectory(prefix="msckpt-") as folder:
        path = Path(folder) / target.name
        with open(path, "xb") as file:
            yield atomic.Temporary(file.fileno(), path)
        whole = np.memmap(path, np.uint8, "r")
        upload = writer.Options(progress=lambda _: meetings.alive())
        writer.write(target, Plan([whole], whole.nbytes), upload)


def _is_shared(path: Path, meetings: Meetings, may_gather: bool) -> bool:
    """Tell whether all processes see what process 0 has made.

    Raises:
        CheckpointError: they do not, and nothing can be sent.
    """
    shared = meetings.meet(path.exists).everywhere
    if not shared and not may_gather:
        raise CheckpointError(
            "the processes share no file system, so that the shards have to be sent to process 0, "
            "which cannot be done while training goes on; save without async_save",
            file=meetings.target,
        )
    return shared


def _write_all(outputs: Sequence[Output], options: writer.Options, meetings: Meetings) -> None:
    """Let each process write its part of all files.

    A process that fails goes on as far as others have to be told in the exchanges.
    """

    def work() -> Exception | None:
        failure: Exception | None = None
        for wave in dealing.waves(outputs):
            plan = dealing.planned(wave, meetings.me, meetings.processes, options.may_gather)
            failure = _write_wave(wave, plan, options, meetings, failure)
        return failure

    met(meetings, work)


def _write_wave(
    wave: Sequence[Output],
    work: Work,
    options: writer.Options,
    meetings: Meetings,
    failure: Exception | None,
) -> Exception | None:
    """Write this process's part of files; return the error that it knows of."""

    def written(nbytes: int) -> None:
        meetings.alive()
        if options.progress is not None:
            options.progress(nbytes)

    sinks: dict[int, FileSink] = {}
    try:
        if failure is None:
            failure = tried(lambda: _open(wave, meetings.me, sinks))
        for party in work.parties:
            failure = exchange(party, sinks, meetings, written, failure)
        if failure is None:
            failure = tried(lambda: _write_own(wave, work, sinks, options, meetings.me, written))
    finally:
        for sink in sinks.values():
            os.close(sink.fd)
    return failure


def _open(wave: Sequence[Output], me: int, sinks: dict[int, FileSink]) -> None:
    """Open the files that this process writes to."""
    for number, output in enumerate(wave):
        if output.writer in (None, me):
            fd = atomic.opened_again(output.path)
            sinks[number] = FileSink(fd, pieces.places(output.plan), output.path)
            if output.writer == me:
                with naming(output.path):
                    _reserve(fd, output.plan)


def _reserve(fd: int, plan: Plan) -> None:
    """Give a file its size: what nobody writes is zero.

    No other process may write to it at the time: where a file system cannot allocate, the C library
    reads and writes a byte of each block.
    """
    writer.reserve(fd, plan.nbytes)
    os.ftruncate(fd, plan.nbytes)


def _write_own(
    wave: Sequence[Output],
    work: Work,
    sinks: Mapping[int, FileSink],
    options: writer.Options,
    me: int,
    written: Callable[[int], None],
) -> None:
    """Write the headers, what no process shares, and the shares of this process."""
    local = threading.local()
    for number, output in enumerate(wave):
        if (output.writer or 0) == me:
            shared = [each.tensor for each in work.shared[number]]
            with naming(output.path):
                pieces.write_others(sinks[number].fd, output.plan, shared, local)

    def write_piece(item: tuple[FileSink, pieces.Piece]) -> None:
        sink, piece = item
        sink.put(piece, pieces.content(piece, local))
        written(piece.nbytes)

    items = (
        (sinks[number], piece)
        for number, own, parts in work.own
        for piece in pieces.cut(own.tensor, parts)
    )
    for _ in writer.in_threads(write_piece, items, options.threads):
        pass
    for sink in sinks.values() if options.durable else ():
        with naming(sink.path):
            os.fsync(sink.fd)


def _append_trailer(
    file: atomic.Temporary, size: int, trailer: Callable[[int], bytes], meetings: Meetings
) -> None:
    """Append the check sum, for which process 0 reads the whole file.

    Check sums of pieces could not be joined to it, because many hosts write pieces in no order.
    """
    data = np.memmap(file.path, np.uint8, "r", shape=(size,))
    value = writer.checksum([data], progress=lambda _: meetings.alive())
    writer.write_at(file.fd, trailer(value), size)

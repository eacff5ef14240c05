"""One merged file from many processes: each writes the byte ranges of its own shards.

Process 0 creates the file under a temporary name, writes the headers and what is no sharded
array, and publishes it by a rename once all have said that they are done. The layout of the file
is planned alike on every process, from names, shapes and shardings alone. When a process does not
see the temporary file, because the hosts share no file system, the shards are sent to process 0.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from msckpt_jax.checkpoint import atomic, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.plan import Plan
from msckpt_jax.checkpoint.records import Record
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import gathering, shares
from msckpt_jax.parallel.meeting import Meetings


def needed(found: Sequence[Record]) -> bool:
    """Whether a record holds an array that spans processes, so that all must write it together."""
    return any(map(shares.spans, found))


def write(
    target: Any, plan: Plan, found: Sequence[Record], options: writer.Options, may_gather: bool
) -> None:
    """Write ``plan``, the same on every process, to one file.

    ``may_gather`` says that collective operations may run now: no training step does.

    Raises:
        CheckpointError: the trees of the processes differ; a process has failed, or gave no sign
            of life for ``options.timeout`` seconds. The previous file is then left as it was.
            Or the processes share no file system, and ``may_gather`` is false.
    """
    meetings = Meetings(target, options.timeout)
    with contextlib.ExitStack() as stack:
        file: atomic.Temporary | None = None

        def begin() -> str:
            nonlocal file
            if meetings.me != 0:
                return ""
            file = stack.enter_context(_publishing(target, options, meetings))
            writer.reserve(file.fd, plan.nbytes)
            return str(file.path)

        path = Path(meetings.meet(begin, _digest(plan)).first)
        _write_all(path, plan, found, options, meetings, may_gather)
        if plan.trailer and file is not None:
            _append_trailer(file, plan.nbytes, plan.trailer, meetings)
    meetings.meet(lambda: None)  # process 0 has published the file


@contextlib.contextmanager
def _publishing(
    target: Any, options: writer.Options, meetings: Meetings
) -> Iterator[atomic.Temporary]:
    """The temporary file of process 0; one on its own disk when the target is an object store."""
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


def _write_all(
    path: Path,
    plan: Plan,
    found: Sequence[Record],
    options: writer.Options,
    meetings: Meetings,
    may_gather: bool,
) -> None:
    """Write each process's part, or let process 0 write all where only it sees the file."""
    if meetings.meet(path.exists).everywhere:
        meetings.meet(lambda: _write_mine(path, plan, found, options, meetings))
    elif may_gather:
        meetings.meet(lambda: gathering.gather(path, plan, found, options, meetings))
    else:
        raise CheckpointError(
            "the processes share no file system: the shards have to be sent to process 0, which "
            "cannot be done while training goes on; save without async_save",
            file=meetings.target,
        )


def _write_mine(
    path: Path,
    plan: Plan,
    found: Sequence[Record],
    options: writer.Options,
    meetings: Meetings,
) -> None:
    local = threading.local()
    mine = shares.shares_of(found, meetings.me)
    fd = os.open(path, os.O_WRONLY)
    try:
        if meetings.me == 0:
            shares.write_others(fd, plan, found, local)
        places = shares.places(plan, mine)

        def one(piece: shares.Piece) -> None:
            shares.write_runs(fd, piece, shares.content(piece, local), places)
            meetings.alive()
            if options.progress is not None:
                options.progress(piece.nbytes)

        for _ in writer.in_threads(one, shares.pieces(mine), options.threads):
            pass
        if options.durable:
            os.fsync(fd)
    finally:
        os.close(fd)


def _append_trailer(
    file: atomic.Temporary, size: int, trailer: Callable[[int], bytes], meetings: Meetings
) -> None:
    """Process 0 reads what all have written: pieces of many hosts have no order to join in."""
    data = np.memmap(file.path, np.uint8, "r", shape=(size,))
    value = writer.checksum([data], progress=lambda _: meetings.alive())
    os.pwrite(file.fd, trailer(value), size)


def _digest(plan: Plan) -> str:
    """What all processes must have in common: headers, and the sizes of what lies between."""
    found = hashlib.sha256()
    for part in plan.parts:
        found.update(part if isinstance(part, bytes) else b"%d" % planning.size_of(part))
    return found.hexdigest()

"""A merged file from many processes: each writes the byte ranges of its own shards.

Process 0 creates the file under a temporary name, writes the headers and everything that is no
sharded array, and publishes the file by a rename once all processes have reported that they are
done. Every process plans the same layout of the file, from names, shapes and shardings alone. When
a process does not see the temporary file, because the hosts share no file system, the shards are
sent to process 0.
"""

from __future__ import annotations

import contextlib
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
from msckpt_jax.parallel import gathering, pieces, shares
from msckpt_jax.parallel.meeting import Meetings


def needed(records: Sequence[Record]) -> bool:
    """Tell whether a record holds an array that spans processes, which all must write together."""
    return any(map(shares.spans, records))


def write(
    target: Any, plan: Plan, records: Sequence[Record], options: writer.Options, may_gather: bool
) -> None:
    """Write ``plan``, the same on every process, to one file.

    ``may_gather`` says that collective operations may run now, because no training step does.

    Raises:
        CheckpointError: the trees of the processes differ; a process failed, or gave no sign of
            life for ``options.timeout`` seconds; or the processes share no file system, and
            ``may_gather`` is false. The previous file is left as it was.
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

        path = Path(meetings.meet(begin, planning.digest([plan])).first)
        _write_all(path, plan, records, options, meetings, may_gather)
        if plan.trailer and file is not None:
            _append_trailer(file, plan.nbytes, plan.trailer, meetings)
    meetings.meet(lambda: None)  # process 0 has published the file


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


def _write_all(
    path: Path,
    plan: Plan,
    records: Sequence[Record],
    options: writer.Options,
    meetings: Meetings,
    may_gather: bool,
) -> None:
    """Let each process write its part, or process 0 the whole file where not all see it."""
    if meetings.meet(path.exists).everywhere:
        meetings.meet(lambda: _write_mine(path, plan, records, options, meetings))
    elif may_gather:
        meetings.meet(lambda: gathering.gather(path, plan, records, options, meetings))
    else:
        raise CheckpointError(
            "the processes share no file system, so that the shards have to be sent to process 0, "
            "which cannot be done while training goes on; save without async_save",
            file=meetings.target,
        )


def _write_mine(
    path: Path,
    plan: Plan,
    records: Sequence[Record],
    options: writer.Options,
    meetings: Meetings,
) -> None:
    local = threading.local()
    mine = shares.shares_of(records, meetings.me)
    fd = atomic.opened_again(path)
    try:
        if meetings.me == 0:
            pieces.write_others(fd, plan, records, local)
        places = pieces.places(plan, mine)

        def write_piece(piece: pieces.Piece) -> None:
            pieces.write_runs(fd, piece, pieces.content(piece, local), places)
            meetings.alive()
            if options.progress is not None:
                options.progress(piece.nbytes)

        for _ in writer.in_threads(write_piece, pieces.cut(mine), options.threads):
            pass
        if options.durable:
            os.fsync(fd)
    finally:
        os.close(fd)


def _append_trailer(
    file: atomic.Temporary, size: int, trailer: Callable[[int], bytes], meetings: Meetings
) -> None:
    """Append the check sum, for which process 0 reads the whole file.

    Check sums of pieces could not be joined to it, because many hosts write pieces in no order.
    """
    data = np.memmap(file.path, np.uint8, "r", shape=(size,))
    value = writer.checksum([data], progress=lambda _: meetings.alive())
    os.pwrite(file.fd, trailer(value), size)

"""Write a large file in steps, so that the next run goes on where a killed run stopped.

The temporary file is longer than the file by 8 bytes, which say how many bytes from the start are
on the disk; they are cut off before the file gets its name. A temporary file of another job, or of
a job that is never taken up again, is removed by the next save of the same name.
"""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path

from msckpt_jax.checkpoint import atomic, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.plan import Chunk, Plan

#: After so many bytes those that were written are made durable and noted down.
STEP_BYTES = 256 << 20
_NOTE = struct.Struct("<Q")


def write(target: Path, plan: Plan, options: writer.Options, job: str) -> None:
    """Write ``plan`` to ``target``, going on where a run of the same ``job`` was interrupted.

    ``job`` is a name that only the same bytes have. ``options`` may not ask for a check sum or a
    cipher. ``options.progress`` is also called for the bytes that were there already.
    """
    local = threading.local()
    with atomic.resuming(target, job) as file:
        size = plan.nbytes + _NOTE.size
        if os.fstat(file.fd).st_size != size:
            os.ftruncate(file.fd, 0)
            writer.reserve(file.fd, size)
            os.ftruncate(file.fd, size)
        (done,) = _NOTE.unpack(os.pread(file.fd, _NOTE.size, plan.nbytes))
        done = done if done <= plan.nbytes else 0

        def end_of_written(chunk: Chunk) -> int:
            if chunk.offset + chunk.nbytes > done:
                writer.write_chunk(file.fd, chunk, options, local)
            elif options.progress is not None:
                options.progress(chunk.nbytes)
            return chunk.offset + chunk.nbytes

        noted = done
        for end in writer.in_threads(end_of_written, planning.chunks(plan.parts), options.threads):
            if end >= noted + STEP_BYTES:  # results come in order: all bytes before it are written
                os.fsync(file.fd)
                os.pwrite(file.fd, _NOTE.pack(end), plan.nbytes)
                noted = end
        os.ftruncate(file.fd, plan.nbytes)

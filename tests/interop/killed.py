"""A conversion in small steps that kills itself: ``python -m tests.interop.killed SRC DST TO AT``.

It ends when so many bytes are told as done (0: never), and else prints how many were written.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import msckpt_jax as ms
from msckpt_jax.api import orbax_directory
from msckpt_jax.checkpoint import plan, writer
from msckpt_jax.parallel import cells, ordered


def main(source: str, target: str, to: str, at: int) -> None:
    cells.CELL_BYTES, ordered.STEP_BYTES, plan.CHUNK_BYTES = 1024, 4096, 2048
    orbax_directory._CHUNK_BYTES, orbax_directory.STEP_BYTES = 2048, 8192
    told, written = [0], [0]

    def advance(nbytes: int) -> None:
        told[0] += nbytes
        if at and told[0] >= at:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(function: Callable[..., Any], place: int) -> Callable[..., Any]:
        def counting(*args: Any) -> Any:
            written[0] += args[place]
            return function(*args)

        return counting

    writer.write_vector = counted(writer.write_vector, 2)
    orbax_directory._Handler._written = counted(orbax_directory._Handler._written, 2)
    ms.convert_checkpoint(source, target, to=to or None, progress=advance)
    print(told[0], written[0])


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))

"""Runs that get real signals, each in a process of its own: ``python signalled.py FOLDER CASE...``.

JAX is imported once, and every case is a fork of that interpreter, in which no backend has been
started. What a case prints goes to ``FOLDER/CASE.log``, its files to ``FOLDER/CASE``. The statuses
of all are printed as JSON. A case ``two_...`` has two processes of ``jax.distributed``.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=1"

import jax
import signalled_pairs  # beside this file
import signalled_runs

# A shell lets what it starts in the background ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
folder = Path(sys.argv[1])
AT_ONCE = 8
#: Seconds after which a case that hangs says where, and ends.
LIMIT = 90


def children(cases: list[str]) -> Iterator[tuple[str, int, Callable[[], None]]]:
    for case in cases:
        (folder / case).mkdir()
        runs = signalled_pairs if case.startswith("two_") else signalled_runs
        work = getattr(runs, case.partition(":")[0])
        if not case.startswith("two_"):
            yield case, 0, lambda case=case, work=work: work(folder / case)
            continue
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        for me in range(2):

            def both(case: str = case, work: Any = work, me: int = me, at: str = address) -> None:
                jax.distributed.initialize(at, 2, me)
                work(folder / case, me)

            yield case, me, both


def main() -> None:
    started: dict[int, tuple[str, int]] = {}
    statuses: dict[str, list[int]] = {}
    for case, me, work in children(sys.argv[2:]):
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            log = os.open(folder / f"{case}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            faulthandler.dump_traceback_later(LIMIT, exit=True)
            work()
            return
        started[child] = case, me
        while len(started) >= AT_ONCE:
            reap(started, statuses)
    while started:
        reap(started, statuses)
    print(json.dumps(statuses))


def reap(started: dict[int, tuple[str, int]], statuses: dict[str, list[int]]) -> None:
    child, status = os.wait()
    case, me = started.pop(child)
    statuses.setdefault(case, [0, 0] if case.startswith("two_") else [0])[me] = (
        os.waitstatus_to_exitcode(status)
    )


if __name__ == "__main__":
    main()

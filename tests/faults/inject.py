"""Faults of the system in the midst of a job: the process is killed, the disk is full or breaks.

A job runs in a forked process, in which the functions of :mod:`os` that change the disk are
counted, and fail at the call of a given number.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

#: The functions by which a job changes the disk.
CALLS = (
    "open", "mkdir", "pwrite", "pwritev", "write", "fsync", "fdatasync", "ftruncate",
    "posix_fallocate", "copy_file_range", "sendfile", "rename", "replace", "link", "unlink",
    "remove", "rmdir",
)  # fmt: skip
#: Those that a full disk refuses, and those that a broken one does.
_GROWING = {"mkdir", "pwrite", "pwritev", "write", "posix_fallocate", "copy_file_range", "sendfile"}
_BREAKING = {"pwrite", "pwritev", "write", "fsync", "fdatasync", "rename", "replace"}
_KILLED = 9

#: What happens at a call: given the name of the function, it and its arguments, and whether it is
#: the call of the number (or a later one).
Fault = Callable[[str, Callable[..., Any], Sequence[Any], bool], Any]


def kill(name: str, function: Callable[..., Any], args: Sequence[Any], first: bool) -> Any:
    os._exit(_KILLED)


def full(name: str, function: Callable[..., Any], args: Sequence[Any], first: bool) -> Any:
    """From this call on the disk has no room."""
    if name in _GROWING:
        raise _error(errno.ENOSPC, args)
    return function(*args)


def broken(name: str, function: Callable[..., Any], args: Sequence[Any], first: bool) -> Any:
    """The first write, sync or rename from this call on fails, the others do not."""
    if name in _BREAKING and not broken_once:
        broken_once.append(name)
        raise _error(errno.EIO, args)
    return function(*args)


broken_once: list[str] = []


def _error(number: int, args: Sequence[Any]) -> OSError:
    """The error of a function, which knows the name of the file if it was called with one."""
    names = [os.fspath(arg) for arg in args[:1] if isinstance(arg, str | os.PathLike)]
    return OSError(number, os.strerror(number), *names)


def short(name: str, function: Callable[..., Any], args: Sequence[Any], first: bool) -> Any:
    """From this call on each write takes one byte less than half of what it is given."""
    if name not in ("pwrite", "pwritev", "write"):
        return function(*args)
    fd, data, *rest = args
    parts = [memoryview(part).cast("B") for part in (data if name == "pwritev" else [data])]
    part = next((part for part in parts if part.nbytes), parts[0])
    part = part[: max(1, part.nbytes // 2 - 1)]
    return function(fd, [part] if name == "pwritev" else part, *rest)


class Outcome(NamedTuple):
    """The end of a job: ``killed``, or with ``result``, ``error`` (or None) and number of calls."""

    killed: bool
    error: str | None
    calls: int
    result: Any = None


def run(work: Callable[[], Any], note: Path, fault: Fault | None = None, at: int = 0) -> Outcome:
    """Do ``work`` in a process of its own, with a fault at the call of number ``at``."""
    child = os.fork()
    if child == 0:
        counted = itertools.count()
        write, leave = os.write, os._exit
        fd = os.open(note, os.O_WRONLY | os.O_CREAT)
        os.ftruncate(fd, 0)
        for name in CALLS:
            setattr(os, name, _guarded(name, getattr(os, name), counted, fault, at))
        try:
            result, error = work(), None
        except BaseException as caught:
            result, error = None, f"{type(caught).__name__}: {caught}"
        write(fd, json.dumps([error, next(counted), result]).encode())
        sys.stderr.flush()
        leave(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == _KILLED:
        return Outcome(True, None, at)
    assert status == 0, status
    return Outcome(False, *json.loads(note.read_text()))


def _guarded(
    name: str, function: Callable[..., Any], counted: Any, fault: Fault | None, at: int
) -> Callable[..., Any]:
    def guard(*args: Any, **kwargs: Any) -> Any:
        number = next(counted)
        if fault is None or number < at:
            return function(*args, **kwargs)
        return fault(name, lambda *a: function(*a, **kwargs), args, number == at)

    return guard

"""Owners of temporary files: processes that are named by them, and that give signs of life.

A lock tells a live writer from a dead one where the system has locks, on one host. Elsewhere the
name of the file tells its writer, and the file's time when that was last alive.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import socket
import threading
from pathlib import Path
from typing import NamedTuple

#: Seconds without a sign of life after which the writer on another host is taken for dead.
STALE_SECONDS = 3600.0
#: Seconds between signs of life: a few of them may be lost, or come late.
_BEAT_SECONDS = 300.0
_FORM = re.compile(r"([0-9a-f]{12})-(\d+)-([0-9a-f]+)")


class Owner(NamedTuple):
    """A process: its host, its number there, and when it started, since numbers are used again.

    ``host`` changes with each boot, and with each container that numbers processes anew. A
    ``start`` of 0 is not known.
    """

    host: str
    pid: int
    start: int

    def __str__(self) -> str:
        return f"{self.host}-{self.pid}-{self.start:x}"

    @property
    def is_here(self) -> bool:
        """True for a process of this host."""
        return self.host == _host()

    @property
    def is_gone(self) -> bool | None:
        """True for a process of this host that has ended; None where the system does not say."""
        start = _start(self.pid)
        return None if not self.start or start is None else start != self.start


#: A process of which nothing is known: like one of another host.
UNKNOWN = Owner("", 0, 0)


def this() -> Owner:
    """The owner that this process is."""
    return _of_number(os.getpid())


def parse(text: str) -> Owner | None:
    """The owner of this name; None for a text of another form."""
    match = _FORM.fullmatch(text)
    return Owner(match[1], int(match[2]), int(match[3], 16)) if match else None


@functools.lru_cache(1)
def _of_number(pid: int) -> Owner:
    return Owner(_host(), pid, _start(pid) or 0)


def machine() -> str:
    """A name for the machine on which this process runs, the same for all its containers."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return socket.gethostname()


@functools.cache
def _host() -> str:
    """A name for the space in which a process number means one process."""
    told = [socket.gethostname(), machine()]
    with contextlib.suppress(OSError):
        told.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256(repr(told).encode()).hexdigest()[:12]


def _start(pid: int) -> int | None:
    """The time at which a process started, 0 if it has ended; None where nobody tells."""
    if not Path("/proc/self/stat").exists():
        return None
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = text.rpartition(")")[2].split()  # a command's name may hold spaces
    return 0 if fields[0] in "ZX" else int(fields[19])


# Signs of life


class _Heart:
    """The thread that touches the files which this process is writing."""

    def __init__(self) -> None:
        self._files: set[int] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, fd: int) -> None:
        if os.utime not in os.supports_fd:  # Windows: what is written touches it, too
            return
        with self._lock:
            self._files.add(fd)
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="msckpt alive", daemon=True)
                self._thread.start()

    def remove(self, fd: int) -> None:
        """Touch a file no more; then it may be closed, and its number be another file's."""
        with self._lock:
            self._files.discard(fd)

    def touch(self) -> None:
        with self._lock:
            for fd in self._files:
                with contextlib.suppress(OSError):  # its owner will hear of it
                    os.utime(fd)

    def _beat(self) -> None:
        pause = threading.Event()
        while not pause.wait(_BEAT_SECONDS):
            self.touch()


_heart = _Heart()


def _forked() -> None:
    """Begin anew in a child process, which has neither the thread nor the files."""
    global _heart
    _heart = _Heart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def keep_fresh(fd: int) -> None:
    """Keep the time of an open file fresh, until :func:`let_go` is called, before it is closed."""
    _heart.add(fd)


def let_go(fd: int) -> None:
    """Leave the time of a file to those who write to it."""
    _heart.remove(fd)

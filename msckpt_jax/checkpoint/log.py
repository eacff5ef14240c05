"""A log of the work that is done: it only grows, and what it does not prove is done again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_NOTE = struct.Struct("<QI")
_PROOF_BYTES = 12


class Done(NamedTuple):
    """The number of units that are done, and a check sum of what they were."""

    units: int
    order: int


class Log:
    """Notes at the end of a file, behind its first ``start`` bytes.

    Each note says how many units of a job are done and durable; the last one counts. A note is
    proved by a hash with the name of the job: one of another job, or damaged, ends the log.
    """

    def __init__(self, fd: int, start: int, job: str):
        self._fd, self._job = fd, job.encode()
        self._start = self._end = start
        self.last = Done(0, 0)
        while (note := self._read(self._end)) is not None:
            self.last = note
            self._end += _NOTE.size + _PROOF_BYTES

    def _read(self, at: int) -> Done | None:
        data = os.pread(self._fd, _NOTE.size + _PROOF_BYTES, at)
        note, proof = data[: _NOTE.size], data[_NOTE.size :]
        if len(data) < _NOTE.size + _PROOF_BYTES or proof != self._proof(note, at):
            return None
        return Done(*_NOTE.unpack(note))

    def add(self, done: Done) -> None:
        """Note what is done; all of it has to be on the disk."""
        note = _NOTE.pack(*done)
        os.pwrite(self._fd, note + self._proof(note, self._end), self._end)
        self._end += _NOTE.size + _PROOF_BYTES
        self.last = done

    def clear(self) -> None:
        """Forget what was noted."""
        os.ftruncate(self._fd, self._start)
        self.last, self._end = Done(0, 0), self._start

    def _proof(self, note: bytes, at: int) -> bytes:
        text = self._job + struct.pack("<Q", at) + note
        return hashlib.blake2b(text, digest_size=_PROOF_BYTES).digest()


@contextlib.contextmanager
def opened(path: Path, job: str | None) -> Iterator[Log | None]:
    """The log of a job in a file of its own, which is made if need be; None without a job."""
    if job is None:
        yield None
        return
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    fd = os.open(path, flags, 0o666)
    try:
        yield Log(fd, 0, job)
    finally:
        os.close(fd)

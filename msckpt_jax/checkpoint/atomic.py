"""Replace a file so that a reader sees the old one or the whole new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # Windows has no such locks; a stale temporary file then stays
    fcntl = None


class Temporary(NamedTuple):
    fd: int
    path: Path


@contextlib.contextmanager
def replacing(target: Path, *, durable: bool) -> Iterator[Temporary]:
    """A temporary file, open for writing, that becomes ``target`` when the block ends well.

    Any exception removes the temporary file and leaves ``target`` as it was. With ``durable`` the
    bytes are on the disk before the name is (fsync of the file, rename, fsync of the folder).
    A name and a lock tell writers apart, so that two can save the same target, and the next writer
    removes the file that a killed writer left.
    """
    _sweep(target)
    temporary = _create(target)
    try:
        yield temporary
        _publish(temporary, target, durable)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary.path)
        raise
    finally:
        os.close(temporary.fd)


@contextlib.contextmanager
def resuming(target: Path, job: str) -> Iterator[Temporary]:
    """Do as :func:`replacing`, durably; a kill or Ctrl-C leaves the temporary file for ``job``.

    The file is empty, or as the interrupted run of the same job left it. An error removes it.

    Raises:
        BlockingIOError: another process is at the same job.
    """
    path = target.with_name(f"{_prefix(target)}{job}.tmp")
    _sweep(target, spared=path)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        if not _lock(fd) or not os.fstat(fd).st_nlink:
            raise BlockingIOError(errno.EWOULDBLOCK, "another process is writing it", str(target))
        yield Temporary(fd, path)
        _publish(Temporary(fd, path), target, durable=True)
    except BlockingIOError:
        raise
    except Exception:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        raise
    finally:
        os.close(fd)


def _publish(temporary: Temporary, target: Path, durable: bool) -> None:
    if durable:
        os.fsync(temporary.fd)
    os.replace(temporary.path, target)
    if durable:
        _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable, where the system can."""
    with contextlib.suppress(PermissionError):  # Windows cannot open folders
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _prefix(target: Path) -> str:
    # A name may have 255 bytes, and the token needs some of them.
    return f".{target.name.encode()[:200].decode(errors='ignore')}."


def _create(target: Path) -> Temporary:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    while True:
        temporary = target.with_name(f"{_prefix(target)}{secrets.token_hex(6)}.tmp")
        fd = os.open(temporary, flags, 0o666)
        # A sweep may have come between the two calls: then the file has lost its name.
        if _lock(fd) and os.fstat(fd).st_nlink:
            return Temporary(fd, temporary)
        os.close(fd)


def _lock(fd: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _sweep(target: Path, spared: Path | None = None) -> None:
    """Remove the temporary files of ``target`` whose writers are gone, except ``spared``."""
    if fcntl is None:
        return
    prefix = _prefix(target)
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        stale = [e.path for e in entries if e.name.startswith(prefix) and e.name.endswith(".tmp")]
        for path in stale:
            if path != os.fspath(spared or ""):
                _remove_unlocked(path)


def _remove_unlocked(path: str) -> None:
    assert fcntl is not None
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
        finally:
            os.close(fd)

"""Replace a file so that a reader sees the old one or the whole new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from msckpt_jax.checkpoint import owner as owners
from msckpt_jax.checkpoint.naming import naming
from msckpt_jax.checkpoint.owner import STALE_SECONDS, Owner

try:
    import fcntl
except ImportError:  # Windows has no such locks; the names of files tell their writers
    fcntl = None


#: Links are not followed, pipes do not make us wait, and child processes do not inherit the file.
_SAFELY = sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))
#: Modes: what a new file may have, of which the umask takes away; the user alone; all bits.
_NEW, _OWN, _ALL = 0o666, 0o600, 0o777
#: Names of temporary files: of an owner, or of a job, which the next run of it may continue.
_OWNED = re.compile(r"\..+\.(?P<owner>[0-9a-f]{12}-\d+-[0-9a-f]+)-[0-9a-f]{8}\.tmp", re.DOTALL)
_OF_JOB = re.compile(r"\..+\.[0-9a-f]{16}\.tmp", re.DOTALL)


class Temporary(NamedTuple):
    fd: int
    path: Path


@contextlib.contextmanager
def replacing(target: Path, *, durable: bool, beside: Path | None = None) -> Iterator[Temporary]:
    """A temporary file, open for writing, that becomes ``target`` when the block ends well.

    Any exception removes the temporary file and leaves ``target`` as it was. With ``durable`` the
    bytes are on the disk before the name is (fsync of the file, rename, fsync of the folder).
    A name and a lock tell writers apart, so that two can save the same target, and the next writer
    of any file in the folder removes what killed writers left: see :func:`sweep`.

    A file that replaces one of this user keeps its mode and group; until then only the user can
    read it. In place of another user's it gets no wider mode than that one had. A new file has the
    mode of the file ``beside`` to which it belongs, if that exists, else what the umask leaves.
    """
    sweep(target.parent, target=target)
    older = _status(target) or (_status(beside) if beside else None)
    temporary = _create(target, older)
    owners.keep_fresh(temporary.fd)
    try:
        with naming(target):
            yield temporary
            _publish(temporary, target, older, durable)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary.path)
        raise
    finally:
        owners.let_go(temporary.fd)
        os.close(temporary.fd)


@contextlib.contextmanager
def resuming(target: Path, job: str) -> Iterator[Temporary]:
    """Do as :func:`replacing`, durably; a kill or Ctrl-C leaves the temporary file for ``job``.

    The file is empty, or as the interrupted run of the same job left it. An error removes it. It
    has to be this user's own: others may be able to put files and links into the folder.

    Raises:
        BlockingIOError: another process is at the same job.
    """
    left = _left(target, job)
    sweep(target.parent, target=target, spared=left and left.path)
    older = _status(target)
    temporary = left or _create(target, older, job)
    try:
        with naming(target):
            yield temporary
            _publish(temporary, target, older, durable=True)
    except Exception:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary.path)
        raise
    finally:
        os.close(temporary.fd)


def write(target: Any, data: bytes) -> None:
    """Replace a small file, durably; in an object store too, where a file is there when whole."""
    if not isinstance(target, Path):
        target.write_bytes(data)
        return
    with replacing(target, durable=True) as file:
        while data:
            data = data[os.write(file.fd, data) :]


def make_folder(path: Any) -> list[Any]:
    """Make a local folder and those above it, durably; return the new ones. Stores have none."""
    if not isinstance(path, Path):
        return []
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(new):
        sync_folder(folder.parent)
    return new


@contextlib.contextmanager
def making_folder(path: Any) -> Iterator[None]:
    """Make a folder for what is written in the block; if that fails, it leaves none behind."""
    new = make_folder(path)
    try:
        yield
    except BaseException:
        for folder in new:
            with contextlib.suppress(OSError):  # something lies there
                folder.rmdir()
        raise


def created(path: Path) -> int:
    """A descriptor to write to a new file, whose mode is what the umask leaves."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFELY, _NEW)


def is_left(path: Path, size: int | None = None) -> bool:
    """Tell whether a killed run may have left a file: regular, this user's alone, of this size."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return _is_alone(status) and size in (None, status.st_size)


def _is_alone(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and _is_own(status) and status.st_nlink == 1


def opened_again(path: Path) -> int:
    """A descriptor to write to a temporary file that another process or thread has created."""
    return os.open(path, os.O_WRONLY | _SAFELY)


def _publish(
    temporary: Temporary, target: Path, older: os.stat_result | None, durable: bool
) -> None:
    older = _status(target) or older  # its mode may have changed since
    if older is not None and _is_own(older):
        _set_mode(temporary.fd, older)
    if durable:
        os.fsync(temporary.fd)
    os.replace(temporary.path, target)
    if durable:
        sync_folder(target.parent)


def _status(path: Path) -> os.stat_result | None:
    """The status of a regular file, or None."""
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return status if stat.S_ISREG(status.st_mode) else None
    return None


def _is_own(status: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or status.st_uid == os.geteuid()


def _set_mode(fd: int, older: os.stat_result) -> None:
    """Give a file the group and the mode of an older one."""
    if not hasattr(os, "fchmod"):  # Windows
        return
    mode = older.st_mode & _ALL
    with contextlib.suppress(OSError):  # the user has left the group
        os.fchown(fd, -1, older.st_gid)
    if os.fstat(fd).st_gid != older.st_gid:
        mode &= ~stat.S_IRWXG
    with contextlib.suppress(PermissionError):  # a file system without modes
        os.fchmod(fd, mode)


def keep_mode(path: Path, target: Path) -> None:
    """Give a file that is to replace ``target`` the mode that :func:`replacing` gives."""
    older = _status(target)
    if older is None or not hasattr(os, "fchmod"):
        return
    fd = os.open(path, os.O_RDONLY | _SAFELY)
    try:
        if _is_own(older):
            _set_mode(fd, older)
        else:
            os.fchmod(fd, os.fstat(fd).st_mode & (_OWN | older.st_mode & _NEW))
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable, where the system can."""
    with contextlib.suppress(PermissionError):  # Windows cannot open folders
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _prefix(target: Path) -> str:
    # A name may have 255 bytes, and what follows needs some of them.
    return f".{target.name.encode()[:190].decode(errors='ignore')}."


def _create(target: Path, older: os.stat_result | None, job: str | None = None) -> Temporary:
    mode = _NEW if older is None else _OWN if _is_own(older) else _OWN | older.st_mode & _NEW
    while True:
        token = secrets.token_hex(8)
        own = f"{owners.this()}-{token[:8]}" if job is None else f"{job}.{token}"
        temporary = target.with_name(f"{_prefix(target)}{own}.tmp")
        try:
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFELY, mode)
        except OSError as error:  # its name says nothing to the user
            raise OSError(error.errno, error.strerror, str(target)) from None
        # A sweep may have come between the two calls: then the file has lost its name, or will.
        if lock(fd) and os.fstat(fd).st_nlink:
            return Temporary(fd, temporary)
        os.close(fd)


def _left(target: Path, job: str) -> Temporary | None:
    """The file that an interrupted run of the same job has left: a regular file of this user."""
    prefix = f"{_prefix(target)}{job}."
    with os.scandir(target.parent) as entries:
        names = [e.name for e in entries if e.name.startswith(prefix) and e.name.endswith(".tmp")]
    for path in map(target.with_name, names):
        try:
            fd = os.open(path, os.O_RDWR | _SAFELY)
        except OSError:  # a link, another user's, or gone
            continue
        free, status = lock(fd), os.fstat(fd)
        if free and _is_alone(status):
            return Temporary(fd, path)
        os.close(fd)
        if not free and _is_own(status):
            raise BlockingIOError(errno.EWOULDBLOCK, "another process is writing it", str(target))
    return None


def lock(fd: int) -> bool:
    """Lock a file for this process, and tell whether no other process has locked it."""
    return _lock(fd) is not False


def _lock(fd: int) -> bool | None:
    """Lock a file, and tell whether it is this process's now; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def sweep(
    folder: Path,
    stale_seconds: float = STALE_SECONDS,
    *,
    target: Path | None = None,
    spared: Path | None = None,
) -> None:
    """Remove the temporary files in a folder whose writers are dead; it need not exist.

    A writer on this host is dead when its lock is free, or where there are no locks, when the
    process that the file names has ended. One on another host is dead when it has not touched its
    file for ``stale_seconds``. What an interrupted job has left for its next run stays, but that of
    ``target``, except ``spared``.
    """
    prefix = _prefix(target) if target else "/"  # of no name
    kept = os.fspath(spared or "")
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for name, path in [(e.name, e.path) for e in entries if e.name.endswith(".tmp")]:
            owned = _OWNED.fullmatch(name)
            owner = owners.parse(owned["owner"]) if owned else None
            of_target = name.startswith(prefix) and _OF_JOB.fullmatch(name) and path != kept
            if owner != owners.this() if owner else of_target:
                _remove_left(path, owner, stale_seconds)


def _remove_left(
    path: str, owner: Owner | None = None, stale_seconds: float = STALE_SECONDS
) -> None:
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDWR | _SAFELY)
        try:
            regular = stat.S_ISREG(os.fstat(fd).st_mode)
            if regular and is_abandoned(Temporary(fd, Path(path)), owner, stale_seconds):
                os.unlink(path)
        finally:
            os.close(fd)


def is_abandoned(file: Temporary, owner: Owner | None, stale_seconds: float) -> bool:
    """Tell whether the writer of a file is dead; without an ``owner`` only its lock can tell."""
    free = _lock(file.fd)
    if owner is None or free is False:
        return free is True
    if owner.is_here and (free or owner.is_gone is not None):
        return free or owner.is_gone is True
    # By the clock that gave the file its time, which may be that of a server.
    with tempfile.TemporaryFile(dir=file.path.parent) as now:
        return os.fstat(now.fileno()).st_mtime - os.fstat(file.fd).st_mtime > stale_seconds

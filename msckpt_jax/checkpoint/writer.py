"""Write a plan: at offsets by several threads, or in order to a stream."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax.checkpoint import atomic, cipher, crc, paths
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.naming import naming
from msckpt_jax.checkpoint.plan import Chunk, Part, Plan
from msckpt_jax.checkpoint.stores import parts, uploads
from msckpt_jax.checkpoint.stores.path import StorePath
from msckpt_jax.checkpoint.stores.uploads import Held
from msckpt_jax.checkpoint.threads import in_threads
from msckpt_jax.progress import Progress

#: More threads gain little: memory bandwidth is the limit, and each holds a window of CHUNK_BYTES.
THREADS = min(4, os.cpu_count() or 1)

#: The errors of file systems that cannot allocate ahead: they allocate as a file is written.
_CANNOT_RESERVE = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}

# Linux only, and not in Python's os module. Only a hint: its result does not matter.
_sync_file_range = (
    getattr(ctypes.CDLL(None), "sync_file_range", None) if os.name == "posix" else None
)
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_SYNC_FILE_RANGE_WRITE = 2


class Options(NamedTuple):
    """The way in which a plan is written.

    ``progress`` is called with the number of bytes of each chunk written, from any thread.
    ``timeout`` is the seconds after which a process that others wait for is taken for dead.
    ``sealed`` ends a file of authenticated blocks with a block that authenticates their order.
    ``held`` takes the uploads to object stores that are done, and for the caller to commit.
    ``exchanged`` is called when collective operations have to end, because training goes on; what
    processes have sent to each other is held in memory until it is written.
    """

    mode: cipher.Mode | None = None
    key: bytes = b""
    durable: bool = True
    threads: int = THREADS
    progress: Progress | None = None
    timeout: float = 600.0
    sealed: bool = False
    held: list[Held] | None = None
    exchanged: Callable[[], None] | None = None

    @property
    def may_gather(self) -> bool:
        """Tell whether collective operations may run to the end: no training step does."""
        return self.exchanged is None


def write(target: Any, plan: Plan, options: Options, beside: Any = None) -> None:
    """Write ``plan`` to a path, local or of an object store, or to an open binary file.

    Paths are replaced atomically. Targets that cannot be written at offsets (pipes, open files)
    get the same bytes in order, one bounded piece after the other. A new file
    that belongs to the file ``beside`` gets the mode of that.
    """
    assert plan.trailer is None or options.mode is None  # MindSpore could not read both
    if hasattr(target, "write"):
        with naming(getattr(target, "name", None)):
            _stream(plan, options, target.write)
        return
    path = paths.path_of(target)
    if isinstance(path, StorePath):
        _write_to_store(path, plan, options)
    elif path.exists() and not stat.S_ISREG(path.stat().st_mode):
        with naming(path), open(path, "wb", buffering=0) as pipe:
            _stream(plan, options, lambda data: _write_all(pipe.fileno(), data))
    else:
        # Write through a symbolic link, as open() would, instead of replacing the link.
        real = Path(os.path.realpath(path))
        with atomic.replacing(real, durable=options.durable, beside=beside) as file:
            if hasattr(os, "pwritev"):
                _write_at_offsets(file.fd, plan, options)
            else:
                _stream(plan, options, lambda data: _write_all(file.fd, data))


def staging(local: threading.local) -> np.ndarray:
    """The window of this thread, reused from chunk to chunk."""
    if not hasattr(local, "window"):
        local.window = np.empty(planning.STAGING_BYTES, np.uint8)
    return local.window


def checksum(
    parts: Iterable[Part], threads: int = THREADS, progress: Progress | None = None
) -> int:
    """The CRC32 of the bytes of ``parts``."""
    local = threading.local()

    def crc_of(chunk: Chunk) -> tuple[int, int]:
        value = crc.of_buffers(planning.buffers(chunk, staging(local)))
        _report(progress, chunk.nbytes)
        return value, chunk.nbytes

    return crc.join(in_threads(crc_of, planning.chunks(parts), threads))


def _write_at_offsets(fd: int, plan: Plan, options: Options) -> None:
    work = _encrypted if options.mode is not None else _plain
    work(fd, plan, options, 1 if plan.nbytes <= planning.CHUNK_BYTES else options.threads)


def _plain(fd: int, plan: Plan, options: Options, threads: int) -> None:
    local = threading.local()

    def crc_of_written(chunk: Chunk) -> tuple[int, int]:
        buffers = write_chunk(fd, chunk, options, local)
        return crc.of_buffers(buffers) if plan.trailer else 0, chunk.nbytes

    reserve(fd, plan.nbytes)
    sums = list(in_threads(crc_of_written, planning.chunks(plan.parts), threads))
    if plan.trailer:
        write_at(fd, plan.trailer(crc.join(sums)), plan.nbytes)


def write_chunk(fd: int, chunk: Chunk, options: Options, local: threading.local) -> list:
    """Write a chunk to its place, and return the buffers that it is made of."""
    buffers = planning.buffers(chunk, staging(local))
    write_vector(fd, buffers, chunk.nbytes, chunk.offset)
    if options.durable:
        begin_writeback(fd, chunk.offset, chunk.nbytes)
    _report(options.progress, chunk.nbytes)
    return buffers


def _encrypted(fd: int, plan: Plan, options: Options, threads: int) -> None:
    mode = options.mode
    assert mode is not None
    local = threading.local()
    per_block = mode.head_bytes + mode.cipher_bytes(cipher.BLOCK_BYTES)

    def write_block(block: _Block) -> bytes:
        head = block.start // cipher.BLOCK_BYTES * per_block
        at = head + mode.head_bytes
        encryptor = _encryptor(block, options)
        for data in _encrypt(encryptor, block, options, local):
            write_vector(fd, [data], len(data), at)
            if options.durable:
                begin_writeback(fd, at, len(data))
            at += len(data)
        write_at(fd, encryptor.head, head)  # only now is the tag known
        return encryptor.head

    size = cipher.encrypted_bytes(mode, plan.nbytes)
    reserve(fd, size)
    heads = list(in_threads(write_block, _blocks(plan, cipher.BLOCK_BYTES), threads))
    write_at(fd, _seal(heads, options), size)


def _encryptor(block: _Block, options: Options) -> cipher.BlockEncryptor:
    assert options.mode is not None
    sealed = options.sealed and options.mode.authenticated
    return cipher.BlockEncryptor(options.mode, options.key, block.stop - block.start, sealed)


def _seal(heads: list[bytes], options: Options) -> bytes:
    """The block that authenticates the others, where it is wanted and the mode can do it."""
    assert options.mode is not None
    if not options.sealed or not options.mode.authenticated:
        return b""
    return cipher.block_of(options.mode, options.key, cipher.seal(heads))


def _stream(plan: Plan, options: Options, put: Callable[[Any], Any]) -> None:
    """Write in order. An encrypted block is held back until its tag is known, so it is small."""
    local = threading.local()
    if options.mode is not None:
        heads: list[bytes] = []
        for block in _blocks(plan, min(cipher.BLOCK_BYTES, planning.CHUNK_BYTES)):
            encryptor = _encryptor(block, options)
            held = bytearray()
            for data in _encrypt(encryptor, block, options, local):
                held += data
            put(encryptor.head)
            put(held)
            heads.append(encryptor.head)
        put(_seal(heads, options))
        return
    sums: list[tuple[int, int]] = []
    for chunk in planning.chunks(plan.parts):
        buffers = planning.buffers(chunk, staging(local))
        for data in buffers:
            put(planning.as_bytes(data))
        if plan.trailer:
            sums.append((crc.of_buffers(buffers), chunk.nbytes))
        _report(options.progress, chunk.nbytes)
    if plan.trailer:
        put(plan.trailer(crc.join(sums)))


def _write_to_store(path: StorePath, plan: Plan, options: Options) -> None:
    """Write an object: in parts by several threads, or in order where that is not possible."""
    if options.mode is not None or not path.store.takes_parts:
        with uploads.stream(path, options.threads, options.held) as put:
            _stream(plan, options, put)
        return
    local = threading.local()

    def content(stretch: parts.Stretch) -> bytearray:
        data = parts.content(stretch, staging(local))
        _report(options.progress, len(data))
        return data

    uploads.write(path, plan, content, options.threads, options.held)


class _Block(NamedTuple):
    """The bytes ``[start, stop)`` of the plain stream, and the chunks that hold them."""

    start: int
    stop: int
    chunks: list[Chunk]


def _blocks(plan: Plan, size: int) -> Iterator[_Block]:
    """Cut the plan into cipher blocks. A chunk that straddles two belongs to both."""
    stream = planning.chunks(plan.parts)
    held: list[Chunk] = []
    for start in range(0, plan.nbytes, size):
        stop = min(start + size, plan.nbytes)
        held = [c for c in held if c.offset + c.nbytes > start]
        while not held or held[-1].offset + held[-1].nbytes < stop:
            held.append(next(stream))
        yield _Block(start, stop, held)


def _encrypt(
    encryptor: cipher.BlockEncryptor, block: _Block, options: Options, local: threading.local
) -> Iterator[memoryview | bytes]:
    """Yield the cipher bytes of a block, a window at a time; each is valid until the next."""
    if not hasattr(local, "cipher"):
        local.cipher = memoryview(bytearray(planning.CHUNK_BYTES + 16))
    for chunk in block.chunks:
        at = chunk.offset
        for buffer in map(planning.as_bytes, planning.buffers(chunk, staging(local))):
            data = buffer[max(block.start - at, 0) : max(block.stop - at, 0)]
            at += len(buffer)
            if data:
                yield local.cipher[: encryptor.update(data, local.cipher)]
                _report(options.progress, len(data))
    yield encryptor.finish()


def write_vector(fd: int, data: list, nbytes: int, offset: int) -> None:
    """Write buffers of ``nbytes`` in all to their place."""
    done = os.pwritev(fd, data, offset)
    if done < nbytes:  # a signal, or a disk that fills up: go on where it stopped
        write_at(fd, b"".join(map(planning.as_bytes, data))[done:], offset + done)


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Write bytes to their place, all of them or an error."""
    rest = memoryview(data)
    while rest:
        done = os.pwrite(fd, rest, offset)
        rest, offset = rest[done:], offset + done


def _write_all(fd: int, data: Any) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def begin_writeback(fd: int, offset: int, nbytes: int) -> None:
    """Let the disk work while the next piece is written: fsync then finds little left to do.

    No bytes stand for all to the end of the file.
    """
    if _sync_file_range is not None:
        _sync_file_range(fd, offset, nbytes, _SYNC_FILE_RANGE_WRITE)


def reserve(fd: int, size: int) -> None:
    """Allocate the file: faster to fill, and a full disk is noticed before a byte is written.

    In memory there is only a check for space: what is allocated there is filled with zeros first.
    """
    if size < planning.CHUNK_BYTES or not hasattr(os, "posix_fallocate"):
        return
    status = os.fstat(fd)
    if _in_memory(status.st_dev):
        room = os.fstatvfs(fd)  # without blocks there is no limit
        if room.f_blocks > 0 and room.f_bavail * room.f_frsize < size - status.st_blocks * 512:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            raise


@functools.lru_cache(64)
def _in_memory(device: int) -> bool:
    """Tell whether a file system, by the number of its device, is one of Linux in memory."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/mountinfo") as mounts:
        for line in mounts:
            mount, _, kind = line.partition(" - ")
            major, minor = map(int, mount.split()[2].split(":"))
            if os.makedev(major, minor) == device:
                return kind.split()[0] in ("tmpfs", "ramfs")
    return False


def _report(progress: Progress | None, nbytes: int) -> None:
    if progress is not None:
        progress(nbytes)

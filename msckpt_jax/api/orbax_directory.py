"""Write Orbax checkpoint directories window by window, and tell the layouts that they note.

Directories are read by :mod:`msckpt_jax.checkpoint.formats.orbax`. Orbax itself writes their
structure; the arrays' contents go through TensorStore, so that no tensor is ever held whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from orbax.checkpoint import future

from msckpt_jax import boxes, dtypes, names
from msckpt_jax.checkpoint import folder, narrowing, paths
from msckpt_jax.checkpoint.file import CheckpointFile
from msckpt_jax.checkpoint.formats.orbax import absolute, reading
from msckpt_jax.checkpoint.log import Done, Log
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel.layout import Layout

#: The most bytes of a chunk, and the number of chunks that are on their way to the disk at a time.
_CHUNK_BYTES, _IN_FLIGHT = 4 << 20, 2
#: After so many bytes those that were written are noted down.
STEP_BYTES = 64 << 20
#: The folder in which Orbax keeps the arrays of the first process until the directory is complete.
_DATABASE = "ocdbt.process_0"
#: The nodes of the database that are kept: Orbax keeps 100 MB of those that are outdated.
_CACHE = {"cache_pool#ocdbt": {"total_bytes_limit": 1 << 20}}


def layouts(file: CheckpointFile) -> dict[str, Layout]:
    """The layouts that the arrays of a directory had on their mesh when they were saved.

    Raises:
        CheckpointError: the arrays lay on no mesh, or on several.
    """
    out: dict[str, Layout] = {}
    for name, sharding in (file.shardings or {}).items():
        entry = file.entries.get(name)
        if entry is not None and entry.is_array and hasattr(sharding, "partition_spec"):
            with reading(file.path, "a sharding", name):
                out[name] = _layout(sharding, len(entry.shape))
    meshes = {layout.dev_matrix for layout in out.values()}
    if len(meshes) != 1:
        where = "the arrays were saved from several meshes" if meshes else "no array was on a mesh"
        raise CheckpointError(f"{where}; give --to", file=file.path, found=sorted(meshes) or None)
    (matrix,) = meshes
    for name, entry in file.entries.items():
        if entry.is_array and entry.shape:
            out.setdefault(name, Layout(matrix, ((),) * len(entry.shape)))
    return out


def _layout(sharding: Any, rank: int) -> Layout:
    """The layout of Orbax's description: the names of axes, the sizes of the mesh, a spec."""
    axes = list(sharding.axis_names)
    spec = (*sharding.partition_spec, *[None] * rank)[:rank]
    split = [() if s is None else (s,) if isinstance(s, str) else tuple(s) for s in spec]
    maps = tuple(tuple(len(axes) - 1 - axes.index(a) for a in dim) for dim in split)
    return Layout(tuple(int(n) for n in sharding.shape), maps)


class _Leaf:
    """A record as a leaf of the tree that Orbax saves."""

    def __init__(self, record: Record):
        content = record.content
        row = dtypes.BY_NAME[record.type]
        if isinstance(content, np.ndarray):
            content = Tensor(content.shape, row.stored, ((boxes.whole(content.shape), content),))
        assert isinstance(content, Tensor)
        pieces = narrowing.checked(content.pieces, row.stored, row.array, name=record.tag)
        self.content = content._replace(pieces=tuple(pieces))  # the bytes of Int4 may be packed
        self.shape, self.dtype = content.shape, row.array

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.content.stored.itemsize

    def chunk(self) -> tuple[int, ...]:
        """The shape of a chunk, of at most ``_CHUNK_BYTES``.

        A leaf that is made of the tensors of layers is cut into layers first, so that these are
        read in long runs; else the longest axis is halved, as on a mesh.
        """
        shape, layers = list(self.shape), [*filter(self._counts, range(len(self.shape)))]
        while math.prod(shape) * self.content.stored.itemsize > _CHUNK_BYTES:
            able = [axis for axis in layers if shape[axis] > 1] or range(len(shape))
            longest = max(able, key=shape.__getitem__)
            shape[longest] = -(-shape[longest] // 2)
        return tuple(shape)

    def _counts(self, axis: int) -> bool:
        """Tell whether each index on an axis is read from sources of its own: layers, experts."""
        whole = boxes.whole(self.shape)
        first = *whole[:axis], (0, 1), *whole[axis + 1 :]
        return 1 < self.shape[axis] * self._sources(first) <= self._sources(whole)

    def _sources(self, box: boxes.Box) -> int:
        sources = [source for _, source in boxes.origins_of(self.content.pieces, box)]
        return len({id(source) for source in sources})  # all are alive: no two have one id


class _Left(NamedTuple):
    """The database of a killed run of the same job, if there is one, and the log of its chunks."""

    database: Path
    log: Log

    def taken(self, directory: Any) -> int:
        """Put the database into the new directory; return the number of chunks that it has."""
        if self.log.last.units and self.database.is_dir():
            self.database.rename(Path(directory) / _DATABASE)
        else:
            self.log.clear()
        return self.log.last.units


class _Handler(ocp.type_handlers.TypeHandler):
    """The writer of leaves, chunk by chunk, a few in flight; Orbax reads them as NumPy arrays."""

    def __init__(self, progress: Callable[[int], Any] | None, left: _Left | None):
        self._progress, self._left = progress, left
        self._context: Any = None
        #: The chunks that are in the database, in their order, and those that it was found with.
        self._done = self._there = 0
        self._nbytes = 0

    def typestr(self) -> str:
        return "np.ndarray"

    async def serialize(
        self, values: Sequence[Any], infos: Sequence[Any], args: Any = None
    ) -> list[future.Future]:
        async def write() -> None:
            for number, (value, info) in enumerate(zip(values, infos, strict=True)):
                if hasattr(info, "await_path_creation"):  # newer versions make folders later
                    await info.await_path_creation()
                if number == 0 and self._left is not None:
                    self._there = self._left.taken(info.parent_dir)
                await self._write(value, info)

        return [future.CommitFutureAwaitingContractedSignals(write(), name="msckpt")]

    async def _write(self, leaf: _Leaf, info: Any) -> None:
        chunk = leaf.chunk()
        left = list(boxes.grid(leaf.shape, chunk))
        while left and self._done < self._there:
            self._count(boxes.size_of(left.pop(0)) * leaf.content.stored.itemsize)
        if not left:
            return
        store = await self._opened(leaf, info, chunk)
        waiting: list[tuple[Any, int]] = []
        stored = leaf.content.stored
        windows = np.empty((_IN_FLIGHT, math.prod(chunk)), stored)  # reused: all stay in memory
        for number, box in enumerate(left):
            if len(waiting) == _IN_FLIGHT:
                await self._written(*waiting.pop(0))
            window = windows[number % _IN_FLIGHT, : boxes.size_of(box)]
            window = window.reshape(boxes.shape_of(box))
            boxes.gather(leaf.content.pieces, box, window)
            index = boxes.slices(box, boxes.whole(leaf.shape))
            write = store[index].write(window.astype(leaf.dtype, copy=False))
            waiting.append((write, window.nbytes))
        for pending in waiting:
            await self._written(*pending)

    async def _opened(self, leaf: _Leaf, info: Any, chunk: tuple[int, ...]) -> Any:
        spec = ocp.type_handlers.get_json_tspec_write(
            info,
            use_ocdbt=True,
            global_shape=leaf.shape,
            local_shape=chunk,
            dtype=leaf.dtype,
            process_index=0,
        )
        if self._context is None:
            self._context = ts.Context(_CACHE, info.ts_context)
        spec, dtype = ts.Spec(spec), ts.dtype(leaf.dtype)
        return await ts.open(spec, open=True, create=True, dtype=dtype, context=self._context)

    async def _written(self, write: Any, nbytes: int) -> None:
        await write
        self._count(nbytes)
        self._nbytes += nbytes
        if self._left is not None and self._nbytes >= STEP_BYTES:
            self._left.log.add(Done(self._done, 0))
            self._nbytes = 0

    def _count(self, nbytes: int) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(nbytes)

    def memory_size(self, values: Sequence[Any]) -> list[tuple[int, int]]:
        return [(value.nbytes, value.nbytes) for value in values]

    async def metadata(self, infos: Sequence[Any]) -> Any:
        raise NotImplementedError("directories are read by Orbax's own handlers")

    async def deserialize(self, infos: Sequence[Any], args: Any = None) -> Any:
        raise NotImplementedError("directories are read by Orbax's own handlers")


def write(
    path: Any,
    records: Sequence[Record],
    metadata: Mapping[str, Any],
    progress: Callable[[int], Any] | None = None,
    resume: str | None = None,
) -> None:
    """Write records to a new Orbax directory, which appears when it is complete.

    The tree is nested dicts by the dots in the names.

    ``resume`` says of what the directory is made, so that only the same has its value: a run that
    is killed is continued by the next of the same value. ``progress`` is also called for the bytes
    that were there already.

    Raises:
        BlockingIOError: another process is writing it.
        CheckpointError: a name is both a leaf and the prefix of another, or a tensor has no
            elements (Orbax cannot hold it).
        FileExistsError: the path exists already.
        OSError: the system refuses, where a disk is full, say.
    """
    target = absolute(path)
    if target.exists():
        folder.discard(paths.path_of(path))
        raise FileExistsError(17, "Orbax writes to new directories only", str(target))
    leaves = dict(map(_leaf, records))
    job = _job(resume, leaves) if isinstance(paths.path_of(path), Path) else None
    with _system_errors(target), _left(target, job) as left:
        _save(target, names.nested(leaves), metadata, _Handler(progress, left))


@contextlib.contextmanager
def _system_errors(target: Any) -> Iterator[None]:
    """Raise the errors of the system, which TensorStore tells in its messages, as Python does."""
    try:
        yield
    except ValueError as error:
        number = re.search(r"os_error_code='(\d+)'", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(target)) from error


def _job(resume: str | None, leaves: Mapping[str, Any]) -> str | None:
    """A name that only the same chunks have, in the same order; None where others write, too."""
    if resume is None or not all(isinstance(leaf, _Leaf | str) for leaf in leaves.values()):
        return None
    chunks = [(name, leaf.shape, str(leaf.dtype), leaf.chunk())
              for name, leaf in leaves.items() if isinstance(leaf, _Leaf)]  # fmt: skip
    return hashlib.sha256(repr((resume, ocp.__version__, chunks)).encode()).hexdigest()[:32]


@contextlib.contextmanager
def _left(target: Any, job: str | None) -> Iterator[_Left | None]:
    """What a run of the job has left, if it goes on after a kill; a kill in the block leaves it."""
    if job is None:
        with _removed(target, BaseException):
            yield None
        return
    Path(target).parent.mkdir(parents=True, exist_ok=True)  # as Orbax does
    with folder.FolderSave(target, job=job) as save, save.log() as log, _removed(target, Exception):
        assert log is not None
        database = save.files / _DATABASE
        for temporary in _temporaries(target):
            there = Path(temporary) / _DATABASE
            whole = there.is_dir() and not there.is_symlink() and not database.exists()
            if log.last.units and whole:
                there.rename(database)
            temporary.rmtree()
        yield _Left(database, log)


@contextlib.contextmanager
def _removed(target: Any, kind: type[BaseException]) -> Iterator[None]:
    """Remove what Orbax has written of a directory when the block ends by an error of a kind."""
    try:
        yield
    except kind:
        for temporary in _temporaries(target):
            temporary.rmtree()
        raise


def _temporaries(target: Any) -> list[Any]:
    return [*target.parent.glob(f"{target.name}.orbax-checkpoint-tmp*")]


def _save(target: Any, tree: Any, metadata: Mapping[str, Any], leaves: _Handler) -> None:
    handlers = ocp.type_handlers
    registry = handlers.create_type_handler_registry(
        (str, handlers.get_type_handler(str)),
        (jax.Array, handlers.get_type_handler(jax.Array)),
        (_Leaf, leaves),
    )
    handler = ocp.PyTreeCheckpointHandler(type_handler_registry=registry)
    with ocp.Checkpointer(handler) as checkpointer:
        args = ocp.args.PyTreeSave(tree, custom_metadata=dict(metadata))
        checkpointer.save(target, args=args)


def _leaf(record: Record) -> tuple[str, Any]:
    """The name and the leaf of a record."""
    name, impl = names.of_tag(record.tag, record.type, record.dims)
    if record.type == dtypes.STRING:
        assert isinstance(record.content, bytes)
        return record.tag, record.content.decode("utf-32-le").rstrip("\0")
    leaf = _Leaf(record)
    if not leaf.nbytes:
        problem = "Orbax cannot save an array without elements; leave it out"
        raise CheckpointError(problem, name=record.tag)
    if impl is None:
        return record.tag, leaf
    data = np.empty(leaf.shape, np.uint32)
    boxes.gather(leaf.content.pieces, boxes.whole(leaf.shape), data)
    return name, jax.random.wrap_key_data(jnp.asarray(data), impl=impl)

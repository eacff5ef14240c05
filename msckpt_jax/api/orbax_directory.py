"""Write Orbax checkpoint directories window by window, and tell the layouts that they note.

Directories are read by :mod:`msckpt_jax.checkpoint.formats.orbax`. Orbax itself writes their
structure; the arrays' contents go through TensorStore, so that no tensor is ever held whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from orbax.checkpoint import future

from msckpt_jax import boxes, dtypes, names
from msckpt_jax.checkpoint import narrowing
from msckpt_jax.checkpoint.file import CheckpointFile
from msckpt_jax.checkpoint.formats.orbax import absolute, reading
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel.layout import Layout

#: The most bytes of a chunk, and the number of chunks that are on their way to the disk at a time.
_CHUNK_BYTES, _IN_FLIGHT = 4 << 20, 2
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


class _Handler(ocp.type_handlers.TypeHandler):
    """The writer of leaves, chunk by chunk, a few in flight; Orbax reads them as NumPy arrays."""

    def __init__(self, progress: Callable[[int], Any] | None):
        self._progress = progress
        self._context: Any = None

    def typestr(self) -> str:
        return "np.ndarray"

    async def serialize(
        self, values: Sequence[Any], infos: Sequence[Any], args: Any = None
    ) -> list[future.Future]:
        async def write() -> None:
            for value, info in zip(values, infos, strict=True):
                await self._write(value, info)

        return [future.CommitFutureAwaitingContractedSignals(write(), name="msckpt")]

    async def _write(self, leaf: _Leaf, info: Any) -> None:
        if hasattr(info, "await_path_creation"):  # newer versions make folders in the background
            await info.await_path_creation()
        chunk = leaf.chunk()
        spec = ocp.type_handlers.get_json_tspec_write(
            info,
            use_ocdbt=True,
            global_shape=leaf.shape,
            local_shape=chunk,
            dtype=leaf.dtype,
            process_index=0,
        )
        dtype = ts.dtype(leaf.dtype)
        if self._context is None:
            self._context = ts.Context(_CACHE, info.ts_context)
        store = await ts.open(ts.Spec(spec), create=True, dtype=dtype, context=self._context)
        waiting: list[tuple[Any, int]] = []
        stored = leaf.content.stored
        windows = np.empty((_IN_FLIGHT, math.prod(chunk)), stored)  # reused: all stay in memory
        for number, box in enumerate(boxes.grid(leaf.shape, chunk)):
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

    async def _written(self, write: Any, nbytes: int) -> None:
        await write
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
) -> None:
    """Write records to a new Orbax directory, which appears when it is complete.

    The tree is nested dicts by the dots in the names.

    Raises:
        CheckpointError: a name is both a leaf and the prefix of another, or a tensor has no
            elements (Orbax cannot hold it).
        FileExistsError: the path exists already.
    """
    target = absolute(path)
    if target.exists():
        raise FileExistsError(17, "Orbax writes to new directories only", str(target))
    tree = names.nested(dict(map(_leaf, records)))
    handlers = ocp.type_handlers
    registry = handlers.create_type_handler_registry(
        (str, handlers.get_type_handler(str)),
        (jax.Array, handlers.get_type_handler(jax.Array)),
        (_Leaf, _Handler(progress)),
    )
    handler = ocp.PyTreeCheckpointHandler(type_handler_registry=registry)
    try:
        with ocp.Checkpointer(handler) as checkpointer:
            args = ocp.args.PyTreeSave(tree, custom_metadata=dict(metadata))
            checkpointer.save(target, args=args)
    except BaseException:
        for temporary in target.parent.glob(f"{target.name}.orbax-checkpoint-tmp*"):
            temporary.rmtree()
        raise


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

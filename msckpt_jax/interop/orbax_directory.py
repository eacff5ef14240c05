"""Orbax checkpoint directories, read and written window by window.

Orbax (0.11, ``PyTreeCheckpointHandler``) keeps one zarr array a leaf, in one OCDBT database or in
folders of their own, and ``_METADATA`` with the tree. Its structure is read and written by Orbax
itself; the arrays' contents go through TensorStore, so that no tensor is ever held whole.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from etils import epath
from orbax.checkpoint import future

from msckpt_jax import boxes, dtypes, names
from msckpt_jax.checkpoint.entries import Entry, Stored
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel.layout import Layout

_TREE = "_METADATA"
#: Bytes of a zarr chunk that is written, before compression.
_CHUNK_BYTES = 8 << 20
_IN_FLIGHT = 2
_ROWS = {row.array: row for row in dtypes.TABLE} | {
    np.dtype(ml_dtypes.uint4): dtypes.BY_NAME["UInt8"]
}


def is_one(path: Any) -> bool:
    """Whether ``path`` is a folder that Orbax may have written."""
    folder = epath.Path(path)
    return folder.is_dir() and any(
        (folder / name).exists() for name in (_TREE, "_CHECKPOINT_METADATA", "manifest.ocdbt")
    )


class OrbaxDirectory(Mapping[str, Any]):
    """A directory as a mapping from names to arrays, which are read when asked for.

    The names are Orbax's dotted ones; the ``value`` that it writes below each ``nnx.Variable`` is
    left out, as :mod:`msckpt_jax.names` does. Its interface is that of a CheckpointFile.

    Attributes:
        path: of the item's folder. entries: names to dtypes and shapes.
        metadata: the tree's ``custom_metadata``.
        shardings: names to the NamedShardings with which the arrays were saved, as Orbax's
            metadata describe them.

    Raises:
        CheckpointError: no checkpoint, several items, or one older than Orbax's ``_METADATA``.
    """

    plan = None  # it has no ranks

    def __init__(self, path: Any):
        folder = _item_folder(_absolute(path))
        self.path = str(folder)
        try:
            found = ocp.PyTreeCheckpointHandler().metadata(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"Orbax cannot read its tree: {error}", file=folder) from error
        self.metadata: dict[str, Any] = dict(found.custom_metadata or {}) | _metadata_above(folder)
        leaves = jax.tree.leaves(found.tree, is_leaf=lambda leaf: hasattr(leaf, "directory"))
        self._where = _short_names([leaf.name for leaf in leaves])
        keys = _key_implementations(folder)
        self.entries: dict[str, Entry] = {}
        self.shardings: dict[str, Any] = {}
        cache = 0
        for name, leaf in zip(self._where, leaves, strict=True):
            self.entries[name] = _entry(name, leaf, keys.get(leaf.name))
            if getattr(leaf, "sharding", None) is not None:
                self.shardings[name] = leaf.sharding
            cache = max(cache, _bytes_of_chunk_row(leaf))
        self._zarr3 = bool(found.use_zarr3)
        # Windows are rows, chunks may be columns: those that the next window needs are kept.
        self._context = ts.Context({"cache_pool": {"total_bytes_limit": 2 * cache}})

    def __getitem__(self, name: str) -> Any:
        entry = self.entries[name]
        if entry.type == dtypes.STRING:
            return str(self._strings[self._where[name]])
        store = self._store(name)
        array = np.asarray(store.read().result())
        return (
            jax.random.wrap_key_data(jnp.asarray(array), impl=entry.key_impl)
            if entry.key_impl
            else array
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def layouts(self) -> dict[str, Layout]:
        """How the arrays lay on their mesh when they were saved.

        Raises:
            CheckpointError: they lay on no mesh, or on several.
        """
        out, meshes = {}, {}
        for name, sharding in self.shardings.items():
            if self.entries[name].is_array and hasattr(sharding, "partition_spec"):
                axes = list(sharding.axis_names)
                sizes = tuple(int(n) for n in sharding.shape)
                rank = len(self.entries[name].shape)
                spec = (*sharding.partition_spec, *[None] * rank)[:rank]
                split = [
                    () if s is None else (s,) if isinstance(s, str) else tuple(s) for s in spec
                ]
                maps = tuple(tuple(len(axes) - 1 - axes.index(a) for a in dim) for dim in split)
                out[name] = Layout(sizes, maps)
                meshes[sizes] = name
        if len(meshes) != 1:
            problem = (
                "the arrays were saved from several meshes" if meshes else "no array was on a mesh"
            )
            raise CheckpointError(
                f"{problem}; give --to", file=self.path, found=list(meshes) or None
            )
        matrix = next(iter(meshes))
        for name, entry in self.entries.items():
            if entry.is_array and entry.shape:
                out.setdefault(name, Layout(matrix, ((),) * len(entry.shape)))
        return out

    def pieces(self, name: str, box: boxes.Box | None = None) -> list[boxes.Piece]:
        """The tensor as one piece whose parts are read when it is indexed."""
        shape = self.entries[name].tensors[0].shape
        return [(boxes.whole(shape), _Lazy(self._store(name)))]

    def _store(self, name: str) -> Any:
        path = self._where[name]
        base = self.path if "://" in self.path else f"file://{Path(self.path).absolute()}"
        kvstore: Any = f"{base}/{path}/"
        if (epath.Path(self.path) / "manifest.ocdbt").exists():
            kvstore = {"driver": "ocdbt", "base": f"{base}/", "path": f"{path}/"}
        spec = {"driver": "zarr3" if self._zarr3 else "zarr", "kvstore": kvstore}
        try:
            return ts.open(spec, open=True, read=True, context=self._context).result()
        except ValueError as error:
            raise CheckpointError(str(error), file=self.path, name=name) from None

    @functools.cached_property
    def _strings(self) -> dict[str, Any]:
        return _json(epath.Path(self.path) / "_strings.json")


def _absolute(path: Any) -> epath.Path:
    return epath.Path(path) if "://" in str(path) else epath.Path(Path(path).absolute())


class _Lazy:
    """A TensorStore as a source of a piece."""

    def __init__(self, store: Any):
        self.store = store

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self.store[index].read().result())


def _item_folder(path: epath.Path) -> epath.Path:
    """The folder of the one tree: Orbax puts items in folders of their own below the step."""
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is not an Orbax directory")
    if (path / _TREE).exists():
        return path
    items = sorted(part.name for part in path.iterdir() if (part / _TREE).exists())
    if len(items) == 1:
        return path / items[0]
    problem = "no tree of Orbax is in it"
    steps = sorted((p.name for p in path.iterdir() if p.name.isdigit() and p.is_dir()), key=int)
    if items:
        problem = f"it holds several items, {', '.join(items)}: name one of these folders"
    elif steps:
        problem = f"it holds steps: name one, {path / steps[-1]}"
    elif (path / "checkpoint").exists() or (path / "manifest.ocdbt").exists():
        problem = f"it has no {_TREE}: restore it with Orbax and save it again"
    raise CheckpointError(problem, file=path)


def _short_names(found: Sequence[str]) -> dict[str, str]:
    """Names without the ``value`` of ``nnx.Variable``: short ones to those in the directory."""
    below: dict[str, int] = {}
    for name in found:
        parts = name.split(".")
        for depth in range(1, len(parts)):
            parent = ".".join(parts[:depth])
            below[parent] = below.get(parent, 0) + 1
    out = {}
    for name in found:
        parent, _, last = name.rpartition(".")
        out[parent if last == "value" and below.get(parent) == 1 else name] = name
    return out


def _entry(name: str, leaf: Any, impl: str | None) -> Entry:
    if type(leaf).__name__ == "StringMetadata":
        return Entry(name, name, 0, (Stored(dtypes.STRING, (0,), ((0, 0),)),))
    dtype, shape = np.dtype(leaf.dtype), tuple(leaf.shape or ())
    row = _ROWS.get(dtype)
    if row is None:
        raise CheckpointError(f"dtype {dtype.name} has no counterpart in MindSpore", name=name)
    nbytes = math.prod(shape) * row.stored.itemsize
    tag = names.key_tag(name, impl) if impl else name
    return Entry(name, tag, 0, (Stored(row.name, shape, ((0, nbytes),)),), key_impl=impl)


def _bytes_of_chunk_row(leaf: Any) -> int:
    """The bytes of all chunks that hold the first row of a tensor."""
    shape = tuple(getattr(leaf, "shape", None) or ())
    chunk = tuple(getattr(getattr(leaf, "storage", None), "chunk_shape", None) or ())
    if not shape or not chunk:
        return 1 << 20
    return min(chunk[0], shape[0]) * math.prod(shape[1:]) * np.dtype(leaf.dtype).itemsize


def _key_implementations(folder: epath.Path) -> dict[str, str]:
    """Which arrays are the data of typed PRNG keys."""
    out: dict[str, str] = {}
    for file in sorted((folder / "array_metadatas").glob("process_*")):
        for item in _json(file).get("array_metadatas", ()):
            one = item["array_metadata"]
            impl = (one.get("ext_metadata") or {}).get("random_key_impl")
            if impl:
                out[one["param_name"]] = impl
    return out


def _metadata_above(folder: epath.Path) -> dict[str, Any]:
    """The v1 API keeps ``custom_metadata`` beside the item's folder."""
    for place in (folder, folder.parent):
        file = place / "_CHECKPOINT_METADATA"
        if file.exists():
            return dict(_json(file).get("custom_metadata") or {})
    return {}


def _json(path: epath.Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"it is not as Orbax writes it: {error}", file=path) from None


# Writing


class _Leaf:
    """A record as a leaf of the tree that Orbax saves."""

    def __init__(self, record: Record):
        content = record.content
        row = dtypes.BY_NAME[record.type]
        if isinstance(content, np.ndarray):
            content = Tensor(content.shape, row.stored, ((boxes.whole(content.shape), content),))
        assert isinstance(content, Tensor)
        self.content, self.shape, self.dtype = content, content.shape, row.array

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.content.stored.itemsize

    def chunk(self) -> tuple[int, ...]:
        """Rows of at most ``_CHUNK_BYTES``."""
        limit = max(1, _CHUNK_BYTES // self.content.stored.itemsize)
        first = next(boxes.of_range(self.shape, 0, math.prod(self.shape), limit), None)
        return boxes.shape_of(first) if first is not None else self.shape


class _Handler(ocp.type_handlers.TypeHandler):
    """Writes leaves chunk by chunk, a few in flight; they are NumPy arrays when read again."""

    def __init__(self, progress: Callable[[int], Any] | None):
        self._progress = progress

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
        spec = ocp.type_handlers.get_json_tspec_write(
            info,
            use_ocdbt=True,
            global_shape=leaf.shape,
            local_shape=leaf.chunk(),
            dtype=leaf.dtype,
            process_index=0,
        )
        dtype = ts.dtype(leaf.dtype)
        store = await ts.open(ts.Spec(spec), create=True, dtype=dtype, context=info.ts_context)
        waiting: list[tuple[Any, int]] = []
        limit = max(1, math.prod(leaf.chunk()))
        for box in boxes.of_range(leaf.shape, 0, math.prod(leaf.shape), limit):
            window = np.empty(boxes.shape_of(box), leaf.content.stored)
            boxes.gather(leaf.content.pieces, box, window)
            index = boxes.slices(box, boxes.whole(leaf.shape))
            waiting.append(
                (store[index].write(window.astype(leaf.dtype, copy=False)), window.nbytes)
            )
            if len(waiting) == _IN_FLIGHT:
                await self._written(*waiting.pop(0))
        for one in waiting:
            await self._written(*one)

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
    found: Sequence[Record],
    metadata: Mapping[str, Any],
    progress: Callable[[int], Any] | None = None,
) -> None:
    """Write records to a new Orbax directory, which appears when it is complete.

    The tree is nested dicts by the dots in the names.

    Raises:
        CheckpointError: a name is both a leaf and the prefix of another, or a tensor has no
            elements (Orbax cannot hold it).
        FileExistsError: something is there already.
    """
    target = _absolute(path)
    if target.exists():
        raise FileExistsError(17, "Orbax writes to new directories only", str(target))
    tree = names.nested(dict(map(_leaf, found)))
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
    name, impl = names.split_key_tag(record.tag)
    if record.type == dtypes.STRING:
        assert isinstance(record.content, bytes)
        return record.tag, record.content.decode("utf-32-le").rstrip("\0")
    leaf = _Leaf(record)
    if not leaf.nbytes:
        problem = "Orbax cannot save arrays without elements; leave it out"
        raise CheckpointError(problem, name=record.tag)
    if impl is None:
        return record.tag, leaf
    data = np.empty(leaf.shape, np.uint32)
    boxes.gather(leaf.content.pieces, boxes.whole(leaf.shape), data)
    return name, jax.random.wrap_key_data(jnp.asarray(data), impl=impl)

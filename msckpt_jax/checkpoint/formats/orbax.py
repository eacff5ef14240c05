"""Orbax checkpoint directories, read window by window.

Orbax (0.11, ``PyTreeCheckpointHandler``) keeps one zarr array a leaf, in one OCDBT database or in
folders of their own, and ``_METADATA`` with the tree. Orbax itself reads the tree; the arrays'
contents go through TensorStore, so that no tensor is ever held whole. Names are Orbax's dotted
names without the ``value`` that it writes below each ``nnx.Variable``, as in
:mod:`msckpt_jax.names`.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from msckpt_jax import boxes, dtypes, names
from msckpt_jax.checkpoint.entries import Entry, Problem, Stored
from msckpt_jax.checkpoint.formats.format import Contents, Format
from msckpt_jax.checkpoint.leaves import encode_string
from msckpt_jax.checkpoint.paths import PathLike, check_regular
from msckpt_jax.checkpoint.source import Source
from msckpt_jax.errors import CheckpointError
from msckpt_jax.lazy import epath

_TREE, _STEP, _DATABASE = "_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt"
#: The file of checkpoints that are older than ``_METADATA``.
_OLD = "checkpoint"
#: The stores of Orbax. It takes other URLs for local folders, with names like ``s3:``.
_STORES = ("gs://",)
#: The bytes of a row of chunks where nothing tells their size.
_ROW_BYTES = 1 << 20
_ROWS = {row.array: row for row in dtypes.TABLE} | {
    np.dtype(ml_dtypes.uint4): dtypes.BY_NAME["UInt8"]
}


def recognises(source: Source) -> bool:
    """Tell whether Orbax may have written a folder: a tree, the items of a step, or steps."""
    if source.data is not None:
        return False
    if {_TREE, _STEP, _DATABASE, _OLD} & {*source.names}:
        return True
    inner = (source.path / name / file for name in source.names for file in (_TREE, _STEP))
    return any(path.exists() for path in inner)


def contents(source: Source, problem: Problem) -> Contents:
    """The leaves of the tree; arrays are read when they are asked for.

    Raises:
        CheckpointError: the folder holds no checkpoint, several items, or a checkpoint that is
            older than Orbax's ``_METADATA``.
    """
    folder = _item_folder(absolute(source.path))
    with reading(folder, "the tree"):
        if "://" not in str(folder):
            check_regular(Path(folder))
        return _contents(folder, problem)


@contextlib.contextmanager
def reading(folder: Any, what: str, name: str | None = None) -> Iterator[None]:
    """Give any error within, Orbax's, TensorStore's or Python's, as one of the folder.

    Files that are not as Orbax writes them raise whatever the code that meets them happens to.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        problem = f"Orbax cannot read {what}: {reason}"
        raise CheckpointError(problem, file=folder, name=name) from error


def _contents(folder: epath.Path, problem: Problem) -> Contents:
    import jax
    import orbax.checkpoint as ocp

    saved = ocp.PyTreeCheckpointHandler().metadata(folder)
    leaves = jax.tree.leaves(saved.tree, is_leaf=lambda leaf: hasattr(leaf, "directory"))
    by_name: dict[str, Any] = {}
    for name, leaf in zip(_short_names([leaf.name for leaf in leaves]), leaves, strict=True):
        if by_name.setdefault(name, leaf) is not leaf:
            raise CheckpointError("two leaves of the tree have this name", file=folder, name=name)
    texts = _texts(folder, by_name)
    store = _Store(folder, bool(saved.use_zarr3), by_name.values())
    entries = _entries(by_name, texts, store, problem)
    metadata = dict(saved.custom_metadata or {}) | _metadata_above(folder)
    shardings = {name: getattr(leaf, "sharding", None) for name, leaf in by_name.items()}
    return Contents(
        entries,
        memoryview(b"".join(texts.values())),
        sum(entry.nbytes for entry in entries.values()),
        (),
        metadata,
        metadata,
        {name: sharding for name, sharding in shardings.items() if sharding is not None},
    )


def absolute(path: PathLike) -> epath.Path:
    """The absolute path, which Orbax needs.

    Raises:
        CheckpointError: the path is in a store that Orbax does not know.
    """
    text = os.fspath(path)
    if "://" not in text:
        return epath.Path(Path(text).absolute())
    if not text.startswith(_STORES):
        problem = "Orbax has its directories on local disks and gs:// only: copy it to one of these"
        raise CheckpointError(problem, file=text)
    return epath.Path(text)


def _item_folder(path: epath.Path) -> epath.Path:
    """The folder of the only tree: Orbax puts items in folders of their own below the step."""
    if (path / _TREE).exists():
        return path
    items = sorted(part.name for part in path.iterdir() if (part / _TREE).exists())
    if len(items) == 1:
        return path / items[0]
    problem = "the folder holds no tree of Orbax"
    steps = sorted((p.name for p in path.iterdir() if p.name.isdigit() and p.is_dir()), key=int)
    if items:
        problem = f"the folder holds several items, {', '.join(items)}: name one of these folders"
    elif steps:
        problem = f"the folder holds steps: name one of them, such as {path / steps[-1]}"
    elif (path / _OLD).exists() or (path / _DATABASE).exists():
        problem = f"the checkpoint has no {_TREE}: restore it with Orbax and save it again"
    raise CheckpointError(problem, file=path)


def _short_names(dotted: Sequence[str]) -> list[str]:
    """The names without the ``value`` of ``nnx.Variable``."""
    below: dict[str, int] = {}
    for name in dotted:
        parts = name.split(".")
        for depth in range(1, len(parts)):
            parent = ".".join(parts[:depth])
            below[parent] = below.get(parent, 0) + 1
    out = []
    for name in dotted:
        parent, _, last = name.rpartition(".")
        out.append(parent if last == "value" and below.get(parent) == 1 else name)
    for name, count in Counter(out).items():
        if count > 1:
            raise CheckpointError(f"{count} leaves of the tree have this name", name=name)
    return out


# Entries


def _texts(folder: epath.Path, leaves: Mapping[str, Any]) -> dict[str, bytes]:
    """The strings, encoded as in a ``.ckpt``: Orbax keeps them all in one small file."""
    held = {n: leaf for n, leaf in leaves.items() if type(leaf).__name__ == "StringMetadata"}
    texts = _json(folder / "_strings.json") if held else {}
    return {name: encode_string(name, str(texts[leaf.name])) for name, leaf in held.items()}


def _entries(
    leaves: Mapping[str, Any], texts: Mapping[str, bytes], store: _Store, problem: Problem
) -> dict[str, Entry]:
    stops = itertools.accumulate(map(len, texts.values()))
    spans = {name: (stop - len(texts[name]), stop) for name, stop in zip(texts, stops, strict=True)}
    impls = _key_implementations(store.folder)
    entries: dict[str, Entry] = {}
    for name, leaf in leaves.items():
        if name in spans:
            entries[name] = Entry(name, name, 0, (Stored(dtypes.STRING, (0,), (spans[name],)),))
            continue
        try:
            entries[name] = _array_entry(name, leaf, store, impls.get(leaf.name))
        except CheckpointError as error:
            problem(error)
    return entries


def _array_entry(name: str, leaf: Any, store: _Store, impl: str | None) -> Entry:
    dtype, shape = np.dtype(leaf.dtype), tuple(leaf.shape or ())
    row = _ROWS.get(dtype)
    if row is None:
        raise CheckpointError(f"dtype {dtype.name} has no counterpart in MindSpore", name=name)
    array = _Array(store, leaf.name, name, shape, row.stored)
    nbytes = math.prod(shape) * row.stored.itemsize
    _check_chunks(name, leaf, nbytes)
    tag = names.key_tag(name, impl) if impl else name
    return Entry(name, tag, 0, (Stored(row.name, shape, ((0, nbytes),), array),), key_impl=impl)


#: The bytes of a chunk that any array may have; chunks at the edges are padded.
_CHUNK_BYTES = 64 << 20
#: The chunks that any array may have, and the size from which there may be more. Each takes time,
#: though it is not there: then it holds the fill value.
_CHUNKS, _SMALL_CHUNK_BYTES = 1 << 16, 1 << 16


def _check_chunks(name: str, leaf: Any, nbytes: int) -> None:
    """Refuse chunks that are larger than their array, as each is made in memory, and too many."""
    storage = getattr(leaf, "storage", None)
    for kind in ("chunk_shape", "write_shape"):
        chunk = getattr(storage, kind, None) or ()
        size = math.prod(chunk) * np.dtype(leaf.dtype).itemsize
        if size > max(2 * nbytes, _CHUNK_BYTES):
            told = f"{size:,} bytes, {kind} {list(chunk)}"
            raise CheckpointError(
                "a chunk is larger than its array", name=name, expected=nbytes, found=told
            )
        count = math.prod(-(-n // max(c, 1)) for n, c in zip(leaf.shape or (), chunk, strict=False))
        if chunk and count > _CHUNKS and size < _SMALL_CHUNK_BYTES:
            raise CheckpointError(
                "the chunks are too small to be so many: an array that takes minutes to read",
                name=name,
                expected=f"at most {_CHUNKS:,} chunks, or chunks of {_SMALL_CHUNK_BYTES:,} bytes",
                found=f"{count:,} chunks of {size:,} bytes",
            )


def _key_implementations(folder: epath.Path) -> dict[str, str]:
    """The implementations of typed PRNG keys, by the names of the arrays that hold their data."""
    out: dict[str, str] = {}
    for file in sorted((folder / "array_metadatas").glob("process_*")):
        for item in _json(file).get("array_metadatas", ()):
            about = item["array_metadata"]
            impl = (about.get("ext_metadata") or {}).get("random_key_impl")
            if impl:
                out[about["param_name"]] = impl
    return out


def _metadata_above(folder: epath.Path) -> dict[str, Any]:
    """The ``custom_metadata``, which the v1 API keeps beside the item's folder."""
    for place in (folder, folder.parent):
        file = place / _STEP
        if file.exists():
            return dict(_json(file).get("custom_metadata") or {})
    return {}


def _json(path: epath.Path) -> Any:
    try:
        if not path.is_file():
            raise OSError("no regular file")
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the file is not as Orbax writes it: {error}", file=path) from None


# Arrays


class _Store:
    """The arrays of a directory, opened by TensorStore with one cache for all."""

    def __init__(self, folder: epath.Path, zarr3: bool, leaves: Iterable[Any]):
        import tensorstore as ts

        self.folder = folder
        self._driver = "zarr3" if zarr3 else "zarr"
        self._database = (folder / _DATABASE).exists()
        # Windows are rows, chunks may be columns: the chunks that the next window needs are kept.
        cache = 2 * max(map(_bytes_of_chunk_row, leaves), default=0)
        self._context = ts.Context({"cache_pool": {"total_bytes_limit": cache}})
        self._no_cache = ts.Context({"cache_pool": {"total_bytes_limit": 0}})

    def open(self, path: str, cached: bool) -> Any:
        """Open the array in a folder; ``cached`` chunks stay in memory for the next read."""
        import tensorstore as ts

        text = str(self.folder)
        base = text if "://" in text else f"file://{text}"
        kvstore: Any = f"{base}/{path}/"
        if self._database:
            kvstore = {"driver": "ocdbt", "base": f"{base}/", "path": f"{path}/"}
        spec = {"driver": self._driver, "kvstore": kvstore}
        context = self._context if cached else self._no_cache
        return ts.open(spec, open=True, read=True, context=context).result()


def _bytes_of_chunk_row(leaf: Any) -> int:
    """The bytes of all chunks that hold the first row of a tensor."""
    shape = tuple(getattr(leaf, "shape", None) or ())
    chunk = tuple(getattr(getattr(leaf, "storage", None), "chunk_shape", None) or ())
    if not shape or not chunk:
        return _ROW_BYTES
    return min(chunk[0], shape[0]) * math.prod(shape[1:]) * np.dtype(leaf.dtype).itemsize


class _Array:
    """An array as the source of a piece: indexing it reads just that part.

    Who reads boxes of it in many small parts, holds them for the time: then each is decoded once.
    """

    def __init__(
        self, store: _Store, path: str, name: str, shape: tuple[int, ...], stored: np.dtype
    ):
        self._store, self._path, self._name = store, path, name
        self.shape, self.dtype = shape, stored
        self._held: dict[boxes.Box, Any] = {}

    def _open(self, cached: bool) -> Any:
        array = self._store.open(self._path, cached)
        if tuple(array.shape) != self.shape:
            raise CheckpointError(
                "the array has another shape than the metadata say",
                file=self._store.folder,
                name=self._name,
                expected=list(self.shape),
                found=list(array.shape),
            )
        return array

    @functools.cached_property
    def _cached(self) -> Any:
        return self._open(cached=True)

    @functools.cached_property
    def _uncached(self) -> Any:
        return self._open(cached=False)

    @functools.cached_property
    def chunk(self) -> tuple[int, ...]:
        """The shape of the boxes that are decoded as a whole."""
        with self._reading():
            return tuple(self._uncached.chunk_layout.read_chunk.shape or self.shape)

    def hold(self, box: boxes.Box) -> None:
        """Begin to decode a box, which stays in memory until it is dropped."""
        import tensorstore as ts

        with self._reading():
            array = self._uncached[boxes.slices(box, boxes.whole(self.shape))]
            part = np.empty(array.shape, array.dtype.numpy_dtype)  # in few large pages
            done = ts.array(part).write(array)
        self._held = {**self._held, box: (part, done)}  # threads go through the old one

    def drop(self, box: boxes.Box) -> None:
        """Forget a box that is held."""
        self._held = {held: part for held, part in self._held.items() if held != box}

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        with self._reading():
            part = self._of_held(boxes.from_index(index, self.shape))
            if part is None:
                part = np.asarray(self._cached[index].read().result())
            return part.astype(self.dtype, copy=False)

    def _of_held(self, box: boxes.Box) -> np.ndarray | None:
        """A box from those that are held, as a view if it lies in one; None if it does not."""
        parts, size = [], 0
        for held, (part, done) in self._held.items():
            common = boxes.intersect(held, box)
            if common is not None:
                done.result()
                parts.append((held, part))
                size += boxes.size_of(common)
        if not parts or size < boxes.size_of(box):
            return None
        view = boxes.view(parts, box)
        if view is None:
            view = np.empty(boxes.shape_of(box), self.dtype)
            boxes.gather(parts, box, view)
        return view

    def _reading(self) -> contextlib.AbstractContextManager[None]:
        return reading(self._store.folder, "an array", self._name)


FORMAT = Format("orbax", recognises, contents, strings=True, metadata=True, several=True)

"""The index of a file: every entry's name, dtype, shape and byte ranges, from one pass."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import dtypes, names
from msckpt_jax.checkpoint import boxes, collector, wire
from msckpt_jax.checkpoint.source import RemoteBytes, RemotePiece
from msckpt_jax.errors import CheckpointError
from msckpt_jax.interop import safetensors

#: ``tensor_type`` of MapTensors: MindSpore writes NumPy's names there.
_MAP_TYPES = {
    str(row.array): row for row in dtypes.TABLE if row.array.kind in "iuf" and row.name != "Int4"
}


#: ``tensor_type`` of MindSpore 2.0's snapshot of random states; its bytes are read as they are.
_RANDOM_STATE = "random_op"


class Stored(NamedTuple):
    """A tensor in a file: its bytes are the concatenation of ``spans`` (start, stop)."""

    type: str
    shape: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def nbytes(self) -> int:
        return sum(stop - start for start, stop in self.spans)

    @property
    def row(self) -> dtypes.DType:
        return dtypes.BY_NAME.get(self.type) or _MAP_TYPES[self.type]


class Entry(NamedTuple):
    """One named entry of a file.

    Attributes:
        name: the parameter's name.
        tag: the name in the file; it differs from ``name`` for typed PRNG keys.
        offset: byte offset of its first record.
        tensors: one tensor, or the three of a MapTensor (keys, values, status).
        is_map: whether it is a MapTensor.
        key_impl: implementation of a typed PRNG key, or None.
    """

    name: str
    tag: str
    offset: int
    tensors: tuple[Stored, ...]
    is_map: bool = False
    key_impl: str | None = None

    @property
    def type(self) -> str:
        return "MapTensor" if self.is_map else self.tensors[0].type

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array; of keys for a MapTensor; of the key array for PRNG keys."""
        shape = self.tensors[0].shape
        return shape[:-1] if self.key_impl else shape

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def slices(self) -> int:
        return len(self.tensors[0].spans)

    @property
    def is_array(self) -> bool:
        """Whether it is a plain array: no string, no MapTensor, no PRNG key."""
        return not self.is_map and not self.key_impl and self.type != dtypes.STRING


Problem = Callable[[CheckpointError], Any]


@collector.paused()
def of_ckpt(data: Any, size: int, problem: Problem) -> dict[str, Entry]:
    """The entries of a ``.ckpt`` payload of ``size`` bytes; what is wrong goes to ``problem``.

    Consecutive records of one tag are slices of one tensor, with the dims and type of the last;
    of repetitions further apart the last counts (both as in MindSpore 2.10).
    """
    entries: dict[str, Entry] = {}
    for tag, group in itertools.groupby(_records(data, size, problem), lambda r: r.tag):
        parts = list(group)
        try:
            entry = _entry(tag, parts)
            _check(entry, data)
        except CheckpointError as error:
            problem(error)
        else:
            entries[entry.name] = entry
    return entries


@collector.paused()
def of_safetensors(data: Any, size: int, problem: Problem) -> tuple[dict[str, Entry], dict]:
    """The entries of a safetensors file in the order of their names, and its metadata."""
    head = safetensors.header(data, size)
    entries: dict[str, Entry] = {}
    for tag, (kind, shape, start, stop) in sorted(head.tensors.items()):
        row = dtypes.BY_SAFETENSORS.get(kind)
        try:
            if row is None:
                raise CheckpointError("unknown dtype", name=tag, offset=start, found=kind)
            if head.metadata.get(tag) == "Int4" and row.name == "Int8":
                row = dtypes.BY_NAME["Int4"]
            entry = _named(tag, start, (Stored(row.name, shape, ((start, stop),)),))
            _check(entry, data)
        except CheckpointError as error:
            problem(error)
        else:
            entries[entry.name] = entry
    return entries, head.metadata


def _records(data: Any, size: int, problem: Problem) -> Iterable[wire.RawRecord]:
    try:
        yield from wire.records(data, size)
    except wire.WireError as error:
        problem(CheckpointError(error.problem, offset=error.offset))


def _entry(tag: str, parts: list[wire.RawRecord]) -> Entry:
    last = parts[-1]
    if last.is_map:
        return Entry(tag, tag, parts[0].offset, _map_tensors(tag, parts), is_map=True)
    spans = tuple((t.start, t.stop) for p in parts if not p.is_map for t in p.tensors)
    return _named(tag, parts[0].offset, (_stored(last.tensors[0], spans),))


def _named(tag: str, offset: int, tensors: tuple[Stored, ...]) -> Entry:
    name, impl = names.split_key_tag(tag)
    if impl is not None and (tensors[0].type != "UInt32" or not tensors[0].shape):
        name, impl = tag, None  # somebody else's name that only looks like a key's
    return Entry(name, tag, offset, tensors, key_impl=impl)


def _stored(raw: wire.RawTensor, spans: tuple[tuple[int, int], ...]) -> Stored:
    shape = raw.dims
    if raw.type == _RANDOM_STATE:
        return Stored("UInt8", (sum(b - a for a, b in spans),), spans)
    # Up to about version 2.0 MindSpore wrote scalars as dims [0].
    if shape == (0,) and raw.type != dtypes.STRING and sum(b - a for a, b in spans):
        shape = ()
    row = dtypes.BY_NAME.get(raw.type)
    return Stored(row.name if row else raw.type, shape, spans)


def _map_tensors(tag: str, parts: list[wire.RawRecord]) -> tuple[Stored, ...]:
    """Keys, values and status; slices are joined along axis 0."""
    if any(len(p.tensors) != 3 or not all(t.dims for t in p.tensors) for p in parts):
        raise CheckpointError(
            "a MapTensor holds three tensors of at least one dimension",
            name=tag,
            offset=parts[0].offset,
        )
    out = []
    for pieces in zip(*(p.tensors for p in parts), strict=True):
        if len({(t.type, t.dims[1:]) for t in pieces}) > 1:
            raise CheckpointError("its slices differ in dtype or shape", name=tag)
        shape = (sum(t.dims[0] for t in pieces), *pieces[0].dims[1:])
        out.append(Stored(pieces[0].type, shape, tuple((t.start, t.stop) for t in pieces)))
    return tuple(out)


def _check(entry: Entry, data: Any) -> None:
    """The bytes must be as many as dtype and shape say: MindSpore pads and cuts in silence."""
    known = _MAP_TYPES if entry.is_map else dtypes.BY_NAME
    for tensor in entry.tensors:
        where = {"name": entry.tag, "offset": entry.offset}
        if tensor.type == dtypes.STRING and not entry.is_map:
            string(data, entry)
            continue
        if tensor.type not in known:
            raise CheckpointError("unknown dtype", found=tensor.type, **where)
        if any(n >= 2**63 for n in tensor.shape):
            raise CheckpointError("a dimension is negative", **where)
        expected = math.prod(tensor.shape) * known[tensor.type].stored.itemsize
        if expected != tensor.nbytes:
            raise CheckpointError(
                f"the content does not fit {tensor.type}{list(tensor.shape)}",
                expected=f"{expected} bytes",
                found=tensor.nbytes,
                **where,
            )


def string(data: Any, entry: Entry) -> str:
    """The text of a string entry: UTF-32-LE, trailing NULs are NumPy's padding."""
    raw = joined(data, entry.tensors[0])
    try:
        return bytes(raw).decode("utf-32-le").rstrip("\0")
    except UnicodeDecodeError:
        raise CheckpointError(
            "the string is not UTF-32-LE text", name=entry.tag, offset=entry.offset
        ) from None


def joined(data: Any, tensor: Stored) -> Any:
    """The bytes of a tensor: a view when they lie in one piece."""
    if len(tensor.spans) == 1:
        start, stop = tensor.spans[0]
        return data[start:stop]
    return b"".join(data[start:stop] for start, stop in tensor.spans)


def pieces(data: Any, tensor: Stored) -> list[boxes.Piece]:
    """The tensor as pieces that are views of the file, in the dtype in which it is stored."""
    dtype, shape = tensor.row.stored, tensor.shape
    size = dtype.itemsize
    if any((stop - start) % size for start, stop in tensor.spans):  # cut within an element
        array = np.frombuffer(joined(data, tensor), dtype).reshape(shape)
        return [(boxes.whole(shape), array)]
    if not math.prod(shape):
        return [(boxes.whole(shape), np.empty(shape, dtype))]
    out: list[boxes.Piece] = []
    first = 0
    for start, stop in tensor.spans:
        count = (stop - start) // size
        for box in boxes.of_range(shape, first, first + count, max(1, count)):
            out.append((box, _piece(data, start, boxes.shape_of(box), dtype)))
            start += boxes.size_of(box) * size
        first += count
    return out


def _piece(data: Any, start: int, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    if isinstance(data, RemoteBytes):
        return RemotePiece(data, start, shape, dtype)
    return np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape)

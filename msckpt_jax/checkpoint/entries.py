"""The index of a file: every entry's name, dtype, shape and byte ranges, from one pass."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import boxes, display, dtypes, names
from msckpt_jax.checkpoint import source as sources
from msckpt_jax.errors import CheckpointError

#: ``tensor_type`` of MapTensors: MindSpore writes NumPy's names there.
_MAP_TYPES = {
    str(row.array): row for row in dtypes.TABLE if row.array.kind in "iuf" and row.name != "Int4"
}
#: All that a tensor's type can be, but for strings.
_ROWS = _MAP_TYPES | dtypes.BY_NAME


class Stored(NamedTuple):
    """A tensor in a file: its bytes are the concatenation of ``spans`` (start, stop).

    Where no file has these bytes, ``source`` gives parts of the tensor when it is indexed.
    """

    type: str
    shape: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    source: Any = None

    @property
    def nbytes(self) -> int:
        return sum(stop - start for start, stop in self.spans)

    @property
    def row(self) -> dtypes.DType:
        """The dtype.

        Raises:
            CheckpointError: it is unknown here, so that the bytes have no meaning.
        """
        row = _ROWS.get(self.type)
        if row is None:
            raise CheckpointError("unknown dtype", found=self.type)
        return row


class Entry(NamedTuple):
    """A named entry of a file.

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
        """The shape of the array; of a MapTensor's keys; of the array of typed PRNG keys."""
        shape = self.tensors[0].shape
        return shape[:-1] if self.key_impl else shape

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def slices(self) -> int:
        return len(self.tensors[0].spans)

    @property
    def unknown(self) -> CheckpointError | None:
        """The error that reading it is, if its dtype is unknown; the others of the file are not."""
        for tensor in self.tensors:
            if tensor.type not in _ROWS and (self.is_map or tensor.type != dtypes.STRING):
                problem = "unknown dtype; choice_func or the prefixes can leave it out"
                return CheckpointError(
                    problem, name=self.tag, offset=self.offset, found=tensor.type
                )
        return None

    @property
    def row(self) -> dtypes.DType:
        """The dtype of an array.

        Raises:
            CheckpointError: it is unknown.
        """
        if self.unknown:
            raise self.unknown
        return self.tensors[0].row

    @property
    def is_array(self) -> bool:
        """Tell whether the entry is a plain array: no string, no MapTensor, no PRNG key."""
        return not self.is_map and not self.key_impl and self.type != dtypes.STRING


Problem = Callable[[CheckpointError], Any]


def named(tag: str, offset: int, tensors: tuple[Stored, ...]) -> Entry:
    name, impl = names.of_tag(tag, tensors[0].type, tensors[0].shape)
    return Entry(name, tag, offset, tensors, key_impl=impl)


def distinct(known: Mapping[str, Entry], entry: Entry) -> Entry:
    """The entry itself, unless one of another tag has its name, which then would be lost."""
    namesake = known.get(entry.name, entry)
    if namesake.tag != entry.tag:
        raise CheckpointError(
            "two entries have this name, because a PRNG key's ends with its implementation",
            name=entry.name,
            offset=entry.offset,
            found=f"{namesake.tag!r} and {entry.tag!r}",
        )
    return entry


def checked(entry: Entry, data: Any) -> None:
    """Refuse bytes that do not fit dtype and shape: MindSpore pads and cuts in silence.

    An entry whose dtype is unknown passes: it is refused when it is read.
    """
    if entry.unknown:
        return
    known = _MAP_TYPES if entry.is_map else dtypes.BY_NAME
    for tensor in entry.tensors:
        row = known.get(tensor.type) if tensor.type != dtypes.STRING else None
        if row and 0 < math.prod(tensor.shape) * row.stored.itemsize == tensor.nbytes:
            continue  # it fits, and so does each dimension: no file has 2^63 bytes
        where = {"name": entry.tag, "offset": entry.offset}
        if tensor.type == dtypes.STRING and not entry.is_map:
            string(data, entry)
            continue
        if tensor.type not in known:
            raise CheckpointError("unknown dtype", found=tensor.type, **where)
        if any(n >= 2**63 for n in tensor.shape):
            raise CheckpointError("a dimension is negative", **where)
        size = known[tensor.type].stored.itemsize
        if math.prod(filter(None, tensor.shape)) * size >= 2**63:  # with a 0 among them, it fits
            raise CheckpointError("NumPy cannot hold this shape", found=list(tensor.shape), **where)
        expected = math.prod(tensor.shape) * size
        if expected != tensor.nbytes:
            raise CheckpointError(
                f"the content does not fit {tensor.type}{list(tensor.shape)}",
                expected=display.counted(expected, "byte"),
                found=tensor.nbytes,
                **where,
            )


def string(data: Any, entry: Entry) -> str:
    """The text of a string entry: UTF-32-LE, in which trailing NULs are NumPy's padding."""
    raw = joined(data, entry.tensors[0])
    try:
        return bytes(raw).decode("utf-32-le").rstrip("\0")
    except UnicodeDecodeError:
        raise CheckpointError(
            "the string is not UTF-32-LE text", name=entry.tag, offset=entry.offset
        ) from None


def joined(data: Any, tensor: Stored) -> bytes | memoryview:
    """The bytes of a tensor: a view when they lie in one piece."""
    if tensor.source is not None:
        made = isinstance(tensor.source, bytes)
        return tensor.source if made else array(data, tensor).tobytes()
    if len(tensor.spans) == 1:
        start, stop = tensor.spans[0]
        return data[start:stop]
    return b"".join(data[start:stop] for start, stop in tensor.spans)


def pieces(data: Any, tensor: Stored) -> list[boxes.Piece]:
    """The tensor as pieces that are views of the file, in the dtype in which it is stored."""
    dtype, shape = tensor.row.stored, tensor.shape
    if tensor.source is not None:
        return [(boxes.whole(shape), tensor.source)]
    size = dtype.itemsize
    cut = any((stop - start) % size for start, stop in tensor.spans)  # within an element
    if cut or _crumbs(tensor):
        array = np.frombuffer(joined(data, tensor), dtype).reshape(shape)
        return [(boxes.whole(shape), array)]
    if not math.prod(shape):
        return [(boxes.whole(shape), np.empty(shape, dtype))]
    if len(tensor.spans) == 1:
        return [(boxes.whole(shape), sources.piece(data, tensor.spans[0][0], shape, dtype))]
    out: list[boxes.Piece] = []
    first = 0
    for start, stop in tensor.spans:
        count = (stop - start) // size
        for box in boxes.of_range(shape, first, first + count, max(1, count)):
            out.append((box, sources.piece(data, start, boxes.shape_of(box), dtype)))
            start += boxes.size_of(box) * size
        first += count
    return out


def _crumbs(tensor: Stored) -> bool:
    """Tell whether so many slices are so small that each costs more as a piece than copied."""
    return len(tensor.spans) > 1000 and tensor.nbytes < min(4096 * len(tensor.spans), 64 << 20)


def array(data: Any, tensor: Stored) -> np.ndarray:
    """The whole tensor in the dtype in which it is stored: a view when it lies in one piece."""
    parts = pieces(data, tensor)
    whole = boxes.whole(tensor.shape)
    view = boxes.view(parts, whole)
    if view is None:
        view = _empty(tensor)
        boxes.gather(parts, whole, view)
    return view


def _empty(tensor: Stored) -> np.ndarray:
    """An array to be filled; Linux gives more memory than there is, and ends who then uses it.

    Raises:
        CheckpointError: the array is larger than the memory of this machine. A few bytes of a
            compressed array can say so.
    """
    room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    wanted = math.prod(tensor.shape) * tensor.row.stored.itemsize
    try:
        if wanted <= room:
            return np.empty(tensor.shape, tensor.row.stored)
    except MemoryError:
        pass
    raise CheckpointError(
        f"there is no memory for an array {tensor.type}{list(tensor.shape)}",
        expected=f"at most {display.counted(room, 'byte')}",
        found=f"{wanted:,}",
    )

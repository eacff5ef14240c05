"""The bytes of a MindSpore CheckPoint: protobuf wire format, six fields, no protobuf library.

A file is ``Checkpoint{repeated Value value=1}``, that is a concatenation of
``0x0A <length> Value``, with ``Value{string tag=1; TensorProto tensor=2 | MapTensorProto
maptensor=3}``, ``TensorProto{repeated int64 dims=1; string tensor_type=2; bytes
tensor_content=3}`` and ``MapTensorProto{repeated TensorProto tensor=1}`` (MindSpore 2.10,
train/checkpoint_pb2.py). protobuf itself stops at 2 GiB and copies every payload.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

#: Begins the check sum trailer, followed by 10 big-endian bytes of CRC32.
CRC_MARK = b"crc_num"
CRC_BYTES = len(CRC_MARK) + 10

_VALUE, _TAG, _TENSOR, _MAP = 1, 1, 2, 3
#: A field of ours in the first record, which names the save that the file belongs to. Protobuf
#: skips what a schema lacks; an entry would be loaded, and break MindSpore's transform.
_SAVE = 100
_DIM, _TYPE, _CONTENT = 1, 2, 3
VARINT, _FIXED64, BYTES, _FIXED32 = 0, 1, 2, 5

#: NumPy's limit; more dimensions can only be an attempt to exhaust memory.
_MAX_DIMS = 64


class WireError(Exception):
    """The bytes are no protobuf message of this schema; the reader adds file and name."""

    def __init__(self, problem: str, offset: int):
        super().__init__(problem)
        self.problem = problem
        self.offset = offset


class RawTensor(NamedTuple):
    """A ``TensorProto`` with its content as a byte range of the file."""

    dims: tuple[int, ...]
    type: str
    start: int
    stop: int


class RawRecord(NamedTuple):
    """A ``Value``; ``tensors`` holds one tensor, or those of a MapTensor.

    ``save`` is the name of the save that the file belongs to, which its first record may hold.
    """

    offset: int
    tag: str
    tensors: tuple[RawTensor, ...]
    is_map: bool
    save: str | None = None


def varint(value: int) -> bytes:
    if value < 0x80:
        return _SMALL[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL = [bytes([i]) for i in range(0x80)]


def header(tag: bytes, dims: tuple[int, ...], type_name: str, content: int) -> bytes:
    """The bytes of a tensor record before its ``content`` bytes of content."""
    before, after = _around_tag(len(tag), dims, type_name, content)
    return before + tag + after


def marked(header: bytes, save: str) -> bytes:
    """The header of a record with the name of the save that the file belongs to."""
    name = save.encode()
    field = varint(_SAVE << 3 | BYTES) + varint(len(name)) + name
    length, start = read_varint(header, 1, len(header))
    return header[:1] + varint(length + len(field)) + field + header[start:]


def crc_trailer(value: int) -> bytes:
    """The last bytes of a file with a check sum; a reader strips them before it parses."""
    return CRC_MARK + value.to_bytes(10, "big")


@lru_cache(maxsize=4096)
def _around_tag(
    tag: int, dims: tuple[int, ...], type_name: str, content: int
) -> tuple[bytes, bytes]:
    """The bytes before and after a tag of ``tag`` bytes: many tensors of a model share them."""
    kind = type_name.encode()
    head = b"".join(
        [
            *(b"\x08" + varint(n) for n in dims),
            b"\x12" + varint(len(kind)) + kind,
            b"\x1a" + varint(content),
        ]
    )
    after = b"\x12" + varint(len(head) + content) + head
    named = b"\x0a" + varint(tag)
    return b"\x0a" + varint(len(named) + tag + len(after) + content) + named, after


def records(data: Any, size: int) -> Iterator[RawRecord]:
    """The records in the first ``size`` bytes of ``data``; contents are not touched.

    ``data`` is indexed with ints and slices, as a memoryview is.

    Raises:
        WireError: at the first byte that does not fit.
    """
    position = 0
    while position < size:
        start = position
        field, kind, position = _key(data, position, size)
        if field != _VALUE or kind != BYTES:
            raise WireError("no CheckPoint record begins here", start)
        stop, position = _length(data, position, size, "record")
        yield _value(data, start, position, stop)
        position = stop


def _value(data: Any, offset: int, position: int, stop: int) -> RawRecord:
    tag: str | None = None
    save: str | None = None
    tensors: tuple[RawTensor, ...] = ()
    is_map = False
    for field, kind, start, end in fields(data, position, stop):
        if kind != BYTES:
            continue
        if field == _TAG:
            tag = _text(data, start, end, "tag")
        elif field == _TENSOR:
            tensors, is_map = (_tensor(data, start, end),), False
        elif field == _MAP:
            inner = [(a, b) for f, k, a, b in fields(data, start, end) if f == 1 and k == BYTES]
            tensors, is_map = tuple(_tensor(data, a, b) for a, b in inner), True
        elif field == _SAVE:
            save = _text(data, start, end, "name of the save")
    if tag is None or not (tensors or is_map):
        raise WireError("the record has no tag or no tensor", offset)
    return RawRecord(offset, tag, tensors, is_map, save)


def _tensor(data: Any, position: int, stop: int) -> RawTensor:
    dims: list[int] = []
    type_name: str | None = None
    content = (stop, stop)
    for field, kind, start, end in fields(data, position, stop):
        if field == _DIM and kind == VARINT:
            dims.append(read_varint(data, start, end)[0])
        elif field == _DIM and kind == BYTES:  # a packed encoding, which readers must accept
            at = start
            while at < end and len(dims) <= _MAX_DIMS:
                value, at = read_varint(data, at, end)
                dims.append(value)
        elif field == _TYPE and kind == BYTES:
            type_name = _text(data, start, end, "tensor_type")
        elif field == _CONTENT and kind == BYTES:
            content = (start, end)
        if len(dims) > _MAX_DIMS:
            raise WireError(f"the tensor has more than {_MAX_DIMS} dimensions", start)
    if type_name is None:
        raise WireError("the tensor has no type", position)
    # Negative int64 dims arrive as huge varints; the reader refuses both alike.
    return RawTensor(tuple(dims), type_name, *content)


def fields(data: Any, position: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield ``(field, wire type, start, end)`` of each field's value in ``[position, stop)``.

    Keys and lengths of one byte, as most are, are read here: a model has many small tensors.
    """
    while position < stop:
        at = position
        key = data[position]
        if key < 0x80:
            position += 1
        else:
            key, position = read_varint(data, position, stop)
        field, kind = key >> 3, key & 7
        if kind == BYTES:
            if position < stop and (length := data[position]) < 0x80 and length < stop - position:
                position += 1
                end = position + length
            else:
                end, position = _length(data, position, stop, "field")
        elif kind == VARINT:
            end = read_varint(data, position, stop)[1]
        elif kind in (_FIXED32, _FIXED64):
            end = position + (4 if kind == _FIXED32 else 8)
            if end > stop:
                raise WireError("the record ends within a field", at)
        else:
            raise WireError(f"a CheckPoint has no fields of wire type {kind}", at)
        yield field, kind, position, end
        position = end


def _key(data: Any, position: int, stop: int) -> tuple[int, int, int]:
    key, after = read_varint(data, position, stop)
    return key >> 3, key & 7, after


def _length(data: Any, position: int, stop: int, what: str) -> tuple[int, int]:
    """The end and the start of a length-delimited value."""
    length, after = read_varint(data, position, stop)
    if length > stop - after:
        raise WireError(
            f"the {what} says {length} bytes but {stop - after} are left: truncated or damaged",
            position,
        )
    return after + length, after


def read_varint(data: Any, position: int, stop: int) -> tuple[int, int]:
    if position < stop and (byte := data[position]) < 0x80:
        return byte, position + 1
    value = shift = 0
    for at in range(position, min(stop, position + 10)):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
        shift += 7
    raise WireError("a number is cut off or too long: truncated or damaged", position)


def _text(data: Any, start: int, stop: int, what: str) -> str:
    try:
        return bytes(data[start:stop]).decode()
    except UnicodeDecodeError:
        raise WireError(f"the {what} is not UTF-8 text", start) from None

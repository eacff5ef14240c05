"""Cut the bytes of the weights out of a MindIR message; they stay in the file."""

from __future__ import annotations

from typing import NamedTuple

from msckpt_jax._protos import mind_ir_pb2 as pb
from msckpt_jax.checkpoint import wire

_GRAPH = pb.ModelProto.GRAPH_FIELD_NUMBER
_PARAMETER = pb.GraphProto.PARAMETER_FIELD_NUMBER
_RAW_DATA = pb.TensorProto.RAW_DATA_FIELD_NUMBER


class Slim(NamedTuple):
    """A ModelProto without weights; ``ranges`` are those of each parameter's ``raw_data``."""

    message: bytes
    ranges: list[tuple[int, int]]


def without_weights(data: memoryview) -> Slim:
    """Cut the weights out of a serialised ModelProto.

    Raises:
        WireError: the bytes are no message.
    """
    ranges: list[tuple[int, int]] = []
    message = _cut(data, 0, len(data), [_GRAPH, _PARAMETER], ranges)
    return Slim(message, ranges)


def _cut(
    data: memoryview, start: int, stop: int, path: list[int], ranges: list[tuple[int, int]]
) -> bytes:
    """The message in ``[start, stop)``; the messages at ``path`` lose their ``raw_data``."""
    if not path:
        ranges.append((0, 0))
    pieces: list[bytes] = []
    at = start
    for field, kind, first, end in wire.fields(data, start, stop):
        if kind == wire.BYTES and not path and field == _RAW_DATA:
            ranges[-1] = (first, end)
        elif kind == wire.BYTES and path and field == path[0]:
            inner = _cut(data, first, end, path[1:], ranges)
            pieces += [wire.varint(field << 3 | wire.BYTES), wire.varint(len(inner)), inner]
        else:
            pieces.append(bytes(data[at:end]))
        at = end
    return b"".join(pieces)

"""safetensors files: planned like CheckPoints, so that sharded arrays are streamed too.

A file is a little-endian uint64 length, a JSON header of that length padded with spaces to a
multiple of 8, and the tensors' bytes (https://huggingface.co/docs/safetensors, "Format"). The
metadata are those of MindSpore 2.10 (train/serialization.py, ``_exec_save``).
"""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import display, dtypes
from msckpt_jax.checkpoint import collector, metadata, writer
from msckpt_jax.checkpoint import crc as crc32
from msckpt_jax.checkpoint.entries import Entry, Problem, Stored, array, checked, distinct, named
from msckpt_jax.checkpoint.formats import shards
from msckpt_jax.checkpoint.formats.format import CheckSum, Contents, Crc, Format, How, Sharding
from msckpt_jax.checkpoint.plan import Part, Plan, Range
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.checkpoint.source import Source
from msckpt_jax.errors import CheckpointError

#: The library refuses larger headers too.
_MAX_HEADER_BYTES = 100_000_000
_METADATA = "__metadata__"
#: The name in the metadata under which the save stands that a file belongs to.
_SAVE = "msckpt_jax.save"
#: The names in the metadata that MindSpore reads, and ours.
_RESERVED = {_METADATA, "format", "remove_redundancy", "crc_num", _SAVE}

# The library writes large alignments first: its enum of dtypes, descending.
_ORDER = {
    name: place
    for place, name in enumerate(
        ("U64", "I64", "F64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "I8", "U8", "BOOL")
    )
}


def plan(records: Sequence[Record], how: How) -> Plan:
    """Plan a header with the metadata, then the tensors.

    The check sum stands in the header, before the data: it takes a pass of its own.
    """
    order = sorted(records, key=lambda r: (_ORDER[_dtype(r)], r.tag))
    about = {key: metadata.text(value) for key, value in how.metadata.items()}
    about["format"] = how.framework
    if how.remove_redundancy is not None:
        about["remove_redundancy"] = str(how.remove_redundancy)
    if how.save is not None:
        about[_SAVE] = how.save
    about |= {r.tag: "Int4" for r in records if r.type == "Int4"}
    if how.check_sum:
        crc = functools.partial(writer.checksum, threads=how.threads)
        about["crc_num"] = str(_crc(records, crc))
    entries: dict[str, Any] = {_METADATA: about} if records else {}
    offset = 0
    for record in order:
        entries[record.tag] = {
            "dtype": _dtype(record),
            "shape": list(record.dims),
            "data_offsets": [offset, offset + record.nbytes],
        }
        offset += record.nbytes
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _MAX_HEADER_BYTES:
        raise CheckpointError(
            "the safetensors header is too large", found=display.counted(len(text), "byte")
        )
    head = struct.pack("<Q", len(text)) + text
    return Plan([head, *(_all(r) for r in order if r.nbytes)], len(head) + offset)


def check(records: Sequence[Record]) -> None:
    """Refuse strings, and names that stand for something else."""
    for record in records:
        _dtype(record)


def _dtype(record: Record) -> str:
    if record.type == dtypes.STRING:
        raise CheckpointError(
            "safetensors holds no strings; save as ckpt, or leave it out", name=record.tag
        )
    if record.tag in _RESERVED:
        raise CheckpointError(
            "this name stands for something else in the metadata of safetensors files; rename it",
            name=record.tag,
        )
    name = dtypes.BY_NAME[record.type].safetensors
    assert name is not None  # every dtype that is saved has one
    return name


def _all(record: Record) -> Part:
    content = record.content
    if isinstance(content, Tensor):
        return Range(content, 0, record.nbytes // content.stored.itemsize)
    return content


def _crc(records: Sequence[Record], crc: Crc) -> int:
    """MindSpore's check sum: over names and contents, in the order of the names."""
    value = 0
    for record in sorted(records, key=lambda r: r.tag):
        value = crc32.of_buffers([record.tag.encode()], value)
        value = crc32.join([_content_crc(record, crc)], value)
    return value


def _content_crc(record: Record, crc: Crc) -> tuple[int, int]:
    if record.dims or record.type not in _INTEGERS:
        return crc([_all(record)] if record.nbytes else []), record.nbytes
    # MindSpore takes bytes(array): for a 0-d integer array Python makes that n NUL bytes.
    count = int(_scalar(record))
    if count < 0:
        raise CheckpointError(
            "MindSpore cannot verify a safetensors check sum over a negative integer scalar; "
            "save without crc_check, or as shape (1,)",
            name=record.tag,
        )
    return crc32.of_zeros(count), count


_INTEGERS = {row.name for row in dtypes.TABLE if row.array.kind in "iu" or row.name == "Int4"}


def _scalar(record: Record) -> np.ndarray:
    content = record.content
    if isinstance(content, Tensor):
        out = np.empty((), content.stored)
        out[()] = content.pieces[0][1][()]
        return out
    assert isinstance(content, np.ndarray)
    return content


class _Header(NamedTuple):
    metadata: dict[str, str]
    tensors: dict[str, tuple[str, tuple[int, ...], int, int]]  # dtype, shape, start, stop


def _header(data: Any, size: int) -> _Header:
    """Parse and check the header of a safetensors file; offsets are from the file's start."""
    if size < 8:
        raise CheckpointError(
            "the file is too short for safetensors", found=display.counted(size, "byte")
        )
    (length,) = struct.unpack("<Q", bytes(data[:8]))
    if length > min(size - 8, _MAX_HEADER_BYTES):
        raise CheckpointError(
            "the safetensors header is longer than the file: truncated, or another format",
            offset=0,
            expected=f"at most {size - 8} bytes",
            found=length,
        )
    try:
        entries = json.loads(bytes(data[8 : 8 + length]))
        metadata = dict(entries.pop(_METADATA, {}))
        parsed = {name: _entry(name, entry, 8 + length) for name, entry in entries.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"the safetensors header is no valid JSON of its kind: {error}", offset=8
        ) from None
    if not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError("the metadata of the safetensors header must be strings", offset=8)
    _check_layout(parsed, 8 + length, size)
    return _Header(metadata, parsed)


def _entry(name: str, entry: Any, base: int) -> tuple[str, tuple[int, ...], int, int]:
    shape, (start, stop) = entry["shape"], entry["data_offsets"]
    numbers = [*shape, start, stop]
    if {*map(type, numbers)} != {int} or min(numbers) < 0:
        raise CheckpointError("shape and offsets must be whole numbers", name=name)
    return str(entry["dtype"]), tuple(shape), base + start, base + stop


def _check_layout(tensors: dict, start: int, size: int) -> None:
    """Refuse tensors that do not fill the file without gap or overlap, as the library does."""
    at = start
    for name, (_, _, begin, end) in sorted(tensors.items(), key=lambda t: t[1][2:]):
        if begin != at or end < begin or end > size:
            raise CheckpointError(
                "its bytes overlap another tensor, leave a gap, or lie outside of the file",
                name=name,
                offset=begin,
                expected=f"bytes from {at} within {size}",
                found=f"{begin} to {end}",
            )
        at = end
    if at != size:
        raise CheckpointError(
            "the file goes on after its last tensor", offset=at, expected=at, found=size
        )


def recognises(source: Source) -> bool:
    """Tell whether a length begins the file, and an object of JSON follows it."""
    if source.data is None:
        return False
    length = int.from_bytes(bytes(source.data[:8]), "little")
    return bytes(source.data[8:9]) == b"{" and length < len(source.data)


@collector.paused()
def contents(source: Source, problem: Problem) -> Contents:
    """The entries in the order of their names, and the metadata.

    Raises:
        CheckpointError: the header is not valid.
    """
    data, size = source.data, len(source.data)
    head = _header(data, size)
    entries = _entries(data, head, problem)
    sums = ()
    stored = head.metadata.get("crc_num", "")
    if stored.isascii() and stored.isdigit() and len(stored) <= 10:  # digits of uint32

        def compute(crc: Crc) -> int:
            tensors = [(entry.tag, entry.tensors[0]) for entry in entries.values()]
            records = [Record(tag, t.type, t.shape, array(data, t)) for tag, t in tensors]
            return _crc(records, crc)

        sums = (CheckSum(int(stored), compute, source.path),)
    custom = metadata.values(head.metadata, _RESERVED | entries.keys())
    save = head.metadata.get(_SAVE)
    return Contents(entries, data, size, sums, head.metadata, custom, save=save)


def _entries(data: Any, head: _Header, problem: Problem) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for tag, (kind, shape, start, stop) in sorted(head.tensors.items()):
        row = dtypes.BY_SAFETENSORS.get(kind)
        try:
            if row is None and not kind.isupper():  # no name in the style of the format
                raise CheckpointError("unknown dtype", name=tag, offset=start, found=kind)
            name = row.name if row else kind
            if head.metadata.get(tag) == "Int4" and name == "Int8":
                name = "Int4"
            entry = named(tag, start, (Stored(name, shape, ((start, stop),)),))
            checked(distinct(entries, entry), data)
        except CheckpointError as error:
            problem(error)
        else:
            entries[entry.name] = entry
    return entries


FORMAT = Format(
    "safetensors",
    recognises,
    contents,
    shards.SUFFIX,
    plan,
    check,
    metadata=True,
    sharding=Sharding(shards.dealt, shards.HEADS, shards.earlier, framework="pt"),
)

"""``.ckpt``: MindSpore's CheckPoint, records with a header before each slice of a tensor."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from msckpt_jax import dtypes
from msckpt_jax.checkpoint import collector, wire
from msckpt_jax.checkpoint.entries import Entry, Problem, Stored, checked, distinct, named
from msckpt_jax.checkpoint.formats.format import CheckSum, Contents, Crc, Format, How
from msckpt_jax.checkpoint.plan import Part, Plan, Range, as_bytes
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.checkpoint.source import Source
from msckpt_jax.errors import CheckpointError

#: The bytes given to a check sum at a time; those of a remote file are held in memory.
_STEP_BYTES = 64 << 20


@collector.paused()
def plan(records: Sequence[Record], how: How) -> Plan:
    """Plan a header before each slice of each record, and the check sum at the end."""
    parts: list[Part] = []
    total = 0
    for record in records:
        tag, nbytes = record.tag.encode(), record.nbytes
        for start in range(0, nbytes, how.slice_bytes) or (0,):
            stop = min(start + how.slice_bytes, nbytes)
            head = wire.header(tag, record.dims, record.type, stop - start)
            parts.append(head)
            if nbytes:
                parts.append(_part(record, start, stop, nbytes))
            total += len(head) + stop - start
    if how.save is not None and parts:
        first = parts[0]
        assert isinstance(first, bytes)
        parts[0] = wire.marked(first, how.save)
        total += len(parts[0]) - len(first)
    return Plan(parts, total, wire.crc_trailer if how.check_sum else None)


def _part(record: Record, start: int, stop: int, nbytes: int) -> Part:
    """The bytes ``[start, stop)`` of a record's content."""
    content = record.content
    if isinstance(content, Tensor):
        size = content.stored.itemsize
        return Range(content, start // size, stop // size)
    return content if stop - start == nbytes else as_bytes(content)[start:stop]


#: ``tensor_type`` of MindSpore 2.0's snapshot of random states; its bytes are read as they are.
_RANDOM_STATE = "random_op"


def recognises(source: Source) -> bool:
    """Tell whether a record begins the file."""
    try:
        return source.data is not None and any(wire.records(source.data, len(source.data)))
    except wire.WireError:
        return False


@collector.paused()
def contents(source: Source, problem: Problem) -> Contents:
    """The entries, the check sum that may follow them, and the save that the first one names."""
    data, size = source.data, len(source.data)
    tail = bytes(data[max(0, size - wire.CRC_BYTES) : size])
    if len(tail) < wire.CRC_BYTES or not tail.startswith(wire.CRC_MARK):
        return Contents(_entries(data, size, problem), data, size, save=_save(data, size))
    payload = size - wire.CRC_BYTES

    def compute(crc: Crc) -> int:
        starts = range(0, payload, _STEP_BYTES)
        return crc(data[start : min(start + _STEP_BYTES, payload)] for start in starts)

    stored = int.from_bytes(tail[len(wire.CRC_MARK) :], "big")
    sums = (CheckSum(stored, compute, source.path),)
    entries = _entries(data, payload, problem)
    return Contents(entries, data, size, sums, save=_save(data, payload))


def _save(data: Any, size: int) -> str | None:
    try:
        return next(record.save for record in wire.records(data, size))
    except (StopIteration, wire.WireError):  # told as a problem of the entries
        return None


def _entries(data: Any, size: int, problem: Problem) -> dict[str, Entry]:
    """The entries in the first ``size`` bytes; errors go to ``problem``.

    Consecutive records of one tag are slices of one tensor, with the dims and type of the last;
    if a tag comes again further on, its last records count (both as in MindSpore 2.10).
    """
    entries: dict[str, Entry] = {}
    for tag, group in itertools.groupby(_records(data, size, problem), lambda r: r.tag):
        parts = list(group)
        try:
            entry = _entry(tag, parts)
            checked(distinct(entries, entry), data)
        except CheckpointError as error:
            problem(error)
        else:
            entries[entry.name] = entry
    return entries


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
    return named(tag, parts[0].offset, (_stored(last.tensors[0], spans),))


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
    """The keys, values and status of a MapTensor; slices are joined along axis 0."""
    if any(len(p.tensors) != 3 or not all(t.dims for t in p.tensors) for p in parts):
        raise CheckpointError(
            "a MapTensor holds three tensors of at least one dimension",
            name=tag,
            offset=parts[0].offset,
        )
    out = []
    for pieces in zip(*(p.tensors for p in parts), strict=True):
        if len({(t.type, t.dims[1:]) for t in pieces}) > 1:
            raise CheckpointError("the slices of the MapTensor differ in dtype or shape", name=tag)
        shape = (sum(t.dims[0] for t in pieces), *pieces[0].dims[1:])
        out.append(Stored(pieces[0].type, shape, tuple((t.start, t.stop) for t in pieces)))
    return tuple(out)


FORMAT = Format(
    "ckpt",
    recognises,
    contents,
    ".ckpt",
    plan,
    strings=True,
    encryption=True,
    check_sum_last=True,
)

"""Records whose contents are read from a file window by window while another is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from msckpt_jax import boxes, dtypes, names
from msckpt_jax.checkpoint import leaves, narrowing
from msckpt_jax.checkpoint.entries import Entry, Stored, named
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.errors import CheckpointError


class Readable(Protocol):
    """The common part of a CheckpointFile and a set of rank files."""

    path: str
    entries: dict[str, Entry]

    def __getitem__(self, name: str) -> Any: ...

    def pieces(self, name: str) -> Sequence[boxes.Piece]: ...


FLOATS = {"Float16", "Float32", "Float64", "BFloat16"}


def record_of(file: Readable, name: str, dtype: np.dtype | None = None) -> Record:
    """The record that copies one entry; floating-point tensors are cast to ``dtype``.

    Raises:
        CheckpointError: a MapTensor, or a dtype that MindSpore cannot load.
    """
    entry = file.entries[name]
    where: dict[str, Any] = {"file": file.path, "name": name}
    if entry.type == dtypes.STRING:
        return leaves.of_value(entry.tag, file[name])
    if entry.is_map:
        raise CheckpointError("a MapTensor cannot be converted; leave it out", **where)
    if entry.unknown:
        raise entry.unknown.within(file.path)
    row = entry.row
    pieces: Sequence[boxes.Piece] = file.pieces(name)
    if dtype is not None and row.name in FLOATS:
        pieces = narrowing.checked(pieces, row.array, dtype, **where)
        row = dtypes.for_saving(dtype)
    elif not row.loads:
        raise CheckpointError(f"MindSpore cannot load {row.name}; leave it out", **where)
    return part_of(entry, row, pieces, boxes.whole(entry.tensors[0].shape))


def renamed(file: Readable, name: str, to: str, dtype: np.dtype | None = None) -> Record:
    """The record that copies one entry under another name; a PRNG key stays one."""
    impl = file.entries[name].key_impl
    tag = names.key_tag(to, impl) if impl else to
    return record_of(file, name, dtype)._replace(tag=tag)


def entry_of(record: Record) -> Entry:
    """The entry that a tensor's record becomes in a file."""
    return named(record.tag, 0, (Stored(record.type, record.dims, ((0, record.nbytes),)),))


def pieces_of(record: Record) -> Sequence[boxes.Piece]:
    """The pieces of a tensor's record."""
    content = record.content
    assert not isinstance(content, bytes)  # a string's
    if isinstance(content, Tensor):
        return content.pieces
    return [(boxes.whole(content.shape), content)]


def part_of(
    entry: Entry, row: dtypes.DType, pieces: Sequence[boxes.Piece], box: boxes.Box
) -> Record:
    """The record of ``box`` of an array that consists of ``pieces``."""
    shape = boxes.shape_of(box)
    restricted = getattr(pieces, "restricted", None)
    if restricted is not None:  # many pieces, none of which is read before it has to be
        return Record(entry.tag, row.name, shape, Tensor(shape, row.stored, restricted(box)))
    view = boxes.view(pieces, box)
    if view is not None and view.dtype == row.stored and view.flags.c_contiguous:
        return Record(entry.tag, row.name, shape, view)
    content = Tensor(shape, row.stored, tuple(boxes.restrict(pieces, box)))
    return Record(entry.tag, row.name, shape, content)

"""``.npz``: NumPy's archive of arrays, which is read to be converted.

Each member is a ``.npy`` file: a magic, the lengths and the text of a header, and the bytes
(https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.lib import format as npy

from msckpt_jax import boxes, dtypes
from msckpt_jax.checkpoint.entries import Entry, Problem, Stored, checked, named
from msckpt_jax.checkpoint.formats.format import Contents, Format
from msckpt_jax.checkpoint.formats.zipped import MARK, Archive
from msckpt_jax.checkpoint.source import Source
from msckpt_jax.errors import CheckpointError

_SUFFIX = ".npy"
#: What a header may have at most, as NumPy itself has it for files that are not trusted.
_HEADER_BYTES = 10_000


def recognises(source: Source) -> bool:
    """Tell whether the file is a zip archive whose members are arrays."""
    if source.data is None or bytes(source.data[: len(MARK)]) != MARK:
        return False
    try:
        members = Archive(source).members
    except CheckpointError:
        return False
    return bool(members) and all(name.endswith(_SUFFIX) for name in members)


def contents(source: Source, problem: Problem) -> Contents:
    """The arrays by the names of their members."""
    archive = Archive(source)
    entries: dict[str, Entry] = {}
    for member in archive.members:
        name = member.removesuffix(_SUFFIX)
        try:
            entry = _entry(archive, member, name)
            checked(entry, source.data)
        except CheckpointError as error:
            problem(error.within(source.path, name))
        else:
            entries[entry.name] = entry
    return Contents(entries, source.data, len(source.data))


def _entry(archive: Archive, member: str, name: str) -> Entry:
    """The entry of an array.

    Raises:
        CheckpointError: it is an array of objects (a pickle), or of a dtype that is unknown here.
    """
    head = io.BytesIO(archive.read(member, 0, min(archive.size(member), _HEADER_BYTES)))
    try:
        version = npy.read_magic(head)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_columns, dtype = read(head, max_header_size=_HEADER_BYTES)
    except Exception as error:  # NumPy's parser of the header lets those of Python's through
        raise CheckpointError(f"no array of NumPy: {error}", name=name) from None
    row = dtypes.of_array(dtype.newbyteorder("="))
    if dtype.hasobject or row is None:
        raise CheckpointError("unknown dtype", name=name, found=str(dtype))
    span = archive.span(member)
    if span is not None and not by_columns and dtype == row.stored:
        tensor = Stored(row.name, shape, ((span[0] + head.tell(), span[1]),))
    else:
        source = _Packed(archive, member, head.tell(), shape, dtype, by_columns)
        size = archive.size(member) - head.tell()
        tensor = Stored(row.name, shape, ((0, size),), source)
    return named(name, archive.members[member].header_offset, (tensor,))


class _Packed:
    """An array that is compressed, by columns, or of the other byte order: read as a whole."""

    def __init__(
        self,
        archive: Archive,
        member: str,
        start: int,
        shape: tuple[int, ...],
        dtype: np.dtype,
        by_columns: bool,
    ):
        self._archive, self._member, self._start = archive, member, start
        self.shape, self.dtype, self._file_dtype = shape, dtype.newbyteorder("<"), dtype
        self._order: Any = "F" if by_columns else "C"

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        whole = self._archive.whole(self, self._unpacked)
        return whole[index].astype(self.dtype, copy=False)

    def _unpacked(self) -> np.ndarray:
        count = boxes.size_of(boxes.whole(self.shape)) * self.dtype.itemsize
        data = self._archive.read(self._member, self._start, count)
        return np.frombuffer(data, self._file_dtype).reshape(self.shape, order=self._order)


FORMAT = Format("npz", recognises, contents, suffix=".npz", converted=True)

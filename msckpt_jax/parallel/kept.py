"""Files of parts of a tree, each with a manifest, and what such files hold as one CheckPoint.

A file is a ``.ckpt`` with a check sum. Its entries are parts of tensors, named by their numbers in
the list of all parts; its manifest says which part of which tensor each is. Hence it does not
matter which process wrote a file, nor which one reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from msckpt_jax import boxes, dtypes
from msckpt_jax.checkpoint import entries as entries_of
from msckpt_jax.checkpoint import formats
from msckpt_jax.checkpoint.entries import Entry, Stored
from msckpt_jax.checkpoint.file import CheckpointFile, open_checkpoint
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.checkpoint.int4 import to_int4
from msckpt_jax.checkpoint.plan import Plan
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.errors import CheckpointError

#: The name of the manifest among the numbers.
_MANIFEST = "manifest"


class Part(NamedTuple):
    """A box of the tensor of a record."""

    record: int
    box: boxes.Box


class Manifest(NamedTuple):
    """What a file holds of which save.

    Attributes:
        save: a name that no other save has.
        total: the number of parts of the whole tree.
        records: name in the file, type and dimensions of each entry of the tree.
        parts: the parts that this file holds, by their numbers.
    """

    save: str
    total: int
    records: list[tuple[str, str, tuple[int, ...]]]
    parts: dict[int, Part]

    def encode(self) -> bytes:
        parts = {number: [part.record, part.box] for number, part in self.parts.items()}
        return json.dumps(self._replace(parts=parts)._asdict()).encode()  # type: ignore[arg-type]

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """The manifest in these bytes.

        Raises:
            ValueError, TypeError, KeyError: they hold something else.
        """
        told = json.loads(data)
        records = [(tag, kind, tuple(dims)) for tag, kind, dims in told["records"]]
        parts = {
            int(number): Part(record, tuple((a, b) for a, b in box))
            for number, (record, box) in told["parts"].items()
        }
        return cls(told["save"], told["total"], records, parts)


def planned(manifest: Manifest, tensors: Mapping[int, Tensor], types: Sequence[str]) -> Plan:
    """The plan of a file with the given contents of its parts, of records of these types."""
    text = np.frombuffer(manifest.encode(), np.uint8)
    records = [Record(_MANIFEST, "UInt8", text.shape, text)]
    for number, part in manifest.parts.items():
        tensor = tensors[number]
        records.append(Record(str(number), types[part.record], tensor.shape, tensor))
    return formats.plan(formats.DEFAULT, records, How(check_sum=True))


def manifest_of(file: CheckpointFile) -> Manifest:
    """The manifest of an opened file.

    Raises:
        CheckpointError: it has none, or one that does not fit its entries.
    """
    try:
        manifest = Manifest.decode(file.raw(_MANIFEST).tobytes())
        shapes = {int(name): file.entries[name].shape for name in file if name != _MANIFEST}
        if shapes == {number: boxes.shape_of(part.box) for number, part in manifest.parts.items()}:
            return manifest
    except (ValueError, TypeError, KeyError):
        pass
    raise CheckpointError("this is no file of parts, or its manifest is damaged", file=file.path)


class Kept(Mapping[str, Any]):
    """Files of one save as a mapping from the names of its tree to values, read when asked for.

    The interface is that of :class:`~msckpt_jax.checkpoint.file.CheckpointFile`. Reading what the
    files do not hold is an error. ``close`` leaves arrays that were read valid.
    """

    def __init__(self, paths: Iterable[Any]):
        self.entries: dict[str, Entry] = {}
        self._files: list[CheckpointFile] = []
        self._held: dict[str, dict[boxes.Box, tuple[CheckpointFile, int]]] = {}
        self.path = ""
        for path in paths:
            file = open_checkpoint(path)
            self._add(file, manifest_of(file))

    def _add(self, file: CheckpointFile, manifest: Manifest) -> None:
        if not self._files:
            self.path, self._records = file.path, manifest.records
            self._names = [self._enter(*record) for record in manifest.records]
        elif manifest.records != self._records:
            problem = "two files of one save do not hold the same tree"
            raise CheckpointError(problem, file=file.path)
        self._files.append(file)
        for number, part in manifest.parts.items():
            held = self._held[self._names[part.record]]
            held.setdefault(part.box, (file, number))

    def _enter(self, tag: str, kind: str, dims: tuple[int, ...]) -> str:
        row = dtypes.BY_NAME.get(kind)
        itemsize = 1 if row is None or kind == dtypes.STRING else row.stored.itemsize
        nbytes = boxes.size_of(boxes.whole(dims)) * itemsize
        entry = entries_of.named(tag, 0, (Stored(kind, dims, ((0, nbytes),)),))
        self.entries[entry.name] = entry
        self._held[entry.name] = {}
        return entry.name

    def __getitem__(self, name: str) -> Any:
        entry = self.entries[name]
        if entry.type == dtypes.STRING:
            return self._text(name)
        data = self.raw(name)
        if entry.key_impl:
            return jax.random.wrap_key_data(jax.numpy.asarray(data), impl=entry.key_impl)
        return to_int4(data, name, self.path) if entry.type == "Int4" else data

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def raw(self, name: str) -> np.ndarray:
        """The whole array in the dtype of its bytes."""
        stored = self.entries[name].tensors[0]
        out = np.empty(stored.shape, stored.row.stored)
        boxes.gather(self.pieces(name), boxes.whole(stored.shape), out)
        return out

    def pieces(self, name: str, box: boxes.Box | None = None) -> list[boxes.Piece]:
        """The pieces of the array that the files hold, as of a CheckpointFile."""
        held = self._held[name]
        return [(b, file.raw(str(number))) for b, (file, number) in held.items()
                if box is None or boxes.intersect(b, box) is not None]  # fmt: skip

    def _text(self, name: str) -> str:
        (data,) = [source for _, source in self.pieces(name)]
        return data.tobytes().decode("utf-32-le").rstrip("\0")

    def close(self) -> None:
        """Forget the files."""
        for file in self._files:
            file.close()
        self._files, self._held, self.entries = [], {}, {}

"""``open_checkpoint``: a file as a mapping of lazily read values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from msckpt_jax import boxes, display, dtypes
from msckpt_jax.checkpoint import cipher, wire, writer
from msckpt_jax.checkpoint.entries import Entry, Stored, joined, pieces, string
from msckpt_jax.checkpoint.formats import ckpt, safetensors
from msckpt_jax.checkpoint.int4 import to_int4
from msckpt_jax.checkpoint.plan import Part
from msckpt_jax.checkpoint.records import Record
from msckpt_jax.checkpoint.source import RemoteBytes, open_source
from msckpt_jax.errors import CheckpointError
from msckpt_jax.progress import Progress


def open_checkpoint(
    ckpt_file_name: Any,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    crc_check: bool = False,
    format: str | None = None,
) -> CheckpointFile:
    """Open a ``.ckpt`` or ``.safetensors`` file of any MindSpore generation.

    Only the headers of the records are read; tensors are views into the mapped file, so that one
    tensor of a 100 GB file costs one tensor. An encrypted file is decrypted into memory.

    Args:
        ckpt_file_name: path, local or any that ``etils.epath`` knows.
        dec_key: the key of an encrypted file, bytes.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        crc_check: verify the check sum (reads the whole file); a file without one is refused.
        format: ``"ckpt"`` or ``"safetensors"``; None looks at the content.

    Raises:
        CheckpointError: the file is damaged, truncated, of another format, encrypted with another
            key or mode; names file, byte offset, parameter, expected and found.
        FileNotFoundError: there is no such file.
    """
    file = CheckpointFile(ckpt_file_name, dec_key, dec_mode, format)
    if file.problems:
        raise file.problems[0]
    if crc_check:
        file.check_crc()
    return file


def encryption(ckpt_file_name: Any) -> tuple[str, int] | None:
    """The cipher mode and the number of blocks of an encrypted file, without its key."""
    data = open_source(ckpt_file_name)
    mode = cipher.detect(data[:4])
    if mode is None:
        return None
    try:
        return mode.name, sum(1 for _ in cipher.blocks(memoryview(data[:]), mode))
    except cipher.CipherError as error:
        raise CheckpointError(error.problem, file=ckpt_file_name, offset=error.offset) from None


class CheckpointFile(Mapping[str, Any]):
    """An open CheckPoint: a mapping from names to values that are read when asked for.

    Values are read-only NumPy views of the file (bfloat16 and int4 as ``ml_dtypes``), ``str`` for
    strings, typed JAX keys for PRNG keys, and ``[keys, values, status]`` for MapTensors.

    Attributes:
        path: the file's name. entries: name to :class:`Entry`. format: "ckpt" or "safetensors".
        cipher: name of the cipher mode, or None. crc: stored check sum, or None.
        metadata: of a safetensors file. size: bytes of the file. problems: what is wrong with it.
    """

    plan = None  # it has no ranks

    def __init__(
        self,
        ckpt_file_name: Any,
        dec_key: bytes | None = None,
        dec_mode: str = "AES-GCM",
        format: str | None = None,
    ):
        self.path = str(ckpt_file_name)
        self.problems: list[CheckpointError] = []
        self.metadata: dict[str, str] = {}
        self.crc: int | None = None
        mode = cipher.mode_named(dec_mode, "dec_mode")
        if dec_key is not None:
            dec_key = mode.check_key(dec_key, "dec_key")
        self._data: Any = open_source(ckpt_file_name)
        self.size = len(self._data)
        found = cipher.detect(self._data[:4])
        self.cipher = found.name if found else None
        self._data = self._plain(found, mode, dec_key)
        self.format = self._format(format)
        self.payload = len(self._data)
        self.entries = self._index()
        if not self.entries and not self.problems:
            self._problem(CheckpointError("the file holds no parameters"))

    def _plain(self, found: cipher.Mode | None, mode: cipher.Mode, key: bytes | None) -> Any:
        if found is None:
            if key is not None:
                raise CheckpointError("dec_key was given, but it is not encrypted", file=self.path)
            return self._data
        if key is None:
            raise CheckpointError(f"encrypted with {found.name}: pass dec_key", file=self.path)
        if found is not mode:
            raise CheckpointError(
                "encrypted in another mode", file=self.path, expected=mode.name, found=found.name
            )
        try:
            return cipher.decrypt(memoryview(self._data[:]), mode, key)
        except cipher.CipherError as error:
            raise CheckpointError(error.problem, file=self.path, offset=error.offset) from None

    def _format(self, wanted: str | None) -> str:
        if wanted not in (None, "ckpt", "safetensors"):
            raise ValueError(f"format must be 'ckpt' or 'safetensors', not {wanted!r}")
        length = int.from_bytes(bytes(self._data[:8]), "little")
        is_safetensors = bytes(self._data[8:9]) == b"{" and length < len(self._data)
        # A damaged file is neither by its content: then its name tells what it was meant to be.
        named = self.path.endswith(".safetensors") and bytes(self._data[:1]) != b"\n"
        found = "safetensors" if is_safetensors or named else "ckpt"
        if wanted is not None and wanted != found:
            raise CheckpointError(
                "the file is of another format", file=self.path, expected=wanted, found=found
            )
        return found

    def _index(self) -> dict[str, Entry]:
        if self.format == "safetensors":
            try:
                entries, self.metadata = safetensors.of_safetensors(
                    self._data, len(self._data), self._problem
                )
            except CheckpointError as error:
                self._problem(error)
                return {}
            stored = self.metadata.get("crc_num", "")
            if stored.isascii() and stored.isdigit() and len(stored) <= 10:  # digits of uint32
                self.crc = int(stored)
            return entries
        tail = bytes(self._data[max(0, self.payload - wire.CRC_BYTES) : self.payload])
        if len(tail) == wire.CRC_BYTES and tail.startswith(wire.CRC_MARK):
            self.payload -= wire.CRC_BYTES
            self.crc = int.from_bytes(tail[len(wire.CRC_MARK) :], "big")
        return ckpt.of_ckpt(self._data, self.payload, self._problem)

    def _problem(self, error: CheckpointError) -> None:
        self.problems.append(
            CheckpointError(
                error.problem,
                file=self.path,
                offset=error.offset,
                name=error.name,
                expected=error.expected,
                found=error.found,
            )
        )

    # The mapping

    def __getitem__(self, name: str) -> Any:
        entry = self.entries[name]
        if entry.is_map:
            return [self._array(tensor) for tensor in entry.tensors]
        if entry.type == dtypes.STRING:
            return string(self._data, entry)
        if entry.key_impl:
            import jax  # only here: inspecting a file needs no JAX

            data = jax.numpy.asarray(self._array(entry.tensors[0]))
            return jax.random.wrap_key_data(data, impl=entry.key_impl)
        if entry.type == "Int4":
            return to_int4(self._array(entry.tensors[0]), name, self.path)
        return self._array(entry.tensors[0])

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    @property
    def names(self) -> list[str]:
        """The names in the order of the file."""
        return list(self.entries)

    def get_slice(self, name: str) -> TensorSlice:
        """A handle that reads only the part that it is indexed with: ``get_slice("w")[2:4]``."""
        if not self.entries[name].is_array:
            raise TypeError(f"{name!r} is a {self.entries[name].type}, which has no slices")
        return TensorSlice(self, self.entries[name])

    def raw(self, name: str) -> np.ndarray:
        """The array in the dtype of its bytes: Int4 as int8, PRNG keys as uint32."""
        return self._array(self.entries[name].tensors[0])

    def pieces(self, name: str, box: boxes.Box | None = None) -> list[boxes.Piece]:
        """The array as pieces ``(box, source)`` in the dtype in which it is stored.

        ``box`` is what is wanted of it, which other sources need to know.
        """
        return pieces(self._data, self.entries[name].tensors[0])

    def raw_bytes(self, tensor: Stored) -> Any:
        """The bytes of a tensor of an entry: a view where they lie in one piece."""
        return joined(self._data, tensor)

    def _array(self, tensor: Stored) -> np.ndarray:
        found = pieces(self._data, tensor)
        whole = boxes.whole(tensor.shape)
        view = boxes.view(found, whole)
        if view is None:
            view = np.empty(tensor.shape, tensor.row.stored)
            boxes.gather(found, whole, view)
        return view

    # Checks

    def check_crc(self) -> None:
        """Compare the stored check sum with the bytes.

        Raises:
            CheckpointError: they differ, or there is none: a file that is cut off between two
            records lacks it, too.
        """
        if self.crc is None:
            raise CheckpointError(
                "it holds no check sum to verify: saved without crc_check, or cut off",
                file=self.path,
            )
        found = self.compute_crc()
        if found != self.crc:
            raise CheckpointError(
                "the check sum does not fit: the file is damaged",
                file=self.path,
                expected=f"crc32 {self.crc:#010x}",
                found=f"{found:#010x}",
            )

    def compute_crc(self, progress: Progress | None = None) -> int:
        """The CRC32 of the contents, over what MindSpore computes it for this format.

        ``progress`` is called with the size of each piece that was read.
        """

        def checksum(parts: Iterable[Part]) -> int:
            return writer.checksum(parts, progress=progress)

        if self.format == "safetensors":
            tensors = [(e.tag, e.tensors[0]) for e in self.entries.values()]
            return safetensors.crc(
                [Record(tag, t.type, t.shape, self._array(t)) for tag, t in tensors], checksum
            )
        step = 64 << 20
        parts = (self._data[a : min(a + step, self.payload)] for a in range(0, self.payload, step))
        return checksum(parts)

    # Lifetime and looks

    def close(self) -> None:
        """Forget the file. Arrays that were read stay valid: the mapping lives as long as they."""
        if isinstance(self._data, RemoteBytes):
            self._data.close()
        self._data = b""
        self.entries = {}

    def __enter__(self) -> CheckpointFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        total = display.size(sum(e.nbytes for e in self.entries.values()))
        return f"<CheckpointFile {self.path}: {len(self)} entries, {total}>"

    def _repr_html_(self) -> str:
        rows = [
            (e.name, e.type, str(list(e.shape)), display.Size(e.nbytes), e.slices)
            for e in self.entries.values()
        ]
        columns = ["name", "dtype", "shape", "size", "slices"]
        return display.page(repr(self)[1:-1], display.table(columns, rows))


class TensorSlice:
    """One array of a file; indexing it with ints and slices reads only that part."""

    def __init__(self, file: CheckpointFile, entry: Entry):
        self._file, self._entry = file, entry
        self.shape = entry.shape
        self.dtype = entry.tensors[0].row.array

    def __getitem__(self, key: Any) -> np.ndarray:
        keys = key if isinstance(key, tuple) else (key,)
        first, rest = self._box(keys)
        pieces = self._file.pieces(self._entry.name)
        out = boxes.view(pieces, first)
        if out is None:
            out = np.empty(boxes.shape_of(first), self._entry.tensors[0].row.stored)
            boxes.gather(pieces, first, out)
        out = out[rest]
        return to_int4(out, self._entry.name, self._file.path) if self._is_int4 else out

    @property
    def _is_int4(self) -> bool:
        return self._entry.type == "Int4"

    def _box(self, keys: tuple) -> tuple[boxes.Box, tuple]:
        """The box that holds all that is asked for, and the index that remains within it."""
        if keys.count(Ellipsis) > 1 or len(keys) - keys.count(Ellipsis) > len(self.shape):
            raise IndexError(f"too many indices for shape {self.shape}")
        if Ellipsis not in keys:
            keys = (*keys, Ellipsis)
        at = keys.index(Ellipsis)
        fill = (slice(None),) * (len(self.shape) - len(keys) + 1)
        box, rest = [], []
        for k, n in zip(keys[:at] + fill + keys[at + 1 :], self.shape, strict=True):
            if isinstance(k, slice):
                span = range(n)[k]
                low, high = (min(span), max(span) + 1) if span else (0, 0)
                box.append((low, high))
                rest.append(slice(None, None, k.step))
            else:
                i = range(n)[k]  # IndexError when it is outside
                box.append((i, i + 1))
                rest.append(0)
        return tuple(box), tuple(rest)

    def __repr__(self) -> str:
        return f"<TensorSlice {self._entry.name} {self.dtype}{list(self.shape)}>"

"""``open_checkpoint``: a file as a mapping of lazily read values."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from msckpt_jax import arguments, boxes, display, dtypes
from msckpt_jax.checkpoint import encryption, formats, writer
from msckpt_jax.checkpoint import source as sources
from msckpt_jax.checkpoint.entries import Entry, Stored, array, joined, pieces, string
from msckpt_jax.checkpoint.formats.format import CheckSum, Contents
from msckpt_jax.checkpoint.int4 import to_int4
from msckpt_jax.checkpoint.mappings import Mappings, Remapped
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.checkpoint.tensor_slice import TensorSlice
from msckpt_jax.checkpoint.twins import Twins
from msckpt_jax.errors import CheckpointError
from msckpt_jax.lazy import jax
from msckpt_jax.progress import Progress
from msckpt_jax.visible import visible


def open_checkpoint(
    ckpt_file_name: PathLike,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    crc_check: bool = False,
    format: str | None = None,
    *,
    mmap: bool = True,
) -> CheckpointFile:
    """Open a ``.ckpt`` or ``.safetensors`` file of any MindSpore generation, or a folder.

    Only the headers of the records are read; tensors are views into the mapped file, so that one
    tensor of a 100 GB file costs one tensor. An encrypted file is decrypted into memory.

    Folders are those that Hugging Face's libraries write (safetensors files with an index, which
    may be named itself, or ``model.safetensors`` alone), and Orbax's. A folder whose files a save
    is replacing, or was when it was killed, is refused: see :func:`save_checkpoint`.

    Args:
        ckpt_file_name: path, local or in an object store.
        dec_key: the key of an encrypted file, bytes.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        crc_check: verify the check sum (reads the whole file); a file without one is refused. Of
            an encrypted file the seal is asked for, which authenticates the order of its blocks.
        format: ``"ckpt"``, ``"safetensors"``, ``"sharded"`` (Hugging Face's folder), ``"orbax"``;
            None looks at the content.
        mmap: False reads files instead of mapping them. A file that is cut off by someone while it
            is mapped ends the process (SIGBUS); while it is read, that is a CheckpointError.

    Raises:
        CheckpointError: the file is damaged, truncated, of another format, encrypted with another
            key or mode; the error names file, byte offset, parameter, expected and found.
        FileNotFoundError: there is no such file.

    Example:
        >>> ms.save_checkpoint({"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, "model.ckpt")
        >>> with ms.open_checkpoint("model.ckpt") as file:
        ...     print(file.entries["w"].shape, file.get_slice("w")[1:, :2])
        (2, 3) [[3. 4.]]
    """
    return CheckpointFile(ckpt_file_name, dec_key, dec_mode, format, mmap).sound(crc_check)


class CheckpointFile(Mapping[str, Any]):
    """An open CheckPoint: a mapping from names to values that are read when asked for.

    Values are read-only NumPy views of the file (bfloat16 and int4 as ``ml_dtypes``), ``str`` for
    strings, typed JAX keys for PRNG keys, and ``[keys, values, status]`` for MapTensors.

    Attributes:
        path: the name of the file or folder.
        entries: name to :class:`Entry`.
        format: ``"ckpt"``, ``"safetensors"``, ``"sharded"`` or ``"orbax"``.
        cipher: name of the cipher mode, or None.
        sealed: whether an encrypted file is authenticated as a whole; None for others.
        metadata: those of safetensors files, indices and Orbax.
        custom_metadata: those of them that neither the format nor MindSpore has put there;
            safetensors' are decoded as JSON.
        check_sums: the stored check sums.
        size: the bytes of all files.
        problems: the errors that were found.
        shardings: those with which Orbax saved the arrays, as its metadata describe them; None for
            other formats.
        save: the name of the save of rank files to which the file belongs; None where it says
            nothing of one.

    Example:
        >>> ms.save_checkpoint({"w": np.ones((2, 3), np.float32), "note": "warm"}, "model.ckpt")
        >>> file = ms.open_checkpoint("model.ckpt")
        >>> {name: entry.type for name, entry in file.entries.items()}
        {'note': 'str', 'w': 'Float32'}
        >>> file["note"]
        'warm'
    """

    plan = None  # a file has no ranks

    def __init__(
        self,
        ckpt_file_name: PathLike,
        dec_key: bytes | None = None,
        dec_mode: str = "AES-GCM",
        format: str | None = None,
        mmap: bool = True,
        twins: Twins | None = None,
    ):
        self.path = str(ckpt_file_name)
        self.problems: list[CheckpointError] = []
        source = sources.opened(ckpt_file_name, mmap)
        mode = encryption.mode_of(source)
        self.cipher = None if mode is None else mode.name
        plain, self.sealed = encryption.plain(source, dec_key, dec_mode)
        kind = formats.recognised(plain)
        if format is not None and formats.named(format) is not kind:
            problem = "the file is of another format"
            raise CheckpointError(problem, file=self.path, expected=format, found=kind.name)
        self.format = kind.name
        try:
            read = kind.contents if twins is None else functools.partial(twins.contents, kind)
            contents = read(plain, self._problem)
        except CheckpointError as error:
            self._problem(error)
            contents = Contents({}, memoryview(b""), 0)
        self.entries, self._data = contents.entries, contents.data
        self.size = contents.nbytes if mode is None else len(source.data)
        self.metadata, self.custom_metadata = dict(contents.metadata), dict(contents.custom)
        self.check_sums, self.shardings = contents.check_sums, contents.shardings
        self.save = contents.save
        if not self.entries and not self.problems:
            self._problem(CheckpointError("the file holds no parameters"))

    def _problem(self, error: CheckpointError) -> None:
        self.problems.append(error.within(self.path))

    def _readable(self, name: str) -> Entry:
        entry = self.entries.get(name)
        if entry is None:
            why = "" if self.entries else ": the file is closed"
            raise KeyError(visible(f"{self.path} has no parameter {name!r}{why}"))
        if entry.unknown:
            raise entry.unknown.within(self.path)
        return entry

    @property
    def crc(self) -> int | None:
        """The stored check sum; None where there is none, or one for each of several files."""
        return self.check_sums[0].stored if len(self.check_sums) == 1 else None

    # The mapping

    def __getitem__(self, name: str) -> Any:
        entry = self._readable(name)
        if entry.is_map:
            return [array(self._data, tensor) for tensor in entry.tensors]
        if entry.type == dtypes.STRING:
            return string(self._data, entry)
        if entry.key_impl:
            data = jax.numpy.asarray(self.raw(name))
            return jax.random.wrap_key_data(data, impl=entry.key_impl)
        if entry.type == "Int4":
            return to_int4(self.raw(name), name, self.path)
        return self.raw(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def _ipython_key_completions_(self) -> list[str]:
        return self.names

    @property
    def names(self) -> list[str]:
        """The names in the order of the file."""
        return list(self.entries)

    def get_slice(self, name: str) -> TensorSlice:
        """A handle that reads only the part that it is indexed with: ``get_slice("w")[2:4]``."""
        entry = self._readable(name)
        if not entry.is_array:
            raise TypeError(f"{name!r} is a {entry.type}, which has no slices")
        return TensorSlice(self, entry)

    def raw(self, name: str) -> np.ndarray:
        """The array in the dtype of its bytes: Int4 as int8, PRNG keys as uint32."""
        return array(self._data, self._readable(name).tensors[0])

    def pieces(self, name: str, box: boxes.Box | None = None) -> list[boxes.Piece]:
        """The array as pieces ``(box, source)`` in the dtype in which it is stored.

        ``box`` is the part that is wanted: a file ignores it, a set of rank files needs it.
        """
        return pieces(self._data, self._readable(name).tensors[0])

    def raw_bytes(self, tensor: Stored) -> bytes | memoryview:
        """The bytes of a tensor of an entry: a view where they lie in one piece."""
        return joined(self._data, tensor)

    def map_later(self, mappings: Mappings, stamp: tuple[int, ...]) -> None:
        """Give the mapping of a local file away: its bytes are mapped when they are read."""
        if self.cipher is None and isinstance(self._data, memoryview):
            self._data = Remapped(Path(self.path), stamp, mappings)
            self.check_sums = ()

    # Checks

    def sound(self, crc_check: bool = False) -> CheckpointFile:
        """The file itself, whose problems are raised.

        Raises:
            CheckpointError: the first problem, or with ``crc_check`` that of the check sum.
        """
        arguments.flags(crc_check=crc_check)
        if self.problems:
            raise self.problems[0]
        if crc_check:
            self.check_crc()
        return self

    def check_crc(self, progress: Progress | None = None) -> None:
        """Compare the stored check sums with the bytes; ``progress`` gets the size of each piece.

        The seal of an encrypted file is stronger than a check sum, and was compared already.

        Raises:
            CheckpointError: they differ, or there is none: a file that is cut off between two
                records or cipher blocks has none, either.
        """
        if self.sealed:
            return
        if self.sealed is False:
            raise CheckpointError(
                "the encrypted file has no seal: MindSpore or an older version wrote it, its mode "
                "is CBC, or the seal was taken away; at most single blocks are authenticated",
                file=self.path,
            )
        if not self.check_sums:
            raise CheckpointError(
                "the file holds no check sum: it was saved without crc_check, or is cut off",
                file=self.path,
            )
        for held in self.check_sums:
            _compare(held, progress)

    # Lifetime and looks

    def close(self) -> None:
        """Forget the file. Arrays that were read stay valid: they keep the mapping alive."""
        sources.close(self._data)
        self._data = memoryview(b"")
        self.entries, self.check_sums = {}, ()

    def __enter__(self) -> CheckpointFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        total = display.size(sum(e.nbytes for e in self.entries.values()))
        entries = display.counted(len(self), "entry", "entries")
        return visible(f"<CheckpointFile {self.path}: {entries}, {total}>")

    def _repr_html_(self) -> str:
        rows = [
            (e.name, e.type, str(list(e.shape)), display.Size(e.nbytes), e.slices)
            for e in self.entries.values()
        ]
        columns = ["name", "dtype", "shape", "size", "slices"]
        return display.page(repr(self)[1:-1], display.table(columns, rows))


def _compare(held: CheckSum, progress: Progress | None) -> None:
    try:
        computed = held.compute(functools.partial(writer.checksum, progress=progress))
    except CheckpointError as error:
        raise error.within(held.file) from None
    if computed != held.stored:
        raise CheckpointError(
            "the check sum does not fit: the file is damaged",
            file=held.file,
            expected=f"crc32 {held.stored:#010x}",
            found=f"{computed:#010x}",
        )

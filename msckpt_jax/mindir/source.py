"""Open a MindIR file: decrypt and parse it, its weights as views of the bytes in the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError

from msckpt_jax._protos import mind_ir_pb2 as pb
from msckpt_jax.checkpoint import cipher, paths, wire
from msckpt_jax.checkpoint.formats import foreign
from msckpt_jax.checkpoint.source import open_source
from msckpt_jax.errors import CheckpointError, MindIRError, StoreError
from msckpt_jax.graph import map_keys, texts
from msckpt_jax.mindir import attributes, weights

#: A cipher mode's name, or a function of the file's path and the key that gives the plain bytes.
DecMode: TypeAlias = "str | Callable[[str, bytes], bytes]"

#: The producer of our own files.
PRODUCER = "msckpt_jax"
_OLD_NONCE = 16  # before the 12 bytes of 2.10, MindSpore took the whole IV


@dataclass
class Source:
    """A parsed file.

    Attributes:
        path: the path of the file.
        model: the message, without the weights' bytes.
        weights: name to read-only array, over the parsed bytes or the mapped data files.
        cipher: the cipher mode, or None.
        data_files: the files that hold the weights of a split model.
    """

    path: str
    model: pb.ModelProto
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    cipher: str | None = None
    data_files: list[str] = field(default_factory=list)


def open_mindir(
    file_name: Any,
    dec_key: bytes | None = None,
    dec_mode: DecMode = "AES-GCM",
    mmap: bool = True,
) -> Source:
    """Open a MindIR file: one file or split, plain or encrypted.

    Args:
        file_name: the path of the ``.mindir`` file; for a split model, of the ``_graph.mindir``.
        dec_key: the key of an encrypted file.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"``, ``"SM4-CBC"``, or a function of path and key.
        mmap: whether the files are mapped, or read.

    Raises:
        MindIRError: the file is damaged, no MindIR or encrypted otherwise, or a data file is
            missing or too short.
        FileNotFoundError: there is no such file.
    """
    opener = _Opener(str(file_name), dec_key, dec_mode, mmap)
    data, mode = opener.plain(file_name)
    data = memoryview(data)
    model, ranges = _parse(data, opener.path, mode)
    out = Source(opener.path, model, cipher=mode)
    files: dict[str, Any] = {}
    for parameter, (start, stop) in zip(model.graph.parameter, ranges, strict=True):
        name = parameter_name(parameter)
        if name in out.weights:
            raise MindIRError("two parameters have this name", file=out.path, name=name)
        try:
            out.weights[name] = _weight(parameter, data[start:stop], opener, files)
        except MindIRError as error:
            error.name = name
            error.tell(file=out.path)
            raise
    out.data_files = sorted(files)
    return out


def encryption(file_name: Any) -> str | None:
    """The cipher mode of a file, or None where it is plain."""
    mode = cipher.detect(open_source(file_name)[:4])
    return None if mode is None else mode.name


def parameter_name(parameter: pb.TensorProto) -> str:
    """The name in the CheckPoint: as in MindSpore's loader, the text after the graph's name."""
    graph, colon, name = parameter.name.partition(":")
    return parameter.ref_key or (name if colon else graph)


def result_names(model: pb.ModelProto, count: int) -> list[str]:
    """The names that a file of ours has for so many results; others have none."""
    told = [tensor.name for value in model.graph.output for tensor in value.tensor]
    ours = model.producer_name == PRODUCER
    return told if ours and any(told) and len(told) == count else []


def nesting_note(model: pb.ModelProto) -> str:
    """The note that a file of ours has of how its arguments and results are nested, or ""."""
    return model.doc_string if model.producer_name == PRODUCER else ""


def _parse(
    data: memoryview, path: str, mode: str | None
) -> tuple[pb.ModelProto, list[tuple[int, int]]]:
    """The message without weights, and the ranges of the weights' bytes."""
    hint = "; wrong key or mode?" if mode else ""
    try:
        message, ranges = weights.without_weights(data)
        model = pb.ModelProto.FromString(message)
    except (DecodeError, wire.WireError):
        model, message, ranges = pb.ModelProto(), b"", []
    # Of most other files something is read, of some even texts.
    if not model.producer_name and (told := foreign.instead(data, paths.path_of(path), "MindIR")):
        raise MindIRError(told, file=path)
    if not model.ListFields():
        raise MindIRError(f"the file is damaged, or no MindIR{hint}", file=path)
    if (key := map_keys.twice(model, message)) is not None:
        raise MindIRError(f"the information {key!r} is there twice", file=path)
    if not texts.are_sound(model):
        raise MindIRError(f"the file is damaged: a name is not UTF-8 text{hint}", file=path)
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise MindIRError(f"the file is no MindIR: it holds no graph{hint}", file=path)
    if model.HasField("little_endian") and not model.little_endian:
        raise MindIRError("the file was written on a big-endian machine", file=path)
    return model, ranges


class _Opener:
    def __init__(self, path: str, key: bytes | None, mode: DecMode, mmap: bool):
        self.path, self.custom, self.mmap = path, None, mmap
        self.key: Any = key
        if callable(mode):  # a function of the user's takes any key, even None
            self.key = cipher.Key(key) if isinstance(key, bytes | bytearray) else key
            self.custom = mode
            return
        self.mode = cipher.mode_named(mode, "dec_mode")
        if key is not None:
            self.key = self.mode.check_key(key, "dec_key")

    def plain(self, file_name: Any) -> tuple[Any, str | None]:
        """The plain bytes of a file and the name of its cipher."""
        if self.custom is not None:
            data = self.custom(str(file_name), self.key)
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"dec_mode must return bytes, not {type(data).__name__}")
            return data, "custom"
        try:
            data = open_source(file_name, self.mmap)[:]
        except CheckpointError as error:  # empty, a folder, or cut off while it is read
            raise MindIRError(error.problem, file=error.file, offset=error.offset) from None
        mode = cipher.detect(data[:4])
        if mode is None:
            if self.key is not None:
                raise MindIRError("the file is not encrypted: omit dec_key", file=file_name)
            return data, None
        if self.key is None:
            raise MindIRError(
                f"the file is encrypted with {mode.name}: pass dec_key", file=file_name
            )
        if mode is not self.mode:
            raise MindIRError(
                "the file is encrypted in another mode: pass dec_mode",
                file=file_name,
                expected=self.mode.name,
                found=mode.name,
            )
        return self._decrypt(memoryview(data), file_name), mode.name

    def _decrypt(self, data: memoryview, file_name: Any) -> memoryview:
        try:
            return cipher.decrypt(data, self.mode, self.key).data
        except cipher.CipherError as error:
            first = error
        try:
            if self.mode.authenticated:
                return cipher.decrypt(data, self.mode, self.key, _OLD_NONCE).data
        except cipher.CipherError:
            pass  # the first error tells the reason
        raise MindIRError(first.problem, file=file_name, offset=first.offset)


def _weight(
    parameter: pb.TensorProto, own: memoryview, opener: _Opener, files: dict[str, Any]
) -> np.ndarray:
    if not parameter.HasField("external_data"):
        return attributes.array(parameter, own)
    where = parameter.external_data
    if where.location not in files:
        files[where.location] = _data_file(where.location, opener)
    data = files[where.location]
    if where.offset < 0 or where.length < 0 or where.offset + where.length > len(data):
        raise MindIRError(
            f"bytes {where.offset} to {where.offset + where.length} are not in {where.location!r}",
            expected=f"at most {len(data)}",
            found=where.offset + where.length,
        )
    return attributes.array(parameter, data[where.offset : where.offset + where.length])


def _data_file(location: str, opener: _Opener) -> memoryview:
    model = paths.path_of(opener.path)
    folder = (model.resolve() if paths.is_local(model) else model).parent
    plain = PurePosixPath(location)
    outside = plain.is_absolute() or "\0" in location or ".." in plain.parts
    try:
        path = None if outside else paths.inside(folder, location)
        if path is None:
            raise MindIRError(f"the data file {location!r} is outside of the model's folder")
        there = path.is_file()  # no folder, and no pipe, which might never end
    except StoreError:
        raise
    except (OSError, RuntimeError):  # the name is too long, or a loop of symbolic links
        path, there = None, False
    if path is None or not there:
        raise MindIRError(f"the data file {location!r} is missing", file=opener.path)
    data = memoryview(opener.plain(path)[0])
    if data[0] != 1:  # the header; 1: the numbers are little-endian
        raise MindIRError("the data file does not begin with MindSpore's header", file=path)
    return data

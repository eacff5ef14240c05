"""PyTorch's zip files (``.pt``, ``.pth``, ``.bin``), which are read to be converted.

``torch.save`` writes a pickle of the object and, each in a member of its own, the bytes of the
storages. The pickle is read by a machine that makes tensors, dicts and lists, and calls nothing
else: see https://pytorch.org/docs/stable/notes/serialization.html for the members, and
``torch._utils`` for the functions that a pickle of tensors names.
"""

from __future__ import annotations

import collections
import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import boxes, dtypes
from msckpt_jax.checkpoint.entries import Entry, Problem, Stored, checked, distinct, named
from msckpt_jax.checkpoint.formats.format import Contents, Format
from msckpt_jax.checkpoint.formats.zipped import MARK, Archive
from msckpt_jax.checkpoint.source import Source, piece
from msckpt_jax.errors import CheckpointError

_PICKLE = "/data.pkl"
#: PyTorch's names of storages and dtypes, and those of the table of dtypes.
_STORAGES = {
    "BoolStorage": "Bool", "ByteStorage": "UInt8", "CharStorage": "Int8", "ShortStorage": "Int16",
    "IntStorage": "Int32", "LongStorage": "Int64", "HalfStorage": "Float16",
    "FloatStorage": "Float32", "DoubleStorage": "Float64", "BFloat16Storage": "BFloat16",
    "ComplexFloatStorage": "Complex64", "ComplexDoubleStorage": "Complex128",
}  # fmt: skip
_DTYPES = {
    "bool": "Bool", "uint8": "UInt8", "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64",
    "int8": "Int8", "int16": "Int16", "int32": "Int32", "int64": "Int64", "float16": "Float16",
    "float32": "Float32", "float64": "Float64", "bfloat16": "BFloat16", "complex64": "Complex64",
    "complex128": "Complex128", "float8_e4m3fn": "Float8E4M3FN", "float8_e5m2": "Float8E5M2",
    "float8_e4m3fnuz": "Float8E4M3FNUZ", "float8_e5m2fnuz": "Float8E5M2FNUZ",
    "float8_e8m0fnu": "Float8E8M0FNU",
}  # fmt: skip


class _Name(NamedTuple):
    """A name of PyTorch in a pickle, which stands for itself."""

    name: str


class _Storage(NamedTuple):
    member: str
    dtype: str | None


class _Tensor(NamedTuple):
    """A tensor: offset and strides count elements of the storage."""

    storage: _Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def recognises(source: Source) -> bool:
    """Tell whether the file is a zip archive with a pickle of PyTorch."""
    if source.data is None or bytes(source.data[: len(MARK)]) != MARK:
        return False
    try:
        return _pickle_in(Archive(source)) is not None
    except CheckpointError:
        return False


def _pickle_in(archive: Archive) -> str | None:
    return next((name for name in archive.members if name.endswith(_PICKLE)), None)


def contents(source: Source, problem: Problem) -> Contents:
    """The tensors, numbers and strings by their paths in dicts and lists, joined by dots.

    Raises:
        CheckpointError: the pickle holds anything else, which could run code.
    """
    archive = Archive(source)
    member = _pickle_in(archive)
    assert member is not None
    folder = member.removesuffix(_PICKLE)
    if f"{folder}/byteorder" in archive.members:
        order = archive.read(f"{folder}/byteorder", 0, archive.size(f"{folder}/byteorder"))
        if order != b"little":
            raise CheckpointError(
                "the file has another byte order", expected=b"little", found=order
            )
    text = archive.read(member, 0, archive.size(member))
    entries: dict[str, Entry] = {}
    for name, value in _leaves(_unpickled(text)):
        try:
            entry = _entry(archive, folder, name, value)
            checked(distinct(entries, entry), source.data)
        except CheckpointError as error:
            problem(error.within(source.path, name))
        else:
            entries[entry.name] = entry
    return Contents(entries, source.data, len(source.data))


# The pickle


class _Unpickler(pickle.Unpickler):
    """Pickle's machine without functions but those below: it makes values, and runs no code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _FUNCTIONS:
            return _FUNCTIONS[module, name]
        if module in ("torch", "torch.storage"):
            return _Name(name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, _ = pid
        if kind != "storage" or not isinstance(key, str) or not isinstance(storage, _Name):
            raise pickle.UnpicklingError("a storage is not as PyTorch writes it")
        return _Storage(key, _STORAGES.get(storage.name))


def _unpickled(text: bytes) -> Any:
    try:
        return _Unpickler(io.BytesIO(text)).load()
    except Exception as error:  # whatever a damaged pickle leads to
        raise CheckpointError(
            "the pickle in the file holds more than tensors, numbers, strings, dicts and lists, or "
            f"is damaged: {error}; load it in PyTorch, and save its state_dict() as safetensors"
        ) from None


def _rebuilt(
    storage: Any, offset: Any, shape: Any, strides: Any, *more: Any, dtype: _Name | None = None
) -> _Tensor:
    """A tensor as ``torch._utils._rebuild_tensor_v2`` makes it; hooks and gradients are dropped."""
    kind = storage.dtype if dtype is None else _DTYPES.get(dtype.name, dtype.name)
    numbers = [offset, *shape, *strides]
    if {*map(type, numbers)} != {int} or min(numbers) < 0 or len(shape) != len(strides):
        raise pickle.UnpicklingError("a tensor's shape or strides are no whole numbers")
    if kind is None:
        raise pickle.UnpicklingError("a storage is of an unknown dtype")
    return _Tensor(storage, kind, offset, tuple(shape), tuple(strides))


def _rebuilt_with_dtype(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> _Tensor:
    """A tensor as ``torch._utils._rebuild_tensor_v3`` makes it, whose storage is bytes."""
    return _rebuilt(storage, offset, shape, strides, dtype=dtype)


def _parameter(data: Any, *_: Any) -> Any:
    return data


_FUNCTIONS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuilt_with_dtype,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): tuple,
}


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield all tensors, numbers and strings with their paths; None has no value.

    Raises:
        CheckpointError: a value of another kind, or a container that is in several places: a few
            bytes could ask for any number of them.
    """
    seen: set[int] = set()
    left: list[tuple[str, Any]] = [("", value)]
    while left:
        path, value = left.pop()
        if isinstance(value, _Tensor) or type(value) in (bool, int, float, str):
            if not path:
                raise CheckpointError("it has no name: save a dict in PyTorch, {'name': tensor}")
            yield path, value
            continue
        if value is None:
            continue
        items = value.items() if isinstance(value, dict) else None
        if items is None and type(value) in (list, tuple):
            items = enumerate(value)
        if items is None or (id(value) in seen and len(value)):
            problem = "neither a tensor, number or string, nor a dict or list that is there once"
            raise CheckpointError(problem, name=path, found=type(value).__name__)
        seen.add(id(value))
        children = [(f"{path}.{key}" if path else f"{key}", child) for key, child in items]
        left += reversed(children)


# The tensors


def _entry(archive: Archive, folder: str, name: str, value: Any) -> Entry:
    if not isinstance(value, _Tensor):
        return _plain(name, value)
    row = dtypes.BY_NAME.get(value.dtype)
    if row is None:
        raise CheckpointError("unknown dtype", name=name, found=value.dtype)
    member = f"{folder}/data/{value.storage.member}"
    span = archive.span(member)
    if span is None:
        raise CheckpointError("its storage is compressed: PyTorch compresses none", name=name)
    size = row.stored.itemsize
    first = span[0] + value.offset * size
    count = boxes.size_of(boxes.whole(value.shape))
    reach = sum((n - 1) * s for n, s in zip(value.shape, value.strides, strict=True)) + 1
    if count and first + reach * size > span[1]:
        raise CheckpointError("it lies outside of its storage", name=name, offset=first)
    if count * size > span[1] - span[0]:  # a few bytes could ask for any number of elements
        raise CheckpointError("it repeats elements: save its clone() in PyTorch", name=name)
    spans = ((first, first + count * size),)
    if not count or value.strides == _dense(value.shape):
        return named(name, first, (Stored(row.name, value.shape, spans),))
    source = _Strided(archive, first, reach, value, row.stored)
    return named(name, first, (Stored(row.name, value.shape, spans, source),))


def _plain(name: str, value: Any) -> Entry:
    """The entry of a number or a string, whose bytes are made here."""
    if isinstance(value, str):
        raw = value.encode("utf-32-le", "surrogatepass")
        return Entry(name, name, 0, (Stored(dtypes.STRING, (0,), ((0, len(raw)),), raw),))
    array = np.asarray(value)
    row = dtypes.for_saving(array.dtype)
    return named(name, 0, (Stored(row.name, (), ((0, array.nbytes),), array),))


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for side in reversed(shape):
        strides.append(step)
        step *= side
    return tuple(reversed(strides))


class _Strided:
    """A tensor whose elements lie in another order, such as a transposed one."""

    def __init__(self, archive: Archive, start: int, reach: int, tensor: _Tensor, dtype: np.dtype):
        self.shape, self.dtype = tensor.shape, dtype
        self._strides = [stride * dtype.itemsize for stride in tensor.strides]
        self._archive, self._start, self._reach = archive, start, reach

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        return self._archive.whole(self, self._viewed)[index]

    def _viewed(self) -> np.ndarray:
        held = piece(self._archive.data, self._start, (self._reach,), self.dtype)[(slice(None),)]
        return np.lib.stride_tricks.as_strided(held, self.shape, self._strides, writeable=False)


FORMAT = Format("torch", recognises, contents, strings=True, converted=True)

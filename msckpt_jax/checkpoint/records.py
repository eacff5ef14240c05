"""Named leaves become records: name, dtype, shape and the place of the bytes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.core
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from msckpt_jax import boxes, dtypes, names
from msckpt_jax.checkpoint import collector
from msckpt_jax.errors import CheckpointError


class Tensor(NamedTuple):
    """A tensor whose bytes have to be gathered: shards, strided memory, or another dtype.

    ``pieces`` cover ``shape`` without overlap; their values are cast to ``stored``.
    """

    shape: tuple[int, ...]
    stored: np.dtype
    pieces: tuple[boxes.Piece, ...]


class Spread(NamedTuple):
    """The layout of a tensor on processes, without a sharding: its boxes, and who holds each."""

    holders: tuple[tuple[boxes.Box, int], ...]
    is_fully_addressable: bool = False


#: Bytes ready to be written, or a tensor from which they are gathered window by window.
Content: TypeAlias = bytes | np.ndarray | Tensor


class Record(NamedTuple):
    """An entry of a CheckPoint.

    ``tag`` is the name in the file, ``type`` the ``tensor_type``, ``dims`` the written dimensions.
    ``frozen`` says that nobody can change the content: views of a ``jax.Array`` in host memory
    (while one is held, XLA does not reuse the buffer for a donated argument). ``sharding`` is
    that of a ``jax.Array``, or a :class:`Spread` where a tensor is made of several.
    """

    tag: str
    type: str
    dims: tuple[int, ...]
    content: Content
    frozen: bool = False
    sharding: jax.sharding.Sharding | Spread | None = None

    @property
    def nbytes(self) -> int:
        content = self.content
        if isinstance(content, bytes):
            return len(content)
        if isinstance(content, np.ndarray):
            return content.nbytes
        return boxes.size_of(boxes.whole(content.shape)) * content.stored.itemsize


class File(NamedTuple):
    """A file to be written, and its records."""

    target: Any
    records: list[Record]


@collector.paused()
def from_tree(tree: Any, choose: Callable[[str], Any] = lambda name: True) -> list[Record]:
    """The records of the leaves of ``tree`` for whose names ``choose`` returns true.

    Raises:
        CheckpointError: names collide, or a dtype is not one that MindSpore loads.
        TypeError: a leaf is no array, number, string or PRNG key.
    """
    out = []
    for name, path, value in names.named_leaves(tree):
        if not choose(name):
            continue
        try:
            out.append(of_value(name, value))
        except CheckpointError as error:
            problem = f"{error.problem} (at {names.show(path)})"
            raise CheckpointError(
                problem, name=name, expected=error.expected, found=error.found
            ) from None
        except TypeError as error:
            raise TypeError(f"{error} (at {names.show(path)})") from None
    return out


def of_value(name: str, value: Any) -> Record:
    """The record of an array, Python number, string or typed PRNG key."""
    if isinstance(value, np.ndarray):
        return _of_numpy(name, value)
    if isinstance(value, jax.Array):
        return _of_jax(name, value)
    if isinstance(value, bool | np.bool_):
        return _of_numpy(name, np.array(value, np.bool_))
    if isinstance(value, np.generic) and not isinstance(value, str | bytes):
        return _of_numpy(name, np.asarray(value))
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise CheckpointError("the Python int does not fit int64", name=name, found=value)
        return _of_numpy(name, np.array(value, np.int64))
    if isinstance(value, float):
        return _of_numpy(name, np.array(value, np.float64))
    if isinstance(value, str):
        return Record(name, dtypes.STRING, (0,), encode_string(name, value))
    raise TypeError(
        f"{name!r} is a {type(value).__name__}: a CheckPoint holds arrays, numbers, strings and "
        "PRNG keys; drop it from the tree, or convert it"
    )


def of_append(append: Mapping[str, Any]) -> list[Record]:
    """The records of ``append_dict``: a Python float becomes Float32, as in MindSpore."""
    out = []
    for key, value in append.items():
        if not isinstance(key, str):
            raise TypeError(f"append_dict has the key {key!r}: keys must be str")
        try:
            if isinstance(value, float) and not isinstance(value, np.generic):
                value = _float32(key, value)
            out.append(of_value(key, value))
        except TypeError as error:
            raise TypeError(f"append_dict: {error}") from None
    return out


def _float32(name: str, value: float) -> np.ndarray:
    if math.isfinite(value) and abs(value) > float(np.finfo(np.float32).max):
        raise CheckpointError(
            "append_dict keeps a Python float as Float32, and this value does not fit; pass "
            "np.float64(value)",
            name=name,
            found=value,
        )
    return np.array(value, np.float32)


def check_tags(records: Sequence[Record]) -> None:
    """Refuse no records at all, tags that a file cannot hold, and tags that two records share.

    Names of a tree differ; those of ``append_dict`` and the tags of PRNG keys may meet them.
    """
    if not records:
        raise CheckpointError("there is nothing to save: no leaf in the tree, or none chosen")
    seen: set[str] = set()
    for record in records:
        if record.tag in seen:
            raise CheckpointError(
                "two entries of save_obj, append_dict or PRNG keys have this name; rename one",
                name=record.tag,
            )
        seen.add(record.tag)
        if not record.tag.isascii():
            try:
                record.tag.encode()
            except UnicodeEncodeError:
                raise CheckpointError("the name is not UTF-8 text", name=record.tag) from None


def _of_numpy(
    name: str,
    array: np.ndarray,
    frozen: bool = False,
    sharding: jax.sharding.Sharding | None = None,
) -> Record:
    row = dtypes.for_saving(array.dtype)
    content: Content = array
    if array.dtype != row.stored or not array.flags.c_contiguous:
        content = Tensor(array.shape, row.stored, ((boxes.whole(array.shape), array),))
    return Record(name, row.name, array.shape, content, frozen, sharding)


def _of_jax(name: str, array: jax.Array) -> Record:
    if isinstance(array, jax.core.Tracer):
        raise TypeError(f"{name!r} is a traced value: call save_checkpoint outside of jit")
    if is_key(array.dtype):
        return _of_key(name, array)
    if array.is_deleted():
        raise CheckpointError(
            "the array was deleted or donated before it could be saved", name=name
        )
    row = dtypes.for_saving(array.dtype)
    # 4-bit arrays are packed: NumPy's view of such an array is a copy that the array would keep.
    host = on_host(array.sharding) and array.dtype not in _FOUR_BIT
    if host and array.is_fully_replicated and array.is_fully_addressable:
        return _of_numpy(name, np.asarray(array), frozen=True, sharding=array.sharding)
    shards = {boxes.from_index(s.index, array.shape): s.data for s in array.addressable_shards}
    source = np.asarray if host else DeviceShard
    pieces = tuple((box, source(data)) for box, data in shards.items())
    content = Tensor(array.shape, row.stored, pieces)
    return Record(name, row.name, array.shape, content, host, array.sharding)


def _of_key(name: str, keys: jax.Array) -> Record:
    impl = str(jax.random.key_impl(keys))
    tag = names.key_tag(name, impl)
    if names.split_key_tag(tag) != (name, impl):
        raise TypeError(
            f"{name!r} is a PRNG key of the implementation {impl}, which has no portable name; "
            "save jax.random.key_data(key)"
        )
    return of_value(tag, jax.random.key_data(keys))


_FOUR_BIT = {np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.uint4)}


def is_key(dtype: Any) -> bool:
    """Tell whether ``dtype`` is that of typed PRNG keys."""
    return not isinstance(dtype, np.dtype) and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def encode_string(name: str, value: str) -> bytes:
    """Encode as UTF-32-LE without terminator, as MindSpore does by way of NumPy's '<U'.

    The empty string is one NUL.
    """
    try:
        return (value or "\0").encode("utf-32-le")
    except UnicodeEncodeError:
        raise CheckpointError("the string holds lone surrogates", name=name) from None


def placed(sharding: jax.sharding.Sharding, shape: tuple[int, ...]) -> Iterator[tuple[Any, int]]:
    """Yield the box that each device holds, and the device's process."""
    for device, index in sharding.devices_indices_map(shape).items():
        yield boxes.from_index(index or (), shape), device.process_index


@functools.lru_cache(maxsize=1024)
def on_host(sharding: jax.sharding.Sharding) -> bool:
    """Tell whether arrays of this sharding lie in host memory, where NumPy views cost nothing."""
    return all(device.platform == "cpu" for device in sharding.device_set)


class DeviceShard:
    """A shard in accelerator memory: indexing it copies just that part to the host."""

    def __init__(self, data: jax.Array):
        self.data, self.shape, self.dtype = data, data.shape, data.dtype

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        sizes = tuple(s.stop - s.start for s in index)
        part = self.data.addressable_data(0)  # a fresh handle: NumPy's copy dies with it
        if sizes != part.shape:
            part = jax.lax.dynamic_slice(part, [s.start for s in index], sizes)
        return np.asarray(part)

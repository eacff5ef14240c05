"""The leaves of a tree, and further values, become records."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from msckpt_jax import boxes, dtypes, names
from msckpt_jax.checkpoint import collector
from msckpt_jax.checkpoint.records import Content, Record, Tensor, on_host
from msckpt_jax.deferred import core, jax, jnp
from msckpt_jax.errors import CheckpointError
from msckpt_jax.visible import visible


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
            out.append(_plain(name, of_value(name, value)))
        except CheckpointError as error:
            problem = f"{error.problem} (at {names.show(path)})"
            raise CheckpointError(
                problem, name=name, expected=error.expected, found=error.found
            ) from None
        except TypeError as error:
            raise TypeError(visible(f"{error} (at {names.show(path)})")) from None
    return out


class Given:
    """A leaf that is a record already, whose content is read or rearranged when it is written."""

    def __init__(self, record: Record):
        self.record, self.shape = record, record.dims

    @property
    def dtype(self) -> np.dtype:
        content = self.record.content
        assert not isinstance(content, bytes)  # a string
        return content.stored if isinstance(content, Tensor) else content.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The whole leaf."""
        del copy  # numpy makes one of what it may not keep
        content = self.record.content
        if isinstance(content, Tensor):
            whole = np.empty(content.shape, content.stored)
            boxes.gather(content.pieces, boxes.whole(content.shape), whole)
            content = whole
        return np.asarray(content, dtype)

    def astype(self, dtype: Any) -> np.ndarray:
        """The whole leaf in another dtype."""
        return np.asarray(self).astype(dtype)


def of_value(name: str, value: Any) -> Record:
    """The record of an array, Python number, string or typed PRNG key."""
    if isinstance(value, Given):
        return value.record._replace(tag=name)
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
            out.append(_plain(key, of_value(key, value)))
        except TypeError as error:
            raise TypeError(f"append_dict: {error}") from None
    return out


def _plain(name: str, record: Record) -> Record:
    """The record, unless it is no PRNG key and its name would make it come back as one."""
    if record.tag == name and names.of_tag(name, record.type, record.dims)[1] is not None:
        raise CheckpointError(
            "uint32 arrays of such a name come back as PRNG keys; rename it, or save it as "
            "jax.random.wrap_key_data(array)",
            name=name,
        )
    return record


def _float32(name: str, value: float) -> np.ndarray:
    if math.isfinite(value) and abs(value) > float(np.finfo(np.float32).max):
        raise CheckpointError(
            "append_dict keeps a Python float as Float32, and this value does not fit; pass "
            "np.float64(value)",
            name=name,
            found=value,
        )
    return np.array(value, np.float32)


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
    if isinstance(array, core.Tracer):
        raise TypeError(f"{name!r} is a traced value: call save_checkpoint outside of jit")
    if is_key(array.dtype):
        return _of_key(name, array)
    if array.is_deleted():
        raise CheckpointError(
            "the array was deleted or donated before it could be saved", name=name
        )
    row = dtypes.for_saving(array.dtype)
    # 4-bit arrays are packed: NumPy's view of such an array is a copy that the array would keep.
    host = _views_cost_nothing(array.sharding) and array.dtype not in _FOUR_BIT
    if host and array.is_fully_replicated and array.is_fully_addressable:
        return _of_numpy(name, _viewed(array), frozen=True, sharding=array.sharding)
    shards = {boxes.from_index(s.index, array.shape): s.data for s in array.addressable_shards}
    source = _viewed if host else DeviceShard
    pieces = tuple((box, source(data)) for box, data in shards.items())
    content = Tensor(array.shape, row.stored, pieces)
    return Record(name, row.name, array.shape, content, host, array.sharding)


def _views_cost_nothing(sharding: jax.sharding.Sharding) -> bool:
    return sharding.memory_kind in _HOST_KINDS or on_host(sharding)


def _viewed(array: jax.Array) -> np.ndarray:
    """A view of an array in host memory, or a copy that dies with the view, not with the array."""
    return np.asarray(array.addressable_data(0))


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
#: JAX's kinds of host memory, in which accelerators keep what is offloaded, such as moments.
_HOST_KINDS = ("pinned_host", "unpinned_host")


def encode_string(name: str, value: str) -> bytes:
    """Encode as UTF-32-LE without terminator, as MindSpore does by way of NumPy's '<U'.

    The empty string is one NUL.
    """
    try:
        return (value or "\0").encode("utf-32-le")
    except UnicodeEncodeError:
        raise CheckpointError("the string holds lone surrogates", name=name) from None


class DeviceShard:
    """A shard in accelerator memory: indexing it copies just that part to the host.

    Programs of XLA may not slice an array in host memory, so that one is copied as a whole.
    """

    def __init__(self, data: jax.Array):
        self.data, self.shape, self.dtype = data, data.shape, data.dtype

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        sizes = tuple(s.stop - s.start for s in index)
        part = self.data.addressable_data(0)  # a fresh handle: NumPy's copy dies with it
        if sizes == part.shape:
            return np.asarray(part)
        if part.sharding.memory_kind in _HOST_KINDS:
            return np.asarray(part)[index]
        return np.asarray(jax.lax.dynamic_slice(part, [s.start for s in index], sizes))


def is_key(dtype: Any) -> bool:
    """Tell whether ``dtype`` is that of typed PRNG keys."""
    return not isinstance(dtype, np.dtype) and jnp.issubdtype(dtype, jax.dtypes.prng_key)

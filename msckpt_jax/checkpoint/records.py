"""Named leaves become records: name, dtype, shape and the place of the bytes."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from msckpt_jax import boxes, names
from msckpt_jax.deferred import jax
from msckpt_jax.errors import CheckpointError


class Tensor(NamedTuple):
    """A tensor whose bytes have to be gathered: shards, strided memory, or another dtype.

    ``pieces`` cover ``shape`` without overlap; their values are cast to ``stored``.
    """

    shape: tuple[int, ...]
    stored: np.dtype
    pieces: Sequence[boxes.Piece]


@dataclasses.dataclass(frozen=True, eq=False)  # known by identity: it may name 30,000 boxes
class Spread:
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
        return math.prod(content.shape) * content.stored.itemsize


class File(NamedTuple):
    """A file to be written, and its records."""

    target: Any
    records: list[Record]


def check_tags(records: Sequence[Record]) -> None:
    """Refuse no records at all, tags that a file cannot hold, and names that two records share.

    Names of a tree differ; those of ``append_dict`` may meet them, and a PRNG key whose tag is
    ``w@rbg`` comes back as ``w``.
    """
    if not records:
        raise CheckpointError("there is nothing to save: no leaf in the tree, or none chosen")
    seen: dict[str, str] = {}
    for record in records:
        name = names.of_tag(record.tag, record.type, record.dims)[0]
        if name in seen:
            raise CheckpointError(
                "two entries of save_obj, append_dict or PRNG keys have this name; rename one",
                name=name,
                found=f"{seen[name]!r} and {record.tag!r}",
            )
        seen[name] = record.tag
        if not record.tag.isascii():
            try:
                record.tag.encode()
            except UnicodeEncodeError:
                raise CheckpointError("the name is not UTF-8 text", name=record.tag) from None


def placed(sharding: jax.sharding.Sharding, shape: tuple[int, ...]) -> Iterator[tuple[Any, int]]:
    """Yield the box that each device holds, and the device's process."""
    for device, index in sharding.devices_indices_map(shape).items():
        yield boxes.from_index(index or (), shape), device.process_index


@functools.lru_cache(maxsize=1024)
def on_host(sharding: jax.sharding.Sharding) -> bool:
    """Tell whether arrays of this sharding lie in host memory, where NumPy views cost nothing."""
    return all(device.platform == "cpu" for device in sharding.device_set)

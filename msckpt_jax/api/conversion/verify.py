"""Both sides of a conversion read back, and compared bit by bit through the mapping."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import boxes, display
from msckpt_jax.checkpoint import copying, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.records import Record
from msckpt_jax.progress import Progress


class Difference(NamedTuple):
    """A tensor that is not what the mapping makes of the source, and why."""

    name: str
    problem: str

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}"


def differences(
    records: list[Record], target: Any, progress: Progress | None = None, threads: int = 1
) -> list[Difference]:
    """The tensors of an opened ``target`` that are not those of the records, bit by bit.

    The records are read, and mapped, anew: what is compared is not what was written.
    """
    expected = {copying.entry_of(r).name: r for r in records if not isinstance(r.content, bytes)}
    out = [Difference(name, "is not in the target") for name in expected if name not in target]
    out += [Difference(name, "is in the target, and nothing becomes it")
            for name, entry in target.entries.items()
            if entry.is_array and name not in expected]  # fmt: skip
    both = [(name, record) for name, record in expected.items() if name in target]
    compare = functools.partial(_compared, target=target, progress=progress)
    return out + [each for each in writer.in_threads(compare, both, threads) if each is not None]


def _compared(
    pair: tuple[str, Record], target: Any, progress: Progress | None
) -> Difference | None:
    name, record = pair
    tensor = target.entries[name].tensors[0]
    wanted, found = (record.type, record.dims), (tensor.type, tensor.shape)
    if wanted != found:
        return Difference(name, f"{_text(*found)}, expected {_text(*wanted)}")
    wrong, first = 0, None
    for box, mine, theirs in _windows(copying.pieces_of(record), target.pieces(name), tensor):
        unequal = (mine != theirs).any(-1)
        if unequal.any():
            wrong += int(unequal.sum())
            at = [int(i) for i in np.argwhere(unequal)[0]]
            first = first or [a + start for a, (start, _) in zip(at, box, strict=True)]
        if progress is not None:
            progress(mine.nbytes)
    if not wrong:
        return None
    elements = display.counted(wrong, "element")
    return Difference(name, f"{elements} of {math.prod(tensor.shape)} differ, the first at {first}")


def _windows(mine: Any, theirs: Any, tensor: Any) -> Iterator[tuple[boxes.Box, Any, Any]]:
    """Yield the boxes of a tensor with the bytes of both sides, an axis more."""
    stored = tensor.row.stored
    limit = max(1, planning.CHUNK_BYTES // stored.itemsize)
    for box in boxes.of_range(tensor.shape, 0, math.prod(tensor.shape), limit):
        read = []
        for pieces in (mine, theirs):
            window = np.empty(boxes.shape_of(box), stored)
            boxes.gather(pieces, box, window)
            read.append(window.reshape(*window.shape, 1).view(np.uint8))
        yield box, *read


def _text(type: str, shape: tuple[int, ...]) -> str:
    return f"{type}{list(shape)}"

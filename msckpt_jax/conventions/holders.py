"""The processes that hold the parts of a parameter whose leaves span processes."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from msckpt_jax import boxes
from msckpt_jax.boxes import Box
from msckpt_jax.checkpoint import records
from msckpt_jax.checkpoint.records import Spread
from msckpt_jax.conventions.mapping import Part, View
from msckpt_jax.conventions.transform import Transform
from msckpt_jax.deferred import jax

#: The sharding of a leaf; None where each process has all of it.
LeafSharding: TypeAlias = "jax.sharding.Sharding | None"


def of_part(sharding: LeafSharding, part: Part | View) -> Spread:
    """The boxes of a parameter that a part of it fills, and who holds each.

    Layers and experts of one shard lie alike: all of them get the same object.
    """
    if isinstance(part, Part):
        held = _placed(sharding, part.shape).items()
        return Spread(tuple((theirs, process) for box, processes in held
                            for theirs in part.boxes(box) for process in processes))  # fmt: skip
    loops = {loop: _first_alike(sharding, part, loop, at) for loop, at in part.at.items()}
    return _of_view(sharding, part.shape, part.how.at(loops))


@functools.lru_cache(4096)
def mine(spread: Spread) -> list[Box]:
    """The boxes that this process holds."""
    me = jax.process_index()
    return list(dict.fromkeys(box for box, process in spread.holders if process == me))


def forget() -> None:
    """Forget the layouts of leaves; in a large cluster each names thousands of boxes."""
    for function in (mine, _of_view, _placed, _edges):
        function.cache_clear()


@functools.lru_cache(4096)
def _of_view(sharding: LeafSharding, shape: tuple[int, ...], how: Transform) -> Spread:
    loops = dict(how.loops)
    at = {axis: loops[loop] for axis, loop in _loops(how) if loop in loops}
    how = how.placed()
    return Spread(tuple(
        (theirs, process) for box, processes in _placed(sharding, shape).items()
        if all(box[axis][0] <= index < box[axis][1] for axis, index in at.items())
        for _, theirs in how.forth(box) for process in processes
    ))  # fmt: skip


def _loops(how: Transform) -> Iterator[tuple[int, str]]:
    """Yield the axes of a leaf that count layers or experts and nothing else."""
    for axis, slots in enumerate(how.left):
        if len(slots) == 1 and slots[0].loop:
            yield axis, slots[0].loop


def _first_alike(sharding: LeafSharding, view: View, loop: str, at: int) -> int:
    """The first layer or expert that lies in the same shards as number ``at``."""
    axis = next((axis for axis, name in _loops(view.how) if name == loop), None)
    if axis is None or any(slot.loop == loop for slots in view.how.right for slot in slots):
        return at
    return max(edge for edge in _edges(sharding, view.shape, axis) if edge <= at)


@functools.lru_cache(1024)
def _edges(sharding: LeafSharding, shape: tuple[int, ...], axis: int) -> list[int]:
    """The places on an axis where shards begin or end."""
    return sorted({0} | {end for box in _placed(sharding, shape) for end in box[axis]})


@functools.lru_cache(1024)
def _placed(sharding: LeafSharding, shape: tuple[int, ...]) -> Mapping[Box, list[int]]:
    """The shards of a leaf, each with the processes that hold it."""
    if sharding is None:
        return {boxes.whole(shape): list(range(jax.process_count()))}
    out: dict[Box, dict[int, None]] = {}
    for box, process in records.placed(sharding, shape):
        out.setdefault(box, {})[process] = None
    return {box: list(processes) for box, processes in out.items()}

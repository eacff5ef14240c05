"""A CheckPoint for each rank, and the strategy file that tells how they belong together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, SingleDeviceSharding

from msckpt_jax import boxes, dtypes
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import layout
from msckpt_jax.parallel.layout import Layout
from msckpt_jax.visible import warn


class RankFiles(NamedTuple):
    """The content of an unmerged save: the records of each rank of this process, the layouts."""

    records: dict[int, list[Record]]
    layouts: dict[str, Layout]


def split(records: Sequence[Record], remove_redundancy: bool) -> RankFiles:
    """Distribute records over the ranks of their mesh.

    Arrays without a mesh and replicated arrays go to every rank. With ``remove_redundancy`` each
    distinct shard goes to one of the ranks that hold it, such that the bytes are balanced.

    Raises:
        CheckpointError: arrays lie on different meshes, or a sharding has no layout in MindSpore.
    """
    mesh = _mesh_of(records)
    kept = [r for r in records if r.type != dtypes.STRING]
    if len(kept) < len(records):
        dropped = [r.tag for r in records if r.type == dtypes.STRING]
        warn(
            f"strings are left out of rank files because they crash MindSpore's merge: {dropped}",
            stacklevel=4,
        )
    layouts = {r.tag: _layout(r, mesh) for r in kept if r.dims}
    load = np.zeros(mesh.devices.size, np.int64)
    out: dict[int, list[Record]] = {rank: [] for rank in _mine(mesh)}
    for record in kept:
        # Scalars have no layout: they are whole on all ranks.
        known = layouts.get(record.tag) or Layout(mesh.devices.shape, ())
        writers = _writers(known, record, load) if remove_redundancy else range(len(load))
        parts = _Parts(record)
        for rank in out:
            if rank in writers:
                out[rank].append(parts[known.box(rank, record.dims)])
    return RankFiles(out, layouts)


def local(values: Sequence[Any]) -> list[int]:
    """The ranks of this process, for which :func:`split` gives records."""
    shardings = (getattr(value, "sharding", None) for value in values)
    mesh = next((s.mesh for s in shardings if isinstance(s, NamedSharding)), None)
    return [0] if mesh is None else _mine(mesh)


def _mine(mesh: Any) -> list[int]:
    me = jax.process_index()
    return [rank for rank, device in enumerate(mesh.devices.flat) if device.process_index == me]


def rank_path(target: AnyPath, rank: int) -> AnyPath:
    """``folder/name.ckpt`` of rank 3 is ``folder/rank_3/name.ckpt``."""
    return target.parent / f"rank_{rank}" / target.name


def _writers(known: Layout, record: Record, load: np.ndarray) -> set[int]:
    """Choose for each distinct box the rank that has the least to write so far."""
    # All boxes have equally many holders: a row for each box.
    holders = layout.cells(known).argsort(kind="stable").reshape(math.prod(known.splits), -1)
    rows = np.arange(len(holders))
    writers = holders[rows, load[holders].argmin(1)]
    size = dtypes.BY_NAME[record.type].stored.itemsize
    load[writers] += np.maximum(1, known.grid(record.dims).shapes(rows).prod(1) * size)
    return set(writers.tolist())


class _Parts:
    """The parts of a record, without a copy where a shard in memory is a part."""

    def __init__(self, record: Record) -> None:
        self._record = record
        pieces = record.content.pieces if isinstance(record.content, Tensor) else ()
        self._shards = {box: [(boxes.within(box, box), source)] for box, source in pieces}

    def __getitem__(self, box: boxes.Box) -> Record:
        record, content = self._record, self._record.content
        if box == boxes.whole(record.dims):
            return record
        assert isinstance(content, Tensor)
        pieces = self._shards.get(box) or boxes.restrict(content.pieces, box)
        shape, stored = boxes.shape_of(box), content.stored
        only = pieces[0][1] if len(pieces) == 1 else None
        if isinstance(only, np.ndarray) and only.dtype == stored and only.flags.c_contiguous:
            return record._replace(dims=shape, content=only)
        return record._replace(dims=shape, content=Tensor(shape, stored, tuple(pieces)))


def _mesh_of(records: Sequence[Record]) -> Any:
    """The mesh that all arrays share; without arrays on a mesh, that of a single device."""
    first: tuple[str, Any] | None = None
    for record in records:
        if not isinstance(record.sharding, NamedSharding):
            continue
        mesh: Any = record.sharding.mesh
        if first is None:
            first = record.tag, mesh
        elif mesh is not first[1] and not np.array_equal(mesh.devices, first[1].devices):
            raise CheckpointError(
                f"{first[0]!r} and {record.tag!r} lie on different meshes, whose ranks differ; "
                "save them apart, or with integrated_save=True",
                expected=_describe(first[1]),
                found=_describe(mesh),
            )
    if first is None:
        return jax.sharding.Mesh(np.array(jax.local_devices()[:1]), ("rank",))
    return first[1]


def _describe(mesh: Any) -> str:
    ids = [device.id for device in mesh.devices.flat]
    return f"mesh {dict(mesh.shape)} of devices {ids}"


def _layout(record: Record, mesh: Any) -> Layout:
    sharding = record.sharding
    if isinstance(sharding, NamedSharding):
        return layout.of_sharding(sharding, len(record.dims))
    if sharding is None or isinstance(sharding, SingleDeviceSharding):
        return Layout(tuple(mesh.devices.shape), ((),) * len(record.dims))
    raise CheckpointError(
        f"a {type(sharding).__name__} has no layout in a strategy file; put the array on a "
        "NamedSharding, or save with integrated_save=True",
        name=record.tag,
    )

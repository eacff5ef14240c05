"""The source ranks that one destination rank needs: MindSpore's ``rank_list_for_transform``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel.checks import check_rank
from msckpt_jax.parallel.layout import Layout
from msckpt_jax.parallel.placement import Plan, Staged, plan_of
from msckpt_jax.parallel.strategy import StrategyLike


def rank_list_for_transform(
    rank_id: int,
    src_strategy_file: StrategyLike | None = None,
    dst_strategy_file: StrategyLike | None = None,
) -> list[int]:
    """The source ranks whose files destination rank ``rank_id`` needs, in descending order.

    Where several ranks hold the same part, a rank that is needed anyway is taken, else ``rank_id``
    itself, else the lowest rank. The list may be shorter than MindSpore's, which also names ranks
    that its operators pass through.

    Raises:
        CheckpointError: a strategy file is damaged.
        ValueError: there is no such rank.
        TypeError: ``rank_id`` is no int.

    Example:
        >>> mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
        >>> w = jax.device_put(np.arange(4, dtype=np.float32), jax.NamedSharding(mesh, jax.P("x")))
        >>> ms.save_checkpoint({"w": w}, "net.ckpt", integrated_save=False)
        >>> ms.rank_list_for_transform(0, "strategy.ckpt", None)
        [1, 0]
    """
    source, target = plan_of(src_strategy_file), plan_of(dst_strategy_file)
    check_rank(rank_id, target)
    if source is None:
        return [0]
    holders = _holders_of_parts(rank_id, source, target)
    needed = {ranks[0] for ranks in holders if len(ranks) == 1}
    for ranks in holders:
        if needed.isdisjoint(ranks):
            needed.add(rank_id if rank_id in ranks else ranks[0])
    return sorted(needed, reverse=True)


def _holders_of_parts(rank: int, source: Plan, target: Plan | None) -> list[list[int]]:
    """The ranks that hold each part of each parameter that ``rank`` of ``target`` needs."""
    out = []
    known: set[tuple[Staged, Staged | None]] = set()  # parameters that are cut alike
    for name, staged in source.parameters.items():
        wanted = target.parameters.get(name) if target else None
        if (target is not None and wanted is None) or (staged, wanted) in known:
            continue
        known.add((staged, wanted))
        shape = _divisible(name, [staged.layout, *([wanted.layout] if wanted else [])])
        box = target.box(name, rank, shape) if target else boxes.whole(shape)
        if box is None:
            continue
        ranks, cells = staged.cells()
        order = np.argsort(cells, kind="stable")
        holders = np.split(ranks[order], np.cumsum(np.bincount(cells))[:-1])
        out += [holders[cell].tolist() for cell, _ in staged.layout.grid(shape).near(box)]
    return out


def _divisible(name: str, layouts: Sequence[Layout]) -> tuple[int, ...]:
    """A shape that all layouts can cut: the numbers of parts tell which ranks meet."""
    if len({len(layout.tensor_map) for layout in layouts}) > 1:
        raise CheckpointError(
            "the strategies give it different numbers of dimensions",
            name=name,
            found=" and ".join(str(len(layout.tensor_map)) for layout in layouts),
        )
    even = tuple(math.lcm(*sides) for sides in zip(*(each.splits for each in layouts), strict=True))
    rows = [sum(layout.split_shape) for layout in layouts if layout.split_shape]
    return (rows[0], *even[1:]) if rows else even

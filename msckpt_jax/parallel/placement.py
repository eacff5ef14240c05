"""The places of a strategy's parameters: their ranks and their pipeline stages."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.paths import AnyPath, PathLike
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import soundness, strategy
from msckpt_jax.parallel.layout import MOST_RANKS, Layout, cells
from msckpt_jax.parallel.strategy import StrategyLike

_STAGED = re.compile(r"(\d{1,9})-(.+)", re.DOTALL)

#: The ranks that hold each part of a tensor.
Parts: TypeAlias = dict[boxes.Box, list[int]]


class Staged(NamedTuple):
    """The layout of a parameter, and the first rank of each pipeline stage that holds it."""

    layout: Layout
    first_ranks: tuple[int, ...]

    def ranks(self) -> Iterator[tuple[int, int]]:
        """Yield ``(rank, rank within its stage)`` of all ranks that hold a part."""
        for first in self.first_ranks:
            for local in range(self.layout.ranks):
                yield first + local, local

    def local(self, rank: int) -> int | None:
        """The rank within its stage; None for a rank of a stage that holds no part."""
        count = self.layout.ranks
        return next((rank - a for a in self.first_ranks if a <= rank < a + count), None)

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """All ranks that hold a part, and the number of the cell that each of them holds."""
        count, stages = self.layout.ranks, len(self.first_ranks)
        ranks = np.repeat(self.first_ranks, count) + np.tile(np.arange(count), stages)
        return ranks, np.tile(cells(self.layout), stages)


class Plan(NamedTuple):
    """The places of all parameters of a strategy, and the number of its ranks."""

    parameters: dict[str, Staged]
    ranks: int

    @property
    def stage_ranks(self) -> int:
        """The number of ranks of each pipeline stage."""
        return next(iter(self.parameters.values())).layout.ranks

    def box(self, name: str, rank: int, shape: tuple[int, ...]) -> boxes.Box | None:
        """The part of a tensor of ``shape`` that ``rank`` holds; None when its stage lacks it."""
        local = self.parameters[name].local(rank)
        return None if local is None else self.parameters[name].layout.box(local, shape)

    def parts(self, name: str, shape: tuple[int, ...]) -> Parts:
        """The ranks that hold each part of a tensor.

        A tensor that the strategy does not name is whole on all ranks.
        """
        if name not in self.parameters:
            return {boxes.whole(shape): list(range(self.ranks))}
        return _parts(self.parameters[name], shape)


@functools.lru_cache(maxsize=256)
def _parts(staged: Staged, shape: tuple[int, ...]) -> Parts:
    grid = staged.layout.grid(shape)
    out: Parts = {}
    for rank, cell in zip(*(numbers.tolist() for numbers in staged.cells()), strict=True):
        out.setdefault(grid.box(cell), []).append(rank)
    return out


def plan_of(strategy_file: StrategyLike | None) -> Plan | None:
    """The plan of a strategy file, of one stage or of all; None stands for one unsharded rank.

    A dict of names to :class:`Layout` is taken as it is.
    """
    if strategy_file is None:
        return None
    if isinstance(strategy_file, Mapping):
        soundness.check(strategy_file)
        return _plan(strategy_file, 0, None)
    plan = _plan(*strategy.read(strategy_file), strategy_file)
    _check_work(plan, paths.path_of(strategy_file))
    return plan


def _plan(layouts: Mapping[str, Layout], stage: int, file: PathLike | None) -> Plan:
    if not layouts:
        raise CheckpointError("the strategy holds no parameters", file=file)
    per_stage = next(iter(layouts.values())).ranks
    stages: dict[str, tuple[Layout, dict[int, None]]] = {}
    last = stage
    for tag, layout in layouts.items():
        match = _STAGED.fullmatch(tag)
        at, name = (int(match[1]), match[2]) if match else (stage, tag)
        last = max(last, at)
        known, first = stages.setdefault(name, (layout, {}))
        again = at * per_stage in first
        if (problem := _contradiction(layout, known, per_stage, again)) is not None:
            raise CheckpointError(problem, file=file, name=tag, found=layout)
        first[at * per_stage] = None
    ranks = (last + 1) * per_stage
    if not 0 < ranks <= MOST_RANKS:
        raise CheckpointError(
            "the strategy has too many ranks or a stage below 0", file=file, found=ranks
        )
    return Plan(
        {name: Staged(layout, tuple(first)) for name, (layout, first) in stages.items()}, ranks
    )


def _contradiction(layout: Layout, known: Layout, per_stage: int, again: bool) -> str | None:
    """The reason why a layout does not go with those before it, or None."""
    if layout.ranks != per_stage:
        return f"its device matrix has {layout.ranks} ranks, those before it {per_stage}"
    if layout != known:
        return f"another stage has another layout of it, {known}"
    return "its stage names it twice" if again else None


#: The work that a strategy file may ask for: that of a million ranks, and more the larger it is.
_ALWAYS, _PER_BYTE = 1 << 20, 1 << 11


def _check_work(plan: Plan, path: AnyPath) -> None:
    """Refuse a file of a few bytes that stands for more ranks than anyone has.

    The unit is an axis of a layout, on a rank.
    """
    most = _ALWAYS + _PER_BYTE * paths.size(path)
    work = plan.ranks + sum(
        len(staged.first_ranks) * staged.layout.ranks * (1 + len(staged.layout.dev_matrix))
        for staged in plan.parameters.values()
    )
    if work > most:
        raise CheckpointError(
            f"the strategy speaks of {plan.ranks:,} ranks: more work than a file of this size can "
            "be worth; if that is meant, pass build_searched_strategy(FILE) in its place",
            file=path,
            expected=f"at most {most:,} parts",
            found=f"{work:,}",
        )

"""Checks of arguments that MindSpore's transform functions and the command line share."""

from __future__ import annotations

from typing import Any

from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.parallel.placement import Plan
from msckpt_jax.visible import visible


def check_prefix(prefix: Any, argument: str) -> None:
    if not isinstance(prefix, str) or not prefix or "/" in prefix:
        raise ValueError(f"{argument} must be a name without '/', not {prefix!r}")


def check_count(count: Any, argument: str) -> None:
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"{argument} must be a positive number, not {count!r}")


def check_rank(rank: Any, plan: Plan | None) -> None:
    if not isinstance(rank, int):
        raise TypeError(f"rank_id must be int, not {type(rank).__name__}")
    count = plan.ranks if plan else 1
    if not 0 <= rank < count:
        raise ValueError(f"rank_id must be below the {count} ranks of the strategy, not {rank}")


def check_other_folder(source: PathLike, target: PathLike) -> None:
    """Refuse to write to the folder that is read: new files would later be taken for its own."""
    if paths.same(source, target):
        raise ValueError(visible(f"{target} is the source itself; write to another folder"))

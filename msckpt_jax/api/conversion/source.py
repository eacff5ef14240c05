"""The source of a conversion: a file or folder, rank files, or no more than an index."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msckpt_jax.api.conversion.view import Listed, Stacks, View
from msckpt_jax.checkpoint.file import open_checkpoint
from msckpt_jax.checkpoint.formats import sharded
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.parallel import merged
from msckpt_jax.parallel.strategy import StrategyLike
from msckpt_jax.visible import visible


def opened(path: PathLike, strategy: StrategyLike | None, **secrets: Any) -> Any:
    """Open a file, a folder, or rank files with their strategy.

    Raises:
        ValueError: rank files without their strategy, or a strategy without such.
    """
    check_strategy(path, strategy)
    if strategy is not None:
        return merged.open_ranks(path, strategy, **secrets)
    return open_checkpoint(path, **secrets)


def check_strategy(path: PathLike, strategy: StrategyLike | None) -> None:
    """Refuse rank files without their strategy, and a strategy without rank files."""
    ranks = os.path.isdir(path) and any(Path(path).glob("rank_*"))
    if ranks and strategy is None:
        raise ValueError(visible(f"{path} holds rank files: give their --strategy (strategy=)"))
    if strategy is not None and not ranks:
        raise ValueError(visible(f"--strategy (strategy=) is for rank files, and {path} has none"))


def seen(file: Any, stacks: Stacks) -> Any:
    """The source itself, or the view of it in the stack that is asked for."""
    return View(file, stacks) if stacks.asked else file


def listed(path: PathLike, stacks: Stacks) -> Listed | None:
    """The tensors that an index names where none of its files is there, for a plan; else None."""
    index = sharded.index_alone(path)
    return None if index is None else Listed(str(index.folder), index.places, stacks)


def identity(path: PathLike, *options: Any) -> str:
    """A name for a conversion, which changes when a file of the source or an option does.

    Options go by their ``repr``.
    """
    state = [(str(file), stat.st_size, stat.st_mtime_ns) for file, stat in sorted(_files(path))]
    return hashlib.sha256(repr((state, options)).encode()).hexdigest()[:16]


def _files(path: PathLike) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files of a path, with their sizes and times; of a remote one nothing is known."""
    root = Path(path)
    below = root.rglob("*") if root.is_dir() else [root]
    for file in below:
        if file.is_file():
            yield file.resolve(), file.stat()

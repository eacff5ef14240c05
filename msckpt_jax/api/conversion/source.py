"""The source of a conversion: a file or folder, rank files, or no more than an index."""

from __future__ import annotations

import hashlib
from typing import Any

from msckpt_jax.api import targets
from msckpt_jax.api.conversion import model
from msckpt_jax.api.conversion.view import Listed, Stacks, View
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.file import open_checkpoint
from msckpt_jax.checkpoint.formats import sharded
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.parallel import merged
from msckpt_jax.parallel.strategy import StrategyLike
from msckpt_jax.visible import visible


def opened(path: PathLike, strategy: StrategyLike | None, **secrets: Any) -> Any:
    """Open a file, a folder, rank files with their strategy, or the weights of a model.

    Raises:
        ValueError: rank files without their strategy, or a strategy without such; a model whose
            weights are not taken out.
    """
    check_strategy(path, strategy)
    if (target := targets.of_suffix(path)) is not None:
        return model.opened(path, target, **secrets)
    if strategy is not None:
        return merged.open_ranks(path, strategy, **secrets)
    return open_checkpoint(path, **secrets)


def check_strategy(path: PathLike, strategy: StrategyLike | None) -> None:
    """Refuse rank files without their strategy, and a strategy without rank files."""
    ranks = bool(paths.below(paths.path_of(path), "rank_"))
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

    Options go by their ``repr``. Of the files of a folder in an object store nothing is known.
    """
    root = paths.path_of(path)
    files = root.rglob("*") if paths.is_local(root) and root.is_dir() else [root]
    state = sorted(paths.stamp(file) for file in files if file.is_file())
    return hashlib.sha256(repr((state, options)).encode()).hexdigest()[:16]

"""MindSpore CheckPoints for JAX. Names and arguments follow MindSpore: ``import msckpt_jax as ms``.

Nothing is imported before it is used: ``import msckpt_jax`` takes milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msckpt_jax.checkpoint.background import AsyncSave as AsyncSave
    from msckpt_jax.checkpoint.into import load_param_into_net as load_param_into_net
    from msckpt_jax.checkpoint.into import load_param_into_tree as load_param_into_tree
    from msckpt_jax.checkpoint.load import Parameters as Parameters
    from msckpt_jax.checkpoint.load import load_checkpoint as load_checkpoint
    from msckpt_jax.checkpoint.load import load_checkpoint_async as load_checkpoint_async
    from msckpt_jax.checkpoint.reader import CheckpointFile as CheckpointFile
    from msckpt_jax.checkpoint.reader import open_checkpoint as open_checkpoint
    from msckpt_jax.checkpoint.save import save_checkpoint as save_checkpoint
    from msckpt_jax.errors import AsyncSaveError as AsyncSaveError
    from msckpt_jax.errors import CheckpointError as CheckpointError

__version__ = "0.1.0"

_HOME = {
    "AsyncSave": "checkpoint.background",
    "AsyncSaveError": "errors",
    "CheckpointError": "errors",
    "CheckpointFile": "checkpoint.reader",
    "Parameters": "checkpoint.load",
    "load_checkpoint": "checkpoint.load",
    "load_checkpoint_async": "checkpoint.load",
    "load_param_into_net": "checkpoint.into",
    "load_param_into_tree": "checkpoint.into",
    "open_checkpoint": "checkpoint.reader",
    "save_checkpoint": "checkpoint.save",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'msckpt_jax' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"msckpt_jax.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME))

"""What a step was given, turned into what is saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from msckpt_jax import names
from msckpt_jax.checkpoint.into import nearest
from msckpt_jax.errors import CheckpointError
from msckpt_jax.training.config import Best


def selected(state: Any, part: Any) -> Any:
    """The tree to save: ``state``, or what it returns, or the ``saved_network`` of it.

    Raises:
        CheckpointError: the path leads nowhere; an array was donated.
    """
    tree = part if names.is_module(part) else _part(state() if _is_function(state) else state, part)
    if any(isinstance(x, jax.Array) and x.is_deleted() for x in jax.tree.leaves(tree)):
        raise CheckpointError(
            "the state was donated to a later step before it could be saved; give step() a "
            "function that returns what the loop holds then, as in ckpt.step(lambda: state)"
        )
    return tree


def _part(state: Any, part: Any) -> Any:
    if part is None:
        return state
    return _below(state, part) if isinstance(part, str) else part(state)


def metric_value(metric: Any, best: Best | None) -> float | None:
    """The number that files are ranked by; None when there is none.

    Raises:
        KeyError: the metric that ``keep_best`` names is not among those given.
    """
    if best is None or metric is None:
        return None
    if isinstance(metric, Mapping):
        if best.metric not in metric:
            raise KeyError(f"keep_best wants {best.metric!r}, step() was given {list(metric)}")
        metric = metric[best.metric]
    return float(metric)


def _is_function(state: Any) -> bool:
    """Whether it is called: modules are callable, too, but they are trees."""
    return callable(state) and not names.is_module(state) and jax.tree_util.all_leaves([state])


def _below(state: Any, path: str) -> list[dict[str, Any]]:
    """The leaves below ``path`` as MindSpore's list, with names that start there."""
    leaves = names.named_leaves(state)
    found = [
        {"name": leaf.name.removeprefix(f"{path}."), "data": leaf.value}
        for leaf in leaves
        if leaf.name == path or leaf.name.startswith(f"{path}.")
    ]
    if not found:
        raise CheckpointError(
            f"saved_network: the state has no part {path!r}"
            f"{nearest(path, [leaf.name for leaf in leaves])}"
        )
    return found

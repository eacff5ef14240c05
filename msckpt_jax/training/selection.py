"""The tree and the metric of a save, taken from the arguments of a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from msckpt_jax import names
from msckpt_jax.api.not_loaded import nearest
from msckpt_jax.errors import CheckpointError
from msckpt_jax.training.config import Best


def selected(state: Any, part: Any) -> Any:
    """The tree to save: ``state`` or its result, or the part ``saved_network`` of that.

    Raises:
        CheckpointError: the state has no such part; an array was donated.
    """
    tree = part if names.is_module(part) else _part(state() if _is_function(state) else state, part)
    if any(isinstance(x, jax.Array) and x.is_deleted() for x in jax.tree.leaves(tree)):
        raise CheckpointError(
            "the state was donated to a later step before it could be saved; give step() a "
            "function that returns the loop's state, as in ckpt.step(lambda: state)"
        )
    return tree


def _part(state: Any, part: Any) -> Any:
    if part is None:
        return state
    return _below(state, part) if isinstance(part, str) else part(state)


def metric_value(metric: Any, best: Best | None) -> float | None:
    """The number by which files are ranked; None when there is none.

    Raises:
        TypeError: it is no number.
        KeyError: the metric that ``keep_best`` names is not among those given.
    """
    if metric is None:
        return None
    if isinstance(metric, Mapping):
        if best is None:
            return None
        if best.metric not in metric:
            raise KeyError(f"keep_best needs {best.metric!r}, but step() was given {list(metric)}")
        metric = metric[best.metric]
    try:
        value = float(metric)
    except (TypeError, ValueError):
        raise TypeError(f"metric must be a number, or a dict of numbers, not {metric!r}") from None
    return None if best is None else value


def _is_function(state: Any) -> bool:
    """Tell whether to call a state: modules are callable, too, but they are trees."""
    return callable(state) and not names.is_module(state) and jax.tree_util.all_leaves([state])


def _below(tree: Any, path: str) -> Any:
    """The sub-tree at a path of dictionary keys, attributes and indices joined by dots."""
    node, rest = tree, path
    while rest:
        for key in _heads(rest):
            child = _child(node, key)
            if child is not None:
                node, rest = child, rest[len(key) + 1 :]
                break
        else:
            near = nearest(path, [leaf.name for leaf in names.named_leaves(tree)])
            raise CheckpointError(f"saved_network: the state has no part {path!r}{near}")
    return node


def _heads(path: str) -> Iterator[str]:
    """Yield ``a.b.c``, ``a.b``, ``a``, because dictionary keys may hold dots."""
    while path:
        yield path
        path = path.rpartition(".")[0]


def _child(node: Any, key: str) -> Any:
    if isinstance(node, Mapping):
        return node.get(key, node.get(int(key)) if key.isdecimal() else None)
    if isinstance(node, Sequence) and key.isdecimal():
        return node[int(key)] if int(key) < len(node) else None
    return getattr(node, key, None)

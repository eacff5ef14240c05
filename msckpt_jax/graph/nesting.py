"""The nesting of arguments and results, which model files hold flat: a note in files of ours.

The note is JSON: an array for a tuple or a list, an object for what has names, ``"*"`` for a tensor
of the file, in the file's order, and null for None.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from msckpt_jax import names
from msckpt_jax.graph.values import Const

_LEAF = "*"
_POSITIONS = (jax.tree_util.SequenceKey, jax.tree_util.FlattenedIndexKey)


def note(arguments: tuple[Any, ...], result: Any) -> str:
    """The note of a function's arguments and its result; "" where a flat file says the same."""
    told = [_told(arguments), _told(result)]
    several = isinstance(told[1], list) and len(told[1]) > 1
    flat = [*told[0], *(told[1] if several else [told[1]])]
    return "" if all(part == _LEAF for part in flat) else json.dumps(told)


def _told(tree: Any) -> Any:
    return _by_paths(jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_leaf)[0])


def _is_leaf(value: Any) -> bool:
    return value is None or isinstance(value, Const)


def _by_paths(leaves: Sequence[tuple[tuple[Any, ...], Any]]) -> Any:
    if len(leaves) == 1 and not leaves[0][0]:
        return None if leaves[0][1] is None else _LEAF
    parts: dict[Any, list[Any]] = {}
    for (key, *path), leaf in leaves:
        parts.setdefault(key, []).append((tuple(path), leaf))
    told = {names.segment(key): _by_paths(inner) for key, inner in parts.items()}
    has_names = len(told) == len(parts) and not any(isinstance(key, _POSITIONS) for key in parts)
    return told if has_names and parts else [_by_paths(inner) for inner in parts.values()]


def nested(note: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[tuple[Any, ...], Any]:
    """The arguments and the result of a file, in tuples and dicts.

    A dict is an OrderedDict where the file has another order than that in which JAX sorts keys.

    Args:
        note: the note, or "".
        inputs: those of the file, flat.
        outputs: those of the file, flat.

    Raises:
        ValueError: the note is damaged, or of a file with other inputs and outputs.
    """
    if not note:
        return tuple(inputs), outputs[0] if len(outputs) == 1 else tuple(outputs)
    try:
        arguments, result = json.loads(note)
        rest = iter(inputs), iter(outputs)
        made = tuple(_filled(part, rest[0]) for part in arguments), _filled(result, rest[1])
    except (ValueError, TypeError, StopIteration, RecursionError, RuntimeError):
        made, rest = ((), None), (iter([None]), iter([]))
    if any(True for leaves in rest for _ in leaves):
        raise ValueError("the note of how its arguments and results are nested does not fit them")
    return made


def _filled(told: Any, leaves: Iterator[Any]) -> Any:
    if told == _LEAF:
        return next(leaves)
    if isinstance(told, list):
        return tuple([_filled(part, leaves) for part in told])
    if isinstance(told, dict):
        made = {key: _filled(part, leaves) for key, part in told.items()}
        return made if [*made] == sorted(made) else OrderedDict(made)
    if told is not None:
        raise ValueError(told)
    return None

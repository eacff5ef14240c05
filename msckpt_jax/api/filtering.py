"""``filter_parameters``: parameters of a loaded CheckPoint that the next network does not want."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from msckpt_jax import arguments
from msckpt_jax.api.not_loaded import nearest
from msckpt_jax.errors import CheckpointError

Filter: TypeAlias = str | re.Pattern[str] | Callable[[str], bool]


def filter_parameters(
    parameter_dict: MutableMapping[str, Any], drop: Filter | Iterable[Filter]
) -> list[str]:
    """Delete parameters of a loaded CheckPoint, in place, before it goes into another network.

    Args:
        parameter_dict: names to values, as :func:`load_checkpoint` gives; nothing is read.
        drop: one or several of: the name of a parameter to delete, or of a layer with everything
            under it (``"head"`` deletes ``head.dense.weight``, not ``header.weight``); a compiled
            regular expression, which may match anywhere in a name; a function that returns true
            for the names to delete.

    Returns:
        The names that were deleted, in the order of the file.

    Raises:
        CheckpointError: one of ``drop`` matches no parameter; nothing is deleted then.
        TypeError: one of ``drop`` is of another type.

    Example:
        >>> parameters = {"body.w": 1, "head.w": 2, "head.b": 3}
        >>> ms.filter_parameters(parameters, "head")
        ['head.w', 'head.b']
        >>> parameters
        {'body.w': 1}
    """
    arguments.parameter_dict(parameter_dict, MutableMapping)
    if not isinstance(drop, str | re.Pattern | Iterable) and not callable(drop):
        raise _no_filter(drop)
    alone = isinstance(drop, str | re.Pattern)
    filters = [drop] if alone or callable(drop) else list(drop)
    doomed: set[str] = set()
    for each in filters:
        matches = _predicate(each)
        matched = [name for name in parameter_dict if matches(name)]
        if not matched:
            raise CheckpointError(f"no parameter matches {_described(each, parameter_dict)}")
        doomed.update(matched)
    deleted = [name for name in parameter_dict if name in doomed]
    for name in deleted:
        del parameter_dict[name]
    return deleted


def _predicate(each: Any) -> Callable[[str], Any]:
    if isinstance(each, str):
        return lambda name: name == each or name.startswith(f"{each}.")
    if isinstance(each, re.Pattern):
        return each.search
    if callable(each):
        return each
    raise _no_filter(each)


def _no_filter(each: Any) -> TypeError:
    kind = type(each).__name__
    return TypeError(f"drop must be names, compiled regular expressions or functions, not {kind}")


def _described(each: Filter, parameters: Iterable[str]) -> str:
    if not isinstance(each, str):
        return repr(each.pattern if isinstance(each, re.Pattern) else each)
    parts = [name.split(".") for name in parameters]
    known = dict.fromkeys(".".join(p[: i + 1]) for p in parts for i in range(len(p)))
    return f"{each!r}{nearest(each, list(known))}"

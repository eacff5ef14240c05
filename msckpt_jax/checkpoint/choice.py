"""The choice of parameters by name: MindSpore's three filters as one function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msckpt_jax import arguments


def choice(
    filter_prefix: Any, specify_prefix: Any, choice_func: Callable[[str], bool] | None
) -> Callable[[str], bool]:
    """Return the three filters as one function.

    Prefixes are plain text and silence ``choice_func``, as in MindSpore 2.10.
    """
    without = _prefixes(filter_prefix, "filter_prefix")
    only = _prefixes(specify_prefix, "specify_prefix")
    arguments.functions(choice_func=choice_func)
    if without or only:
        return lambda name: (
            (not only or name.startswith(only)) and not (without and name.startswith(without))
        )
    return (lambda name: True) if choice_func is None else choice_func


def _prefixes(value: Any, argument: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, str | list | tuple):
        raise TypeError(f"{argument} must be a str or a list of str, not {type(value).__name__}")
    out = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(prefix, str) for prefix in out):
        raise TypeError(f"{argument} must hold str only: {out}")
    if not out or "" in out:
        raise ValueError(f"{argument} must not be empty: it would match everything or nothing")
    return out

"""Check the types of arguments where they are given, so that nothing deep inside fails of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def flags(**values: Any) -> None:
    """Refuse what is no bool: ``verify="no"`` would be true.

    Raises:
        TypeError: with the argument's name.
    """
    for name, value in values.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be bool, not {type(value).__name__}")


def functions(**values: Any) -> None:
    """Refuse what is neither None nor can be called.

    Raises:
        TypeError: with the argument's name.
    """
    for name, value in values.items():
        if not (value is None or callable(value)):
            raise TypeError(f"{name} must be callable, not {type(value).__name__}")


def choice(argument: str, value: Any, known: Iterable[str]) -> None:
    """Refuse a name that is not among those known.

    Raises:
        ValueError: the message lists them.
    """
    names = tuple(known)
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{argument} must be one of {', '.join(names)}, not {value!r}")


def name_map(value: Any) -> dict[str, str]:
    """The new names by the old ones; none where there is no map.

    Raises:
        TypeError: it is no dict of texts to texts.
    """
    pairs = value.items() if isinstance(value, Mapping) else ()
    if value is not None and (
        not isinstance(value, Mapping)
        or not all(isinstance(old, str) and isinstance(new, str) for old, new in pairs)
    ):
        raise TypeError("name_map must be a dict of names to names")
    return dict(pairs)


def progress(value: Any) -> None:
    """Refuse what shows no progress.

    Raises:
        TypeError: it is neither None nor a bool nor a function.
    """
    if not (value is None or isinstance(value, bool) or callable(value)):
        kind = type(value).__name__
        raise TypeError(f"progress must be True or a function of a number of bytes, not {kind}")


def parameter_dict(value: Any, kind: type = Mapping) -> None:
    """Refuse what is no dict of parameters by their names.

    Raises:
        TypeError: it is no mapping, or a name is no text.
    """
    if not isinstance(value, kind):
        raise TypeError(f"parameter_dict must be a dict, not {type(value).__name__}")
    if (name := next((key for key in value if not isinstance(key, str)), None)) is not None:
        raise TypeError(f"parameter_dict must have texts as names, not {name!r}")

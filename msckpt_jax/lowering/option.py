"""``Option``: an argument of ``export`` as the doors know it.

Each of ``mindir``, ``air`` and ``onnx`` has a table of them, ``options.OPTIONS``, which costs the
command line no import of what writes the files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Option(NamedTuple):
    """An argument of ``export`` that some formats heed and others do not.

    Attributes:
        default: the value that asks for nothing.
        help: for the command line, which has no such option where this is empty.
        choices: the values that there are; any where this is empty.
        check: refuses wrong values, by a TypeError or a ValueError.
        kind: makes the value of a text of the command line, where the default is None.
        verifies: whether ``verify`` heeds it, too.
    """

    default: Any
    help: str = ""
    choices: tuple[str, ...] = ()
    check: Callable[[Any], None] = lambda value: None
    kind: Callable[[str], Any] = str
    verifies: bool = False


def text_mapping(name: str) -> Callable[[Any], None]:
    """Return the check of an argument of that name that maps strings to strings, or is None."""

    def check(value: Any) -> None:
        pairs = [] if value is None else [(None, None)]
        if isinstance(value, Mapping):
            pairs = [*value.items()]
        if not all(isinstance(text, str) for pair in pairs for text in pair):
            raise TypeError(f"{name} must be a mapping of strings to strings")

    return check

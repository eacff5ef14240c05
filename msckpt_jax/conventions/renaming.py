"""``rename=`` of a Convention: rules or a function from MindSpore's names to those of a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from msckpt_jax.errors import CheckpointError

#: A template as ``re.sub`` takes it, or a function of the match.
Replacement: TypeAlias = str | Callable[[re.Match[str]], str]
#: Rules that are applied in order, or a function of the whole name.
Rename: TypeAlias = Mapping[str, Replacement] | Callable[[str], str]


def check(rename: Any) -> None:
    """Refuse what renames nothing.

    Raises:
        TypeError: it holds neither texts nor functions.
        ValueError: a regular expression or a template is faulty.
    """
    if not isinstance(rename, Mapping):
        if callable(rename):
            return
        raise TypeError(
            "rename must be a dict of regular expressions and templates or functions, or a "
            f"function of the name, not {type(rename).__name__}"
        )
    for regex, replacement in rename.items():
        check_regex(regex)
        if callable(replacement):
            continue
        if not isinstance(replacement, str):
            kind = type(replacement).__name__
            raise TypeError(f"rename[{regex!r}] must be a str or a function, not {kind}")
        try:
            re.sub(regex, replacement, "")
        except (re.error, IndexError) as error:
            raise ValueError(f"{replacement!r} is no template for {regex!r}: {error}") from None


def check_regex(regex: Any) -> None:
    """Refuse what is no regular expression."""
    if not isinstance(regex, str):
        raise TypeError(f"a regular expression must be a str, not {type(regex).__name__}")
    try:
        re.compile(regex)
    except re.error as error:
        raise ValueError(f"{regex!r} is no regular expression: {error}") from None


def renamed(name: str, rename: Rename) -> str:
    """The name that a file has for a parameter.

    Raises:
        CheckpointError: a function gives no text, or nothing is left of the name.
    """
    if not isinstance(rename, Mapping):
        return _text(rename(name), name, "the function rename=")
    new = name
    for regex, replacement in rename.items():
        if not isinstance(replacement, str):
            replacement = _checked(replacement, name, f"the function rename[{regex!r}]")
        new = re.sub(regex, replacement, new)
    return _text(new, name, "rename=")


def _checked(
    replacement: Callable[[re.Match[str]], str], name: str, what: str
) -> Callable[[re.Match[str]], str]:
    def replaced(match: re.Match[str]) -> str:
        text = replacement(match)
        return text if isinstance(text, str) else _text(text, name, what)

    return replaced


def _text(value: Any, name: str, what: str) -> str:
    if isinstance(value, str) and value:
        return value
    problem = "leaves nothing of the name" if value == "" else "does not give a text"
    raise CheckpointError(f"{what} {problem}", name=name, expected="a str", found=repr(value))

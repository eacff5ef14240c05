"""The model formats, by name and by file. A new one is a package with a ``target.py``, and a row.

Modules of formats are imported when one of their files, or one of their options, is asked for.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from msckpt_jax.checkpoint import paths
from msckpt_jax.lowering.option import Option

if TYPE_CHECKING:
    from msckpt_jax.lowering.target import Target


class _Row(NamedTuple):
    """The package of a format, the ending of its files, and whether contents are looked into."""

    package: str
    suffix: str
    by_content: bool = False


_TARGETS: Mapping[str, _Row] = {
    "MINDIR": _Row("mindir", ".mindir", by_content=True),
    "AIR": _Row("air", ".air"),
    "ONNX": _Row("onnx", ".onnx"),
}
NAMES = tuple(_TARGETS)
DEFAULT = NAMES[0]
#: The values of ``target`` of all formats; each knows some of them.
DEVICES = ("cpu", "onnxruntime", "lite")
SUFFIXES = tuple(row.suffix for row in _TARGETS.values())


def named(name: str) -> Target:
    """Return the target of a name.

    Raises:
        ValueError: there is none.
    """
    if not isinstance(name, str) or name not in _TARGETS:
        raise ValueError(f"file_format must be one of {', '.join(NAMES)}, not {name!r}")
    return _module(name, "target").TARGET


def of_suffix(path: str | os.PathLike[str]) -> Target | None:
    """Return the target whose files end as the path does, or None."""
    suffix = paths.path_of(path).suffix
    return next((named(name) for name, row in _TARGETS.items() if row.suffix == suffix), None)


def of_file(path: str | os.PathLike[str]) -> Target | None:
    """Return the target of a file by its ending, else by its content, or None."""
    if (target := of_suffix(path)) is not None:
        return target
    looking = (name for name, row in _TARGETS.items() if row.by_content)
    found = (
        name for name in looking if _module(name, "recognition").recognises(paths.path_of(path))
    )
    return next(map(named, found), None)


def every() -> Iterator[Target]:
    """Yield all targets."""
    return map(named, NAMES)


def options() -> dict[str, tuple[Option, list[str]]]:
    """Return the options that not all targets heed, with the names of those that do."""
    known: dict[str, tuple[Option, list[str]]] = {}
    for target in NAMES:
        for name, option in _module(target, "options").OPTIONS.items():
            known.setdefault(name, (option, []))[1].append(target)
    return known


def _module(name: str, module: str) -> Any:
    """Return a module of a format's package."""
    return importlib.import_module(f"msckpt_jax.{_TARGETS[name].package}.{module}")


def options_for(target: Target, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a target: those asked for, checked, and the defaults of the others.

    Raises:
        TypeError: there is no such option. ValueError: this target does not heed it.
    """
    for name, value in asked.items():
        if (option := target.options.get(name)) is not None:
            option.check(value)
            continue
        option, names = options().get(name, (None, []))
        if option is None:
            raise TypeError(f"no model format has an option {name!r}")
        option.check(value)
        raise ValueError(f"{name} is for {' and '.join(names)}, not for {target.name}")
    return {name: option.default for name, option in target.options.items()} | dict(asked)

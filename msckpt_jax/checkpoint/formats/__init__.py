"""The file formats of checkpoints, one file each, and the table of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from msckpt_jax.checkpoint.formats import ckpt, orbax, safetensors, sharded
from msckpt_jax.checkpoint.formats.format import Format, How
from msckpt_jax.checkpoint.plan import Plan
from msckpt_jax.checkpoint.records import Record
from msckpt_jax.checkpoint.source import Source, is_folder

#: MindSpore's own two, which functions of its name stand for.
CKPT, SAFETENSORS = ckpt.FORMAT, safetensors.FORMAT
DEFAULT = CKPT.name
#: By name, in the order in which a content is shown to them.
FORMATS = {format.name: format for format in (CKPT, SAFETENSORS, sharded.FORMAT, orbax.FORMAT)}
#: The names of those that are written, and the endings of their files.
WRITABLE = tuple(name for name, format in FORMATS.items() if format.plan is not None)
SUFFIXES = tuple(FORMATS[name].suffix for name in WRITABLE)


def named(name: Any, argument: str = "format") -> Format:
    """The format of a name.

    Raises:
        ValueError: there is none; the text has them all.
    """
    return _one_of(tuple(FORMATS), name, argument)


def to_write(name: Any, argument: str = "format") -> Format:
    """The format of a name, which files are written in.

    Raises:
        ValueError: there is none; the text has them all.
    """
    return _one_of(WRITABLE, name, argument)


def _one_of(names: tuple[str, ...], name: Any, argument: str) -> Format:
    if name not in names:
        raise ValueError(f"{argument} must be one of {', '.join(names)}, not {name!r}")
    return FORMATS[name]


def of_path(path: str | os.PathLike[str]) -> Format | None:
    """The format that the ending of a name tells."""
    suffix = os.path.splitext(str(path))[1]
    return next((format for format in FORMATS.values() if suffix and format.suffix == suffix), None)


def of_target(path: str | os.PathLike[str]) -> Format:
    """The format of a file to be written.

    Raises:
        ValueError: its name ends otherwise.
    """
    format = of_path(path)
    if format is None:
        raise ValueError(f"{path} must end with {' or '.join(SUFFIXES)}")
    return format


def plan(name: str, records: Sequence[Record], how: How) -> Plan:
    """Where everything comes in a file of a format that is written."""
    make = FORMATS[name].plan
    assert make is not None
    return make(records, how)


def recognised(source: Source) -> Format:
    """The format of a content; of a damaged file the name tells what it was meant to be.

    Raises:
        CheckpointError: a folder of no format.
    """
    for format in FORMATS.values():
        if format.recognises(source):
            return format
    if source.data is None:
        folders = " or ".join(name for name, format in FORMATS.items() if format.several)
        raise is_folder(source, f"it is no folder of the format {folders} either")
    return of_path(source.path) or CKPT

"""The file formats of checkpoints, one file each, and the table of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from msckpt_jax import arguments
from msckpt_jax.checkpoint.formats import ckpt, foreign, npz, orbax, safetensors, sharded, torch
from msckpt_jax.checkpoint.formats.format import Format, How
from msckpt_jax.checkpoint.plan import Plan
from msckpt_jax.checkpoint.records import Record
from msckpt_jax.checkpoint.source import Source, is_folder
from msckpt_jax.visible import visible

#: MindSpore's own two formats, which the names of its functions stand for.
CKPT, SAFETENSORS = ckpt.FORMAT, safetensors.FORMAT
DEFAULT = CKPT.name
#: The formats by name, in the order in which they are asked for a content.
FORMATS = {
    format.name: format
    for format in (CKPT, SAFETENSORS, sharded.FORMAT, orbax.FORMAT, npz.FORMAT, torch.FORMAT)
}
#: The names of the formats that are written, and the endings of their files.
WRITABLE = tuple(name for name, format in FORMATS.items() if format.plan is not None)
SUFFIXES = tuple(FORMATS[name].suffix for name in WRITABLE)


def named(name: Any) -> Format:
    """The format of a name.

    Raises:
        ValueError: there is none; the message lists all.
    """
    return _one_of(tuple(FORMATS), name, "format")


def to_write(name: Any, argument: str = "format") -> Format:
    """The format of a name, in which files are written.

    Raises:
        ValueError: there is none; the message lists all.
    """
    return _one_of(WRITABLE, name, argument)


def _one_of(names: tuple[str, ...], name: Any, argument: str) -> Format:
    arguments.choice(argument, name, names)
    return FORMATS[name]


def of_path(path: str | os.PathLike[str]) -> Format | None:
    """The format for which the ending of a name stands, or None."""
    suffix = os.path.splitext(str(path))[1]
    return next((format for format in FORMATS.values() if suffix and format.suffix == suffix), None)


def of_name(name: Any) -> Format:
    """The format in which a file of a name is written: that of its ending, else the default."""
    format = of_path(name) if isinstance(name, str | os.PathLike) else None
    return format if format is not None and format.plan is not None else CKPT


def of_target(path: str | os.PathLike[str]) -> Format:
    """The format of a file to be written.

    Raises:
        ValueError: its name has no such ending.
    """
    format = of_path(path)
    if format is None or format.plan is None:
        raise ValueError(visible(f"{path} must end with {' or '.join(SUFFIXES)}"))
    return format


def plan(name: str, records: Sequence[Record], how: How) -> Plan:
    """Return the plan of a file in a format that is written."""
    make = FORMATS[name].plan
    assert make is not None
    return make(records, how)


def recognised(source: Source) -> Format:
    """The format of a content; for a damaged file, the format for which its name stands.

    Raises:
        CheckpointError: a folder of no format, or a file that begins as one of another kind.
    """
    for format in FORMATS.values():
        if format.recognises(source):
            return format
    if source.data is None:
        folders = " or ".join(name for name, format in FORMATS.items() if format.several)
        hint = f"it is no folder of the format {folders} either"
        has_files = any(name.endswith(SUFFIXES) for name in source.names)
        raise is_folder(source, "name one of the files in it" if has_files else hint)
    foreign.check(source)
    return of_path(source.path) or CKPT

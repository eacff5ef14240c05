"""A model as several safetensors files: their names, and which tensors go to which of them.

The rules are those of Hugging Face's libraries (huggingface_hub, ``serialization/_base.py``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.formats.format import Dealt
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.records import Record

SUFFIX = ".safetensors"
INDEX_SUFFIX = f"{SUFFIX}.index.json"
#: The stem that ``transformers`` looks for.
MODEL = "model"
#: The file that stands alone, and the index of several files.
ALONE, INDEX = f"{MODEL}{SUFFIX}", f"{MODEL}{INDEX_SUFFIX}"
#: The files by which readers know the others of a folder.
HEADS = (INDEX, ALONE)
NUMBERED = re.compile(
    rf"(?P<stem>.+)-(?P<number>\d{{5,9}})-of-(?P<count>\d{{5,9}}){re.escape(SUFFIX)}"
)

_UNITS = {
    unit + ending: base ** (1 + power)
    for power, unit in enumerate("KMGT")
    for ending, base in (("B", 1000), ("iB", 1024))
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]i?B)\s*", re.IGNORECASE)


def size(value: Any, argument: str) -> int:
    """The bytes of a size: ``"5GB"`` is 5e9, ``"5GiB"`` is 5 * 2^30, a number is itself.

    Raises:
        TypeError, ValueError: it is no size; ``argument`` is named.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"{argument} must be an int or a str, not {type(value).__name__}")
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if match is None:
            raise ValueError(f"{argument} must be like '5GB', '500MB' or '3GiB', not {value!r}")
        units = {unit.upper(): factor for unit, factor in _UNITS.items()}
        value = int(float(match[1]) * units[match[2].upper()])
    if value < 1:
        raise ValueError(f"{argument} must be positive, not {value}")
    return value


def dealt(records: Sequence[Record], limit: int) -> Dealt:
    """Deal records, in their order, to files of at most ``limit`` bytes of tensors.

    A tensor that is larger gets a file of its own. What fits one file is ``model.safetensors``.
    """
    groups = _groups(records, limit)
    if len(groups) == 1:
        return Dealt({ALONE: groups[0]}, ALONE, {})
    count = len(groups)
    files = {f"{MODEL}-{i:05}-of-{count:05}{SUFFIX}": g for i, g in enumerate(groups, 1)}
    index = {
        "metadata": {"total_size": sum(record.nbytes for record in records)},
        "weight_map": {record.tag: name for name, group in files.items() for record in group},
    }
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    return Dealt(files, INDEX, {INDEX: text.encode()})


def _groups(records: Sequence[Record], limit: int) -> list[list[Record]]:
    groups: list[list[Record]] = []
    current: list[Record] = []
    filled = 0
    for record in records:
        if record.nbytes > limit:
            groups.append([record])
            continue
        if filled + record.nbytes > limit:
            groups.append(current)
            current, filled = [], 0
        current.append(record)
        filled += record.nbytes
    return [*groups, current] if current else groups


def earlier(folder: AnyPath) -> set[str]:
    """The files in a folder that an earlier save has left: its heads, and the files of its index.

    Without an index those are meant that are numbered as :func:`dealt` numbers them.
    """
    try:
        named = json.loads((folder / INDEX).read_bytes())["weight_map"].values()
        listed = {name for name in named if isinstance(name, str) and name.endswith(SUFFIX)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        listed = set()
    present = [path.name for path in paths.below(folder)]
    return {name for name in present if name in listed or _is_own(name)}


def _is_own(name: str) -> bool:
    match = NUMBERED.fullmatch(name)
    return name in HEADS or (match is not None and match["stem"] == MODEL)

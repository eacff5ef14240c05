"""The save that a file belongs to: files that are read together have to be of the same one.

The name of a save stands in each of its files, where the readers of MindSpore and Hugging Face do
not look. Files without it, MindSpore's own say, are taken for a set among themselves.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Mapping
from typing import Any

from msckpt_jax.errors import CheckpointError

#: The number of members of a set that a message lists for each save.
_TOLD = 8


def new() -> str:
    """A name for a save that no other one has: the time, and a random part."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y-%m-%dT%H:%M:%SZ}-{secrets.token_hex(4)}"


def check(saves: Mapping[Any, str | None], kind: str, file: Any) -> None:
    """Refuse files of different saves; the keys are their ranks or names, told as a ``kind``.

    Raises:
        CheckpointError: with the members of each save.
    """
    members: dict[str | None, list[str]] = {}
    for member, save in saves.items():
        members.setdefault(save, []).append(str(member))
    if len(members) > 1:
        raise CheckpointError(
            "these files are of different saves: one was broken off, or some files were copied "
            "without the others; put those of one save together, or save anew",
            file=file,
            more=[_told(kind, names, save) for save, names in members.items()],
        )


def _told(kind: str, members: list[str], save: str | None) -> str:
    some = ", ".join(members[:_TOLD])
    more = f" and {len(members) - _TOLD} more" if len(members) > _TOLD else ""
    whose = "no save is named" if save is None else f"save {save[:100]}"
    return f"{kind} {some}{more}: {whose}"

"""The journal of a save into a folder: what is left to do once all files are complete."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from msckpt_jax.errors import CheckpointError


class Journal(NamedTuple):
    """The rest of a save whose files are complete.

    Attributes:
        head: the new file that gets its name last.
        files: all new files, each with its size and time: a rename keeps them.
        heads: the old files that go first.
        outdated: the old files that go at the end.
    """

    head: str
    files: dict[str, list[int]]
    heads: list[str]
    outdated: list[str]


def read(path: Path, target: Path, files: str) -> Journal | None:
    """The journal, if there is one; ``files`` is the name of the folder of files beside it.

    Raises:
        CheckpointError: it is damaged, or names something outside of the folder ``target``.
    """
    try:
        journal = Journal(**json.loads(path.read_bytes()))
        kinds = [type(value) for value in journal]
        names = [journal.head, *journal.files, *journal.heads, *journal.outdated]
        whole = kinds == [str, dict, list, list] and journal.head in journal.files
        linked = path.with_name(files).is_symlink()
        if whole and not linked and all(_is_inside(name, target) for name in names):
            return journal
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError):
        pass
    problem = "the journal of an interrupted save is damaged: save to another folder"
    raise CheckpointError(problem, file=path)


def _is_inside(name: Any, target: Path) -> bool:
    """Tell whether a name leads to a place below the folder, also by no link to another folder."""
    if not isinstance(name, str) or name in ("", ".") or "\0" in name or ".." in Path(name).parts:
        return False
    return Path(os.path.realpath((target / name).parent)).is_relative_to(target)

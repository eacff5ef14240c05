"""Paths: local ones of ``pathlib``, and those of object stores that ``etils.epath`` knows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from etils import epath

from msckpt_jax.errors import CheckpointError

#: Paths, local or any that ``etils.epath`` knows.
PathLike: TypeAlias = str | os.PathLike[str]
_Path = TypeVar("_Path", bound=Path | epath.Path)


def path_of(name: Any) -> Path | epath.Path:
    """A ``pathlib.Path`` for local files, else the path that ``etils.epath`` makes of the name.

    Raises:
        ValueError: a scheme that ``etils.epath`` does not know.
    """
    try:
        path = epath.Path(name)
    except KeyError as error:
        raise ValueError(
            f"{str(name)!r}: etils.epath knows no paths of {error.args[0]}; use gs://, s3:// or "
            "az:// with the fsspec driver, or pass an open binary file"
        ) from None
    return path if "://" in str(name) else Path(os.fspath(path))


def regular(path: _Path) -> _Path:
    """The path of a file that was found in a folder, where a pipe would make us wait for ever.

    Raises:
        CheckpointError: it is no regular file, or a link that leads to none.
    """
    if not path.is_file():
        raise CheckpointError("the file is no regular file", file=path)
    return path


def check_regular(folder: Path) -> None:
    """Refuse a folder with pipes, devices or sockets in it, or in folders below.

    Raises:
        CheckpointError: there is one.
    """
    folders = [os.fspath(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not (entry.is_file() or entry.is_dir()):
                    regular(Path(entry.path))  # which refuses it

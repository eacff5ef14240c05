"""Paths: local ones of ``pathlib``, and those of object stores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from msckpt_jax.checkpoint.stores.path import StorePath
from msckpt_jax.errors import CheckpointError

#: Paths, local or of an object store.
PathLike: TypeAlias = str | os.PathLike[str]
_Path = TypeVar("_Path", bound=Path | StorePath)


def path_of(name: Any) -> Path | StorePath:
    """A ``pathlib.Path`` for local files, else the path of an object store, such as ``s3://a/b``.

    Raises:
        ImportError: the package that speaks to the store is missing.
        ValueError: a scheme that neither this package nor ``fsspec`` knows.
    """
    if isinstance(name, StorePath):
        return name
    text = os.fspath(name)
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    return StorePath(text) if "://" in text else Path(text).expanduser()


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

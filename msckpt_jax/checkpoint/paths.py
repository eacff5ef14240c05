"""Paths: local ones of ``pathlib``, and those of object stores that ``etils.epath`` knows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias

from etils import epath

#: Paths, local or any that ``etils.epath`` knows.
PathLike: TypeAlias = str | os.PathLike[str]


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

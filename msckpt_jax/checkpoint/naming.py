"""Errors of the system name the file, whatever they were raised with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def naming(file: Any) -> Iterator[None]:
    """Let each error of the system in the block name a file: this one, unless it names another.

    What has only a descriptor (a full disk while it writes, say) does not know the name.
    """
    try:
        yield
    except OSError as error:
        named(error, file)
        raise


def named(error: OSError, file: Any) -> None:
    """Let an error name a file, unless it names one."""
    if error.errno is not None and error.filename is None and file is not None:
        error.filename = str(file)


def moved(error: OSError, before: Path, after: Path) -> None:
    """Let an error name a file below the folder ``after`` that it knows below ``before``."""
    if isinstance(error.filename, str) and Path(error.filename).is_relative_to(before):
        error.filename = str(after / Path(error.filename).relative_to(before))

"""The gate of all paths that a user gives: local ones, and those of object stores.

No other file makes a ``pathlib.Path`` of what a user gave; ``tests/test_paths.py`` holds that.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, TypeGuard

from msckpt_jax.checkpoint.stores.path import StorePath
from msckpt_jax.errors import CheckpointError
from msckpt_jax.visible import visible

#: Paths as users give them, local or of an object store.
PathLike: TypeAlias = str | os.PathLike[str]
#: Paths as :func:`path_of` makes them.
AnyPath: TypeAlias = Path | StorePath

#: What is left of ``s3://bucket`` in a ``pathlib.Path``.
_FLATTENED = re.compile(r"(?P<scheme>gs|s3|s3a|az|abfss?|gcs|hf|https?|file|memory):/(?!/)")


def path_of(name: Any, argument: str = "a path") -> AnyPath:
    """A ``pathlib.Path`` for local files, else the path in an object store.

    ``argument`` is the name of what is no path, for the error.

    Raises:
        StoreError: the package that speaks to the store is missing.
        TypeError: the name is no path.
        ValueError: it is empty; a scheme that is not known, or one that ``pathlib`` has flattened.
    """
    if isinstance(name, StorePath):
        return name
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"{argument} must be a path, not {type(name).__name__}")
    text = os.fspath(name)
    if not isinstance(text, str):
        raise TypeError(f"{argument} must be a path of text, not bytes")
    if not text or "\0" in text:
        why = "a path has no null characters" if text else "it is empty"
        raise ValueError(f"{argument} must name a file or folder, not {text!r}: {why}")
    if "://" not in text:
        if (match := _FLATTENED.match(text)) is not None:
            problem = f"pathlib takes a slash from {match['scheme']}://; pass a str"
            raise ValueError(visible(f"{text}: {problem}, or etils.epath.Path"))
        return Path(text)
    return Path(text.removeprefix("file://")) if text.startswith("file://") else StorePath(text)


def is_remote(name: Any) -> bool:
    """Tell whether a name is one in an object store, also where no package speaks to that."""
    text = str(name)
    return "://" in text and not text.startswith("file://")


def is_local(path: Any) -> TypeGuard[Path]:
    """Tell whether a path is one of a local file system."""
    return isinstance(path, Path)


def size(path: Any) -> int:
    """The size of a file."""
    return path.stat().st_size


def stamp(path: AnyPath) -> tuple[Any, ...]:
    """The properties that tell a file from one that has replaced it."""
    if not isinstance(path, Path):
        return str(path), path.store.tag(path.key)
    status = path.stat()
    return os.path.realpath(path), status.st_size, status.st_mtime_ns


def below(folder: Any, prefix: str = "", suffix: str = "") -> list[Any]:
    """The paths in a folder, sorted, whose names begin and end so; none where it is missing."""
    try:
        paths = [*folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    named = (p for p in paths if p.name.startswith(prefix) and p.name.endswith(suffix))
    return sorted(named, key=lambda path: path.name)


def same(left: Any, right: Any) -> bool:
    """Tell whether two names are those of one file or folder that is there."""
    left, right = path_of(left), path_of(right)
    if is_local(left) and is_local(right):
        return left.exists() and right.exists() and left.samefile(right)
    return str(left).rstrip("/") == str(right).rstrip("/")


def inside(folder: Any, location: str) -> Any:
    """The path of a file that another file names, or None if it lies outside of their folder.

    Links are followed. The name is a stranger's: also OSError, ValueError or RuntimeError may come
    of it, where a file system cannot have it.
    """
    if is_local(folder):
        real = folder.resolve()
        path = (real / location).resolve()
        return path if path.is_relative_to(real) else None
    plain = PurePosixPath(location)
    return None if plain.is_absolute() or ".." in plain.parts else folder / location


def make(folder: Any, mode: int = 0o777) -> None:
    """Make a folder, and those above it, unless it is there; object stores need none."""
    if is_local(folder):
        folder.mkdir(mode, parents=True, exist_ok=True)


def check_writable(folder: Any) -> None:
    """Try whether objects can be written to, and removed from, a folder of an object store.

    Raises:
        StoreError: they cannot.
    """
    if not is_local(folder):
        probe = folder / f".msckpt-{secrets.token_hex(8)}.tmp"
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)


def regular(path: Any) -> Any:
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

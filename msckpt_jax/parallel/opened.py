"""Rank files that are opened together: those that are alike share an index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msckpt_jax.checkpoint import mappings
from msckpt_jax.checkpoint.entries import Entry
from msckpt_jax.checkpoint.file import CheckpointFile
from msckpt_jax.checkpoint.mappings import Mappings
from msckpt_jax.checkpoint.paths import PathLike, path_of
from msckpt_jax.checkpoint.twins import Twins
from msckpt_jax.errors import CheckpointError


def open_files(
    files: Mapping[int, PathLike], crc_check: bool = False, **options: Any
) -> dict[int, CheckpointFile]:
    """The opened files by rank. More than may be open at a time are mapped when they are read.

    Raises:
        CheckpointError: as :func:`~msckpt_jax.checkpoint.file.open_checkpoint`.
    """
    twins, most = Twins(), _most_open()
    kept = Mappings(most) if len(files) > most else None
    out: dict[int, CheckpointFile] = {}
    for rank, name in sorted(files.items()):
        path = path_of(name)
        local = path if isinstance(path, Path) and path.is_file() else None
        stamp = mappings.stamp_of(local) if kept is not None and local is not None else ()
        out[rank] = CheckpointFile(name, twins=twins, **options).sound(crc_check)
        if kept is not None and local is not None:
            out[rank].map_later(kept, stamp)
            if mappings.stamp_of(local) != stamp:
                raise CheckpointError("the file was replaced while it was opened", file=local)
    return out


def _most_open() -> int:
    """The number of files that may be open: half of what the system allows this process."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 256
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if limit == resource.RLIM_INFINITY else max(8, limit // 2)


class Alike:
    """Ranks whose files have one index."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.entries = entries
        self.ranks: list[int] = []


def grouped(files: Mapping[int, CheckpointFile]) -> list[Alike]:
    """The ranks by the indices of their files, in the order of the first of them."""
    out: dict[int, Alike] = {}
    for rank, file in files.items():
        out.setdefault(id(file.entries), Alike(file.entries)).ranks.append(rank)
    return list(out.values())

"""Copies of files in an object store, for programs that read local files only."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint import source as sources
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.plan import CHUNK_BYTES


@contextlib.contextmanager
def fetched(path: AnyPath, beside: Callable[[AnyPath], Iterable[str]]) -> Iterator[Path]:
    """A local path itself; of one in a store, that of a copy, which is removed after the block.

    ``beside`` names the files that it needs below its folder; a name that leads out of it is left
    out, and the program will miss it.
    """
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="msckpt-") as folder:
        for name in (path.name, *beside(path)):
            if (there := paths.inside(path.parent, name)) is not None and there.is_file():
                _copy(there, Path(folder) / name)
        yield Path(folder) / path.name


def _copy(path: AnyPath, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    data = sources.open_source(path)
    try:
        with target.open("xb") as file:
            for start in range(0, len(data), CHUNK_BYTES):
                file.write(data[start : start + CHUNK_BYTES])
    finally:
        sources.close(data)

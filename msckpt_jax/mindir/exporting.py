"""MindIR as one of the formats of ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msckpt_jax.lowering.graph import Graph
from msckpt_jax.mindir import verification, writer

if TYPE_CHECKING:
    from msckpt_jax.exporter import Wanted
    from msckpt_jax.tracing import Traced


def write(graph: Graph, path: Path, wanted: Wanted) -> tuple[Path, list[str]]:
    """Write the file; the one to load, and notes about it."""
    how = writer.Options(
        writer.SPLIT_BYTES if wanted.split_bytes is None else wanted.split_bytes,
        wanted.encrypt,
        wanted.key,
        wanted.custom_func,
        wanted.user_info,
        wanted.durable,
        wanted.preprocessor,
    )
    return writer.write(graph, path, how), []


def difference(file: Path, traced: Traced, wanted: Wanted) -> float:
    """The largest difference to JAX when MindSpore runs the file."""
    return verification.difference(file, traced, wanted.load)

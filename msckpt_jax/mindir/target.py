"""MindIR as one of the formats of ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msckpt_jax.graph.graph import Graph
from msckpt_jax.mindir import verification, writer

if TYPE_CHECKING:
    from msckpt_jax.lowering.trace import Traced
    from msckpt_jax.lowering.wanted import Wanted

#: What to know where an operator is used.
NOTES = {
    "Eig": "eig: the eigenvalues come in MindSpore's order, their vectors with other signs or "
    "phases than JAX's; nothing compares what depends on these"
}


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
    used = {node.op for node in graph.walk()}
    return writer.write(graph, path, how), [note for op, note in NOTES.items() if op in used]


def difference(file: Path, traced: Traced, wanted: Wanted) -> float:
    """The largest difference to JAX when MindSpore runs the file."""
    return verification.difference(file, traced, wanted.load)

"""Tell MindIR files from others, without what reads them."""

from __future__ import annotations

from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.source import open_source


def recognises(path: AnyPath) -> bool:
    """Tell whether a file is a MindIR, by its first two fields."""
    if not path.is_file():
        return False
    if paths.size(path) < 40:
        return False
    head = bytes(open_source(path, mmap=False)[:40])
    # ModelProto: a short text (field 1, ir_version), then field 2. In a CheckPoint field 1 recurs.
    return head[0] == 10 and head[1] < 32 and head[2 + head[1]] == 18

"""Processes that answer by a file in a folder, or by a file ``error``: other libraries' work."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from msckpt_jax.errors import UnsupportedError

#: Seconds that an answer may take; jax2onnx 0.17 takes 30 for YOLOv4.
_PATIENCE = 600


def answer(
    name: str, command: Sequence[str | Path], environment: Mapping[str, str], folder: Path,
    file: str,
) -> Path:  # fmt: skip
    """The file of an answer.

    Args:
        name: the library that is asked, for messages.
        command: the process.
        environment: its environment.
        folder: the folder in which it answers.
        file: the name of its answer.

    Raises:
        UnsupportedError: it says why not, takes too long, or ends without an answer.
    """
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise UnsupportedError(f"{name}: no result after {_PATIENCE} s") from None
    if (error := folder / "error").exists():
        raise UnsupportedError(f"{name}: {error.read_text(encoding='utf-8')}")
    if not (folder / file).exists():
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UnsupportedError(f"{name} ended with {done.returncode} and without a result: {last}")
    return folder / file

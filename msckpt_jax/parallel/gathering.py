"""Gather small messages of all processes by collective operations, while no training step runs."""

from __future__ import annotations

import json
import zlib
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def gathered(message: Any) -> list[Any]:
    """The messages of all processes, in their order; all call this function together.

    A message is anything that JSON can hold.
    """
    if jax.process_count() == 1:
        return [message]
    data = np.frombuffer(zlib.compress(json.dumps(message).encode()), np.uint8)
    sizes = _gathered(np.array([data.size], np.uint32))[:, 0]
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: data.size] = data
    rows = zip(_gathered(padded), sizes, strict=True)
    return [json.loads(zlib.decompress(row[:size].tobytes())) for row, size in rows]


def _gathered(array: np.ndarray) -> np.ndarray:
    return np.asarray(multihost_utils.process_allgather(array))

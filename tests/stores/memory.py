"""The memory that a save to a store takes."""

from __future__ import annotations

import tracemalloc

import numpy as np

import msckpt_jax as ms


def peak_of_save(bucket: str, mebibytes: int) -> int:
    """The most bytes that a save by one thread holds, besides the array."""
    ms.save_checkpoint({"w": np.zeros(4 << 20, np.float32)}, f"{bucket}/a", threads=1)  # made once
    tree = {"w": np.zeros(mebibytes << 18, np.float32)}
    tracemalloc.start()
    try:
        ms.save_checkpoint(tree, f"{bucket}/a", threads=1)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

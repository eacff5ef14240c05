"""Random parameters under which deep networks neither vanish nor overflow. NumPy only."""

from __future__ import annotations

import math
import zlib

import numpy as np

_RANGES = {
    "gamma": (0.5, 1.0),
    "scale": (0.5, 1.0),
    "moving_variance": (1.0, 2.0),
    "var": (1.0, 2.0),
}


def parameter(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Values for a parameter by its name in Flax or MindSpore: the same for name and seed."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    kind = name.rpartition(".")[2]
    if kind in _RANGES:
        return rng.uniform(*_RANGES[kind], shape).astype(np.float32)
    inputs = shape[:-1] if kind == "kernel" else shape[1:]
    scale = math.sqrt(2 / math.prod(inputs)) if inputs else 0.1
    # Repeated, because 60 million random numbers take seconds; a prime period meets no axis.
    return np.resize(rng.standard_normal(65_537, np.float32) * np.float32(scale), shape)

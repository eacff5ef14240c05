"""Int4 entries, which hold one value a byte."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from msckpt_jax.errors import CheckpointError


def to_int4(stored: np.ndarray, name: str, path: str) -> np.ndarray:
    """The values of an Int4 entry, which holds one value a byte.

    Raises:
        CheckpointError: a byte is out of range: MindSpore's quantizers pack two values in one.
    """
    if stored.size and (stored.min() < -8 or stored.max() > 7):
        raise CheckpointError(
            "its bytes lie outside of int4: two values may be packed in each; use "
            "open_checkpoint(file).raw(name)",
            file=path,
            name=name,
        )
    return stored.astype(ml_dtypes.int4)

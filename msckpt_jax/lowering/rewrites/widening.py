"""Rewrites in float32 for floats of 16 bits, which lose their digits in a long expression."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from jax import Array

from msckpt_jax.lowering.rewrites.ignoring import Ignoring, ignoring


def widened(rewrite: Any) -> Ignoring:
    """The rewrite, of float32 where its last operand has 16 bits; the result is as wide as that."""
    function, ignores = ignoring(rewrite)

    @functools.wraps(function)
    def wide(*operands: Array, **params: Any) -> Any:
        dtype = operands[-1].dtype
        if dtype.itemsize > 2:
            return function(*operands, **params)
        return function(*(x.astype(np.float32) for x in operands), **params).astype(dtype)

    return Ignoring(wide, ignores)

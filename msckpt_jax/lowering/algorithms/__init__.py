"""Primitives that a target has no operator for, as algorithms of plain ``lax`` code.

Rewrites as those of ``rewrites``, for ``canonicalise(rules=…)``: MindSpore has operators for what
is here, ONNX has none.
"""

from __future__ import annotations

from collections.abc import Mapping

from msckpt_jax.lowering.algorithms import (
    convolutions,
    eigen,
    elementary,
    matrices,
    special,
)
from msckpt_jax.lowering.rewrites import Rewrite

ALGORITHMS: Mapping[str, Rewrite] = {
    **convolutions.RULES,
    **eigen.RULES,
    **elementary.RULES,
    **matrices.RULES,
    **special.RULES,
}

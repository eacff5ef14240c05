"""Primitives that a target has no operator for, as algorithms of plain ``lax`` code.

Rewrites as those of ``rewrites``, given to ``canonicalise``: MindSpore has operators for most of
what is here, ONNX has none, or onnxruntime no kernel in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jax import Array

from msckpt_jax import _compat
from msckpt_jax._compat import ClosedJaxpr
from msckpt_jax.lowering.algorithms import (
    convolutions,
    eigen,
    elementary,
    matrices,
    special,
)
from msckpt_jax.lowering.rewrites import Declined, Rewrite


def _sized(rewrite: Rewrite) -> Rewrite:
    """Not of matrices of a dynamic size: their columns are counted now."""

    def checked(x: Array, *operands: Array, **params: Any) -> Any:
        if not all(isinstance(size, int) for size in x.shape[-2:]):
            raise Declined
        return rewrite(x, *operands, **params)

    return checked


#: Where onnxruntime lacks a kernel for float64 only.
FLOAT64: Mapping[str, Rewrite] = {**convolutions.FLOAT64, **elementary.FLOAT64}
#: What ONNX has no operator for.
LACKING: Mapping[str, Rewrite] = {
    **elementary.REWRITES,
    **special.REWRITES,
    **{name: _sized(each) for name, each in (eigen.REWRITES | matrices.REWRITES).items()},
}
ALGORITHMS: Mapping[str, Rewrite] = {**FLOAT64, **LACKING}

#: For MindSpore, which lacks these, and for GE, which lacks two more.
MINDIR = {name: LACKING[name] for name in ("hessenberg", "schur", "tridiagonal")}
AIR = {**MINDIR, **{name: LACKING[name] for name in ("householder_product", "igamma_grad_a")}}
#: MindSpore's operator divides by a pivot that is zero.
EXACT = {"lu": LACKING["lu"]}


def needed(jaxpr: ClosedJaxpr) -> Mapping[str, Rewrite]:
    """The algorithms that a jaxpr may need: asking each equation takes its time."""
    return ALGORITHMS if _compat.is_wide(jaxpr) else LACKING

"""Primitives that a target has no operator for, as algorithms of plain ``lax`` code.

They are rewrites like those of ``rewrites``, and are given to ``canonicalise``. MindSpore has
operators for most of these primitives; ONNX has none, or onnxruntime has no kernel in float64.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from jax import Array

from msckpt_jax.lowering.algorithms import (
    convolutions,
    eigen,
    elementary,
    matrices,
    remainder,
    scatters,
    special,
)
from msckpt_jax.lowering.rewrites import Declined, Rewrite
from msckpt_jax.lowering.rewrites.ignoring import Ignoring, ignoring
from msckpt_jax.lowering.rewrites.widening import widened


def _sized(rewrite: Rewrite) -> Rewrite:
    """The rewrite, which declines matrices of a dynamic size: it needs the number of columns."""
    function, ignores = ignoring(rewrite)

    @functools.wraps(function)
    def checked(x: Array, *operands: Array, **params: Any) -> Any:
        if not all(isinstance(size, int) for size in x.shape[-2:]):
            raise Declined
        return function(x, *operands, **params)

    return Ignoring(checked, ignores)


_ELEMENTWISE = elementary.REWRITES | special.REWRITES
#: The algorithms, for all dtypes; each target names the primitives that it lacks.
ALGORITHMS: Mapping[str, Rewrite] = {
    **{name: widened(each) for name, each in _ELEMENTWISE.items()},
    **special.EXACT,
    **scatters.PRODUCTS,
    **{name: _sized(each) for name, each in (eigen.REWRITES | matrices.REWRITES).items()},
}
#: Algorithms for float64 alone, for which runtimes lack kernels of operators that they have.
FLOAT64: Mapping[str, Rewrite] = {**convolutions.REWRITES, **elementary.FLOAT64}
#: Convolutions of float64 and integers, for which runtimes have no kernel.
CONVOLUTIONS: Mapping[str, Rewrite] = convolutions.REWRITES
#: Scatters of complex numbers, likewise.
SCATTERS: Mapping[str, Rewrite] = {**scatters.SUMS, **scatters.PRODUCTS}
#: Primitives whose algorithm is for some dtypes alone, and declines the others.
IN_PART = frozenset({*CONVOLUTIONS, *SCATTERS})
#: Primitives whose operator in MindSpore rounds, or is the identity, though they are exact.
ROUNDED: Mapping[str, Rewrite] = {**special.EXACT, **remainder.REWRITES}
#: MindSpore's operator divides by a pivot that is zero.
EXACT: Mapping[str, Rewrite] = {"lu": ALGORITHMS["lu"]}

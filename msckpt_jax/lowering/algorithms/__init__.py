"""Primitives that a target has no operator for, as algorithms of plain ``lax`` code.

They are rewrites like those of ``rewrites``, and are given to ``canonicalise``. MindSpore has
operators for most of these primitives; ONNX has none, or onnxruntime has no kernel in float64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.algorithms import (
    convolutions,
    eig,
    elementary,
    jacobi,
    matrices,
    reflections,
    remainder,
    scatters,
    special,
)
from msckpt_jax.lowering.rewrites import Declined, Rewrite
from msckpt_jax.lowering.rewrites.cumulative import of_dynamic_size
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


def _only(name: str, lacks: Callable[..., bool]) -> Rewrite:
    """The algorithm for the operands and parameters of which ``lacks`` is true."""
    function, ignores = ignoring(ALGORITHMS[name])

    @functools.wraps(function)
    def partly(*operands: Array, **params: Any) -> Any:
        if not lacks(*operands, **params):
            raise Declined
        return function(*operands, **params)

    return Ignoring(partly, ignores)


def _of_complex(x: Array, **params: Any) -> bool:
    return np.iscomplexobj(x)


def _pivoted(x: Array, *, pivoting: bool, **params: Any) -> bool:
    return pivoting


def _of_both_sides(
    x: Array, *, compute_left_eigenvectors: bool, compute_right_eigenvectors: bool
) -> bool:
    return compute_left_eigenvectors and compute_right_eigenvectors


_ELEMENTWISE = elementary.REWRITES | special.REWRITES
_LINEAR = {**eig.REWRITES, **jacobi.REWRITES, **matrices.REWRITES, **reflections.REWRITES}
#: The algorithms, for all dtypes; each target names the primitives that it lacks.
ALGORITHMS: Mapping[str, Rewrite] = {
    **{name: widened(each) for name, each in _ELEMENTWISE.items()},
    **special.EXACT,
    **scatters.PRODUCTS,
    **{name: _sized(each) for name, each in _LINEAR.items()},
}
#: Algorithms for float64 alone, for which runtimes lack kernels of operators that they have.
FLOAT64: Mapping[str, Rewrite] = {**convolutions.REWRITES, **elementary.FLOAT64}
#: Convolutions of float64 and integers, for which runtimes have no kernel.
CONVOLUTIONS: Mapping[str, Rewrite] = convolutions.REWRITES
#: Accumulations along axes of dynamic size, which ONNX's operators of few steps do not take.
DYNAMIC: Mapping[str, Rewrite] = {
    "cummax": of_dynamic_size(lax.max),
    "cummin": of_dynamic_size(lax.min),
    "cumprod": of_dynamic_size(lax.mul),
}
#: Scatters of complex numbers, likewise.
SCATTERS: Mapping[str, Rewrite] = {**scatters.SUMS, **scatters.PRODUCTS}
#: Primitives whose algorithm is for some dtypes alone, and declines the others.
IN_PART = frozenset({*CONVOLUTIONS, *DYNAMIC, *SCATTERS})
#: Primitives whose operator in MindSpore rounds, or is the identity, though they are exact.
ROUNDED: Mapping[str, Rewrite] = {**special.EXACT, **remainder.REWRITES}
#: Primitives that MindSpore has no operator for.
MISSING: Mapping[str, Rewrite] = {
    name: ALGORITHMS[name] for name in ("geqrf", "hessenberg", "schur", "tridiagonal")
}
#: Forms of primitives that MindSpore's operator does not have.
FORMS: Mapping[str, Rewrite] = {
    "cholesky": _only("cholesky", _of_complex),
    "eig": _only("eig", _of_both_sides),
    "lu": _only("lu", _of_complex),
    "qr": _only("qr", _pivoted),
}
#: MindSpore's operator divides by a pivot that is zero.
EXACT: Mapping[str, Rewrite] = {"lu": ALGORITHMS["lu"]}

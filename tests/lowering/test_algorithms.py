"""Special functions and factorisations that ONNX has no operators for: JAX's numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from msckpt_jax.lowering.algorithms import ALGORITHMS, FLOAT64
from tests.lowering.equal import check

#: The widest choice: that of a target with none of these operators.
REWRITES = {**FLOAT64, **ALGORITHMS}
_RNG = np.random.default_rng(0)
_LINE = np.array([-2.5, -1, -1e-3, 0, 1e-3, 0.4, 1, 3, 20, 150, np.inf, -np.inf, np.nan])
_SQUARE = _RNG.standard_normal((2, 5, 5))
_POSITIVE = _SQUARE @ np.swapaxes(_SQUARE, -1, -2) + np.eye(5)
_TALL = _RNG.standard_normal((2, 5, 3))
_WIDE = np.swapaxes(_TALL, -1, -2)


def _grid(*values: Any) -> list[np.ndarray]:
    return [np.ravel(x) for x in np.meshgrid(*values)]


_SHAPES = [0.0, 0.1, 1, 2.5, 50, np.inf, -1]
_POINTS = [0, 1e-3, 0.5, 1, 2, 60, np.inf, -1]
_SIGNED = [0, -0.0, 1, -3, np.inf, -np.inf, np.nan]
_UNIT = [0, 1e-3, 0.5, 0.9, 1, -1]


def _solve(left: bool, lower: bool, transpose: bool) -> Callable[..., Any]:
    return lambda a, b: lax.linalg.triangular_solve(
        a, b, left_side=left, lower=lower, transpose_a=transpose, unit_diagonal=not lower
    )


CASES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "atan2": (lax.atan2, _grid(_SIGNED, _SIGNED)),
    **{f.__name__: (f, [_LINE]) for f in (
        lax.acosh, lax.asinh, lax.atan, lax.cosh, lax.erf, lax.erfc, lax.sinh, lax.tan
    )},
    **{f.__name__: (f, [np.linspace(-1, 1, 9)]) for f in (lax.acos, lax.asin, lax.atanh)},
    "lgamma": (lax.lgamma, [_LINE]),
    "digamma": (lax.digamma, [_LINE]),
    "bessel_i0e": (lax.bessel_i0e, [_LINE]),
    "bessel_i1e": (lax.bessel_i1e, [_LINE]),
    "zeta": (lax.zeta, _grid([0.5, 1, 1.5, 2, 7], [0.5, 1, 3.5, 50, -0.5, -2, 0])),
    "igamma": (lax.igamma, _grid(_SHAPES, _POINTS)),
    "igamma_grad_a": (lax.igamma_grad_a, _grid([0.1, 1, 2.5, 30], [1e-3, 0.5, 2, 20, 60])),
    "igammac": (lax.igammac, _grid(_SHAPES, _POINTS)),
    "betainc": (lax.betainc, _grid([0.1, 1, 10], [0.5, 2, 50], _UNIT)),
    "nextafter": (lax.nextafter, _grid([1, 0, -0.0, -3, np.inf, np.nan], [2, 0, -7, np.inf])),
    "cholesky": (lax.linalg.cholesky, [_POSITIVE]),
    "cholesky of none": (lax.linalg.cholesky, [-_POSITIVE]),
    "solve": (_solve(True, True, False), [_POSITIVE, _TALL]),
    "solve transposed": (_solve(True, False, True), [_POSITIVE, _TALL]),
    "solve from the right": (_solve(False, True, False), [_POSITIVE, _WIDE]),
    "lu": (lax.linalg.lu, [_SQUARE]),
    "lu tall": (lax.linalg.lu, [_TALL]),
    "lu wide": (lax.linalg.lu, [_WIDE]),
    "qr": (lambda x: lax.linalg.qr(x, full_matrices=True), [_TALL]),
    "qr wide": (lambda x: lax.linalg.qr(x, full_matrices=False), [_WIDE]),
    "householder_product": (lax.linalg.householder_product, [_TALL, _SQUARE[:, 0, :3]]),
    "hessenberg": (lax.linalg.hessenberg, [_SQUARE]),
    "tridiagonal": (lax.linalg.tridiagonal, [_SQUARE]),
    "tridiagonal, upper": (lambda x: lax.linalg.tridiagonal(x, lower=False), [_SQUARE]),
    "eigenvalues": (lambda x: lax.linalg.eigh(x)[1], [_SQUARE]),
    "singular values": (lambda x: lax.linalg.svd(x, compute_uv=False), [_WIDE]),
    "convolution": (
        lambda x, w: lax.conv_general_dilated(x, w, (2, 1), [(1, 1), (2, 0)], rhs_dilation=(1, 2),
                                              feature_group_count=2),
        [_RNG.standard_normal((2, 4, 9, 8)), _RNG.standard_normal((6, 2, 3, 2))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("function", "inputs"), CASES.values(), ids=CASES)
def test_numbers(function: Callable[..., Any], inputs: list[Any], wide: bool) -> None:
    with jax.enable_x64(wide):
        inputs = [np.asarray(x, np.float64 if wide else np.float32) for x in inputs]
        check(function, *inputs, rtol=1e-5 if wide else 1e-3, rewrites=REWRITES)


def _rounded(residues: Any) -> list[jax.Array]:
    """Four digits, which are zeros, without the signs of these."""
    return [jnp.abs(jnp.round(residue, 4)) for residue in residues]


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5), (1, 1)])
def test_singular_vectors_give_the_matrix_again(shape: tuple[int, int]) -> None:
    def residues(x: jax.Array) -> Any:
        left, values, right = lax.linalg.svd(x)
        count = min(shape)
        again = (left[:, :count] * values) @ right[:count]
        return again - x, left.T @ left - jnp.eye(shape[0]), right @ right.T - jnp.eye(shape[1])

    whole = _RNG.standard_normal(shape).astype(np.float32)
    thin = np.outer(whole[:, 0], whole[0])  # of rank 1
    for x in (whole, thin):
        jaxpr = check(
            lambda x: [jnp.abs(jnp.round(r, 4)) for r in residues(x)], x, rewrites=REWRITES
        )
        assert "svd" not in [eqn.primitive.name for eqn in jaxpr.eqns]


def test_eigenvectors_give_the_matrix_again() -> None:
    def residues(x: jax.Array) -> Any:
        vectors, values = lax.linalg.eigh(x)
        symmetric = (x + x.T) / 2
        return (vectors * values) @ vectors.T - symmetric, vectors.T @ vectors - jnp.eye(len(x))

    for size in (1, 2, 5, 6):
        x = _RNG.standard_normal((size, size)).astype(np.float32)
        check(lambda x: _rounded(residues(x)), x, rewrites=REWRITES)

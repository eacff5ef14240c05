"""Eigenvalues and Schur's form of matrices that are hard for QR steps, against LAPACK's residuals.

Neither order nor signs are LAPACK's: values are compared as sets, vectors by their residuals.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy.optimize import linear_sum_assignment

import msckpt_jax as ms
from msckpt_jax.lowering import algorithms
from msckpt_jax.onnx import runner
from tests.lowering.equal import check

SIZE = 12
_RNG = np.random.default_rng(0)
_NORMAL = _RNG.standard_normal((SIZE, SIZE))
_SHIFTED = np.eye(SIZE, k=-1)


def _companion(coefficients: Any) -> np.ndarray:
    return _SHIFTED + np.outer(np.eye(SIZE)[0], coefficients)


MATRICES: dict[str, np.ndarray] = {
    "random": _NORMAL,
    "symmetric": _NORMAL + _NORMAL.T,
    "skew": _NORMAL - _NORMAL.T,
    "a rotation, all moduli equal": np.roll(np.eye(SIZE), 1, 0),
    "quarter turns": np.kron(np.eye(SIZE // 2), [[0, 1], [-1, 0]]),
    "defective": np.eye(SIZE, k=1) + 2 * np.eye(SIZE),
    "nilpotent": np.eye(SIZE, k=1),
    "zero": np.zeros((SIZE, SIZE)),
    "identity": np.eye(SIZE),
    "of rank 1": np.outer(_NORMAL[0], _NORMAL[1]),
    "a companion": _companion(_RNG.standard_normal(SIZE)),
    "a companion of large and small numbers": _companion(10.0 ** np.linspace(-5, 5, SIZE)),
    "graded": _NORMAL * 10.0 ** -np.add.outer(np.arange(SIZE), np.arange(SIZE)),
    "badly scaled": _NORMAL * 10.0 ** np.subtract.outer(np.arange(SIZE), np.arange(SIZE)),
    "huge": _NORMAL * 1e30,
    "tiny": _NORMAL * 1e-30,
}
KINDS = ["float32", "complex64"]


def _batch(kind: str) -> np.ndarray:
    """The matrices; complex ones are turned in the complex plane."""
    turn = 0.6 + 0.8j if kind == "complex64" else 1
    return np.stack([x * turn for x in MATRICES.values()]).astype(kind)


def _norm(x: np.ndarray) -> Any:
    wide = x.astype(np.complex128)
    return np.maximum(np.linalg.norm(wide, axis=(-2, -1)), np.finfo(np.float64).tiny)


def _scaled(x: np.ndarray) -> np.ndarray:
    """Matrices of middle size: of the eigenvalues of huge ones LAPACK has no digits."""
    factors = {"huge": 1e-30, "tiny": 1e30}
    return np.stack([
        matrix * np.float32(factors.get(name, 1)) for name, matrix in zip(MATRICES, x, strict=True)
    ])  # fmt: skip


def _adjoint(x: np.ndarray) -> np.ndarray:
    return x.conj().swapaxes(-1, -2)


def _of_eig(x: np.ndarray, values: Any, left: Any, right: Any) -> np.ndarray:
    """The residuals of each matrix in units of rounding, and how far lengths are from 1."""
    wide = x.astype(np.complex128)
    values, left, right = (np.asarray(a, np.complex128) for a in (values, left, right))
    off = _norm(wide @ right - right * values[..., None, :])
    other = _norm(_adjoint(left) @ wide - values[..., :, None] * _adjoint(left))
    lengths = [abs(np.linalg.norm(v, axis=-2) - 1).max(-1) for v in (left, right)]
    return np.stack([off / _norm(wide), other / _norm(wide), *lengths]) / np.finfo(x.dtype).eps


def _of_schur(x: np.ndarray, form: Any, vectors: Any) -> np.ndarray:
    wide = x.astype(np.complex128)
    form, vectors = (np.asarray(a, np.complex128) for a in (form, vectors))
    off = _norm(vectors @ form @ _adjoint(vectors) - wide) / _norm(wide)
    turned = _norm(_adjoint(vectors) @ vectors - np.eye(SIZE))
    return np.stack([off, turned]) / np.finfo(x.dtype).eps


def _not_worse(ours: np.ndarray, lapack: np.ndarray) -> None:
    worse = ~(ours <= 4 * lapack + 8)
    bad: Any = worse.any(0)
    names = [name for name, is_bad in zip(MATRICES, bad, strict=True) if is_bad]
    assert not names, (names, ours[:, bad], lapack[:, bad])


def _whole(results: Any, complex: Any) -> list[Any]:
    """The complex results of an ONNX file, which has pairs."""
    return [r[..., 0] + 1j * r[..., 1] if c else r for r, c in zip(results, complex, strict=True)]


def _exported(function: Any, x: Any, folder: Path) -> Any:
    done = ms.export(function, x, file_name=folder / "a", file_format="ONNX", engine="native")
    return runner.session(done.file)


@pytest.mark.parametrize("kind", KINDS)
def test_eig_in_onnx_is_as_good_as_lapack(kind: str, tmp_path: Path) -> None:
    x = _batch(kind)
    results = _whole(_exported(lax.linalg.eig, x, tmp_path)(x), (True, True, True))
    scaled = _scaled(x)
    _not_worse(_of_eig(x, *results), _of_eig(scaled, *lax.linalg.eig(scaled)))
    for matrix, values, norm in zip(x, results[0], _norm(x), strict=True):
        apart = abs(values[:, None] - np.linalg.eigvals(matrix.astype(np.complex128)))
        pairs = linear_sum_assignment(apart)
        assert apart[pairs].max() <= 2 * SIZE * norm * np.finfo(kind).eps ** (1 / SIZE)
    if kind == "float32":
        pairs = np.sort_complex(results[0]), np.sort_complex(results[0].conj())
        np.testing.assert_array_equal(*pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_schur_in_onnx_is_as_good_as_lapack(kind: str, tmp_path: Path) -> None:
    x = _batch(kind)
    form, vectors = _whole(_exported(lax.linalg.schur, x, tmp_path)(x), [kind == "complex64"] * 2)
    scaled = _scaled(x)
    _not_worse(_of_schur(x, form, vectors), _of_schur(scaled, *lax.linalg.schur(scaled)))
    np.testing.assert_array_equal(np.tril(form, -2 if kind == "float32" else -1), 0)
    if kind == "float32":
        below, above = (np.diagonal(form, k, -2, -1) for k in (-1, 1))
        own = np.diagonal(form, 0, -2, -1)
        assert np.all(
            (below == 0) | ((np.sign(below) * np.sign(above) < 0) & (own[:, 1:] == own[:, :-1]))
        )
        assert not np.any((below[:, 1:] != 0) & (below[:, :-1] != 0))


def test_what_is_not_finite_is_nan_and_ends(tmp_path: Path) -> None:
    x = np.stack([np.eye(3), np.eye(3), np.eye(3)]).astype(np.float32)
    x[0, 1, 1], x[1, 0, 0] = np.nan, np.inf
    values, vectors = _whole(_exported(jnp.linalg.eig, x, tmp_path)(x), (True, True))
    for result in (values, vectors):
        for part in (result.real, result.imag):
            assert np.isnan(part[:2]).all()
            assert np.isfinite(part[2]).all()


def _roots(x: jax.Array) -> jax.Array:
    return jnp.sort(jnp.roots(x, strip_zeros=False))


#: Functions of JAX that stand on these, in invariants.
USERS: dict[str, Any] = {
    "roots": (lambda x: _roots(jnp.poly(jnp.arange(1.0, 5.0) + x[0, 0] * 0)), 1e-3),
    "sqrtm": (lambda x: (lambda s: s @ s)(jax.scipy.linalg.sqrtm(x)), 1e-4),
    "funm": (lambda x: jax.scipy.linalg.funm(x, jnp.exp, disp=False)[0], 1e-3),
    "solve_sylvester": (lambda x: jax.scipy.linalg.solve_sylvester(x, x.T, x), 1e-4),
    "rsf2csf": (lambda x: (lambda t, z: z @ t @ z.conj().T)(
        *jax.scipy.linalg.rsf2csf(*jax.scipy.linalg.schur(x))), 1e-4),
}  # fmt: skip


@pytest.mark.parametrize("name", USERS)
def test_functions_that_stand_on_it(name: str, tmp_path: Path) -> None:
    function, rtol = USERS[name]
    x = (np.arange(16).reshape(4, 4) % 7 + 4 * np.eye(4)).astype(np.float32)
    want = np.asarray(function(x))
    (have,) = _whole(_exported(function, x, tmp_path)(x), [want.dtype.kind == "c"])
    np.testing.assert_allclose(have, want, rtol, rtol * np.abs(want).max())


@pytest.mark.parametrize("size", [0, 1, 2])
def test_small(size: int, tmp_path: Path) -> None:
    x = np.array([[1, 2], [-3, 1]], np.float32)[:size, :size]

    def invariants(x: Any) -> Any:
        values, left, right = lax.linalg.eig(x)
        form, vectors = lax.linalg.schur(x)
        (alone, *_) = lax.linalg.schur(x, compute_schur_vectors=False)
        own = values[:, None] * left.conj().T
        return (jnp.trace(alone), values.sum(), x @ right - right * values,
                left.conj().T @ x - own, vectors @ form @ vectors.T)  # fmt: skip

    want = invariants(x)
    have = _whole(_exported(invariants, x, tmp_path)(x), [w.dtype.kind == "c" for w in want])
    for left, right in zip(have, want, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_complex_factorisations(shape: tuple[int, int], kind: str) -> None:
    parts = np.random.default_rng(1).standard_normal((2, *shape))
    x = (parts[0] + (1j * parts[1] if kind == "complex64" else 0)).astype(kind)

    def hermitian(x: jax.Array) -> jax.Array:
        return x @ x.conj().T + jnp.diag(jnp.arange(shape[0], dtype=x.dtype))

    for function in (
        functools.partial(lax.linalg.qr, full_matrices=True),
        functools.partial(lax.linalg.qr, full_matrices=False, pivoting=True),
        lambda x: jnp.linalg.qr(x, mode="raw"),
        lambda x: lax.linalg.svd(x, compute_uv=False),
        lambda x: lax.linalg.hessenberg(hermitian(x)),
        lambda x: lax.linalg.tridiagonal(hermitian(x)),
        lambda x: lax.linalg.tridiagonal(hermitian(x), lower=False),
    ):
        check(function, x, rtol=1e-4, rewrites=algorithms.ALGORITHMS)


def _products(x: Any) -> Any:
    left, values, right = lax.linalg.svd(x, full_matrices=False)
    return (left * values) @ right, left.conj().T @ left, right @ right.conj().T


@pytest.mark.parametrize("factor", [1, 1e25, 1e-25])
def test_complex_svd(factor: float) -> None:
    parts = np.random.default_rng(2).standard_normal((2, 5, 3)) * factor
    x = (parts[0] + 1j * parts[1]).astype(np.complex64)
    for each in (x, x.T, np.outer(x[:, 0], x[0] / np.float32(factor))):
        check(_products, each, rtol=1e-4, rewrites=algorithms.ALGORITHMS)


@pytest.mark.parametrize("file_format", ["MINDIR", "AIR", "ONNX"])
def test_a_free_order_is_noted(file_format: str, tmp_path: Path) -> None:
    x = np.eye(3, dtype=np.float32)
    (note,) = [
        note
        for note in ms.export(lambda x: jnp.linalg.eigvals(x), x, file_name=tmp_path / "a",
                              file_format=file_format).notes
        if "eig:" in note
    ]  # fmt: skip
    assert "test_schur.py" in note
    assert "another order" in note

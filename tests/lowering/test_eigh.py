"""Eigenvectors are JAX's but for signs and phases: what these leave alone is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.onnx import runner


def _matrix(size: int, kind: str, values: Any = None) -> np.ndarray:
    rng = np.random.default_rng(size)
    x = rng.standard_normal((size, size)).astype(np.float32)
    if kind == "complex64":
        x = x + 1j * rng.standard_normal((size, size)).astype(np.float32)
    if values is not None:
        q, _ = np.linalg.qr(x)
        x = q @ np.diag(np.resize(np.array(values, np.float32), size)) @ q.conj().T / 2
    return (x + x.conj().T).astype(kind)


@pytest.mark.parametrize("values", [None, [1, 1, 2]], ids=["apart", "equal"])
@pytest.mark.parametrize("size", [1, 5, 20])
@pytest.mark.parametrize("kind", ["float32", "complex64"])
def test_eigh_in_onnx_is_as_good_as_lapack(
    kind: str, size: int, values: Any, tmp_path: Path
) -> None:
    """Rotations of two numbers that should be one lost 3 digits where eigenvalues were equal."""
    x = _matrix(size, kind, values)
    done = ms.export(lambda x: tuple(jnp.linalg.eigh(x)), x, file_name=tmp_path / "a",
                     file_format="ONNX", engine="native")  # fmt: skip
    w, v = runner.session(done.file)(x)
    v = v[..., 0] + 1j * v[..., 1] if kind == "complex64" else v
    x, w, v = (a.astype(np.complex128) for a in (x, w, v))
    scale, limit = np.abs(x).sum(-1).max(), 10 * np.finfo(np.float32).eps
    assert np.all(np.diff(w.real) >= 0)
    assert np.abs(x @ v - v * w).max() < limit * scale
    assert np.abs(v.conj().T @ v - np.eye(size)).max() < limit
    assert np.abs(w - np.linalg.eigvalsh(x)).max() < limit * scale


def _products(x: jax.Array) -> list[jax.Array]:
    w, v = jnp.linalg.eigh(x @ jnp.conj(x).T)
    adjoint = jnp.conj(v).T
    return [w, (v * w) @ adjoint, adjoint @ v]


@pytest.mark.parametrize("file_format", ["MINDIR", "AIR", "ONNX"])
def test_hermitian_eigh(file_format: str, tmp_path: Path) -> None:
    x = _matrix(4, "complex64") / 4
    done = ms.export(_products, x, file_name=tmp_path / "a", file_format=file_format, verify=True)
    assert done.difference is not None
    assert done.difference < 1e-5

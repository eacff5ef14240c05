"""Linear algebra and Fourier transforms."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import lax

from msckpt_jax.air.meaning.operands import Meaning, dtype_of, ints


def _adjoint(x: Any) -> Any:
    return jnp.conj(jnp.swapaxes(x, -1, -2))


def _triangular_solve(matrix: Any, rhs: Any, *, lower: bool, adjoint: bool) -> Any:
    return lax.linalg.triangular_solve(
        matrix, rhs, left_side=True, lower=lower, transpose_a=adjoint, conjugate_a=adjoint
    )


def _inverse(x: Any, *, adjoint: bool) -> Any:
    return jnp.linalg.inv(_adjoint(x) if adjoint else x)


def _eigh(x: Any, *, compute_v: bool) -> Any:
    """The eigenvalues and eigenvectors of the matrix whose lower triangle is given."""
    vectors, values = lax.linalg.eigh(x, lower=True, symmetrize_input=False)
    return values.astype(x.dtype), vectors if compute_v else None


def _svd(x: Any, *, compute_uv: bool, full_matrices: bool) -> Any:
    if not compute_uv:
        return jnp.linalg.svd(x, compute_uv=False).astype(x.dtype), None, None
    u, sigma, v = jnp.linalg.svd(x, full_matrices=full_matrices)
    return sigma.astype(x.dtype), u, _adjoint(v)


def _lu(x: Any, *, output_idx_type: int) -> Any:
    packed, _, order = lax.linalg.lu(x)
    return packed, order.astype(dtype_of(output_idx_type))


def _qr(x: Any, *, full_matrices: bool) -> Any:
    return tuple(jnp.linalg.qr(x, mode="complete" if full_matrices else "reduced"))


TABLE: dict[str, Meaning] = {
    "Cholesky": partial(lax.linalg.cholesky, symmetrize_input=False),
    "FFT": lambda x: jnp.fft.fft(x),
    "IFFT": lambda x: jnp.fft.ifft(x),
    "IRFFT": lambda x, length: jnp.fft.irfft(x, ints(length)[-1]),
    "Lu": _lu,
    "MatrixDeterminant": jnp.linalg.det,
    "MatrixInverse": _inverse,
    "MatrixTriangularSolve": _triangular_solve,
    "Qr": _qr,
    "RFFT": lambda x, length: jnp.fft.rfft(x, ints(length)[-1]),
    "SelfAdjointEig": _eigh,
    "Svd": _svd,
}

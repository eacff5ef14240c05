"""Matrix products, linear algebra, Fourier transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.scipy.linalg
from jax import lax

#: MindSpore's NormMode to NumPy's.
NORMS = {None: None, 0: "backward", 1: "forward", 2: "ortho"}


def _t(x: Any, transpose: Any) -> Any:
    return jnp.swapaxes(x, -1, -2) if transpose else x


def _matmul(x: Any, y: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    if x.ndim == y.ndim == 2:  # one dot_general, no transposition
        dims = (((0 if transpose_a else 1,), (1 if transpose_b else 0,)), ((), ()))
        return lax.dot_general(x, y, dims)
    if x.ndim == y.ndim and x.shape[:-2] == y.shape[:-2]:
        n, batch = x.ndim, tuple(range(x.ndim - 2))
        sides = ((n - 2 if transpose_a else n - 1,), (n - 1 if transpose_b else n - 2,))
        return lax.dot_general(x, y, (sides, (batch, batch)))
    return jnp.matmul(_t(x, transpose_a), _t(y, transpose_b))


def _dense(x: Any, weight: Any, bias: Any = None) -> Any:
    out = lax.dot_general(x, weight, (((x.ndim - 1,), (weight.ndim - 1,)), ((), ())))
    return out if bias is None else out + bias


def _bias_add(x: Any, bias: Any, data_format: Any = 0, *, format: Any = None) -> Any:
    last = data_format in (1, "NHWC") or format == "NHWC" or x.ndim == 2
    return x + (bias if last else jnp.reshape(bias, (1, -1, *[1] * (x.ndim - 2))))


def _addmm(x: Any, a: Any, b: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    return beta * x + alpha * jnp.matmul(a, b)


def _addbmm(x: Any, a: Any, b: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    return beta * x + alpha * jnp.sum(jnp.matmul(a, b), 0)


def _fft(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, n=None, dim=-1, norm=None: fn(x, n, -1 if dim is None else dim, NORMS[norm])


def _fftn(fn: Callable[..., Any], last: int | None = None) -> Callable[..., Any]:
    def run(x: Any, s: Any = None, dim: Any = None, norm: Any = None) -> Any:
        axes = tuple(range(-last, 0)) if dim is None and last else dim
        if axes is None and s is not None:
            axes = tuple(range(-len(s), 0))
        return fn(x, s, axes, NORMS[norm])

    return run


def _svd(x: Any, full_matrices: bool = False, compute_uv: bool = True) -> Any:
    if not compute_uv:
        return jnp.linalg.svd(x, full_matrices, False)
    u, s, vh = jnp.linalg.svd(x, full_matrices)
    return s, u, jnp.conj(jnp.swapaxes(vh, -1, -2))


def _eigh(x: Any, *, compute_v: bool = True) -> Any:
    """The eigenvalues, of the dtype of the matrix, and the eigenvectors."""
    if not compute_v:
        return jnp.linalg.eigvalsh(x).astype(x.dtype)
    values, vectors = jnp.linalg.eigh(x)
    return values.astype(x.dtype), vectors


def _lu(x: Any, **_: Any) -> Any:
    lu, pivots, order = lax.linalg.lu(x)
    size = x.shape[-2]
    matrix = (order[..., None, :] == jnp.arange(size)[:, None]).astype(jnp.int32)
    return lu, pivots.astype(jnp.int32), matrix


def _cholesky(x: Any, upper: bool = False) -> Any:
    low = jnp.linalg.cholesky(x)
    return jnp.conj(jnp.swapaxes(low, -1, -2)) if upper else low


def _solve_triangular(
    a: Any, b: Any, trans: int = 0, lower: bool = False, unit_diagonal: bool = False
) -> Any:
    vector = b.ndim == a.ndim - 1
    out = lax.linalg.triangular_solve(
        a, b[..., None] if vector else b, left_side=True, lower=lower,
        transpose_a=trans != 0, conjugate_a=trans == 2, unit_diagonal=unit_diagonal,
    )  # fmt: skip
    return out[..., 0] if vector else out


def _log_determinant(x: Any) -> Any:
    sign, logarithm = jnp.linalg.slogdet(x)
    return sign, logarithm.astype(x.dtype)


def _orgqr(x: Any, tau: Any) -> Any:
    return lax.linalg.householder_product(x, tau)


def _matrix_solve(a: Any, b: Any, *, adjoint: bool = False) -> Any:
    return jnp.linalg.solve(jnp.conj(jnp.swapaxes(a, -1, -2)) if adjoint else a, b)


def _matrix_inverse(x: Any, *, adjoint: bool = False) -> Any:
    out = jnp.linalg.inv(x)
    return jnp.conj(jnp.swapaxes(out, -1, -2)) if adjoint else out


def _band(x: Any, lower: Any, upper: Any) -> Any:
    rows = lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 2)
    columns = lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
    keep = ((lower < 0) | (rows - columns <= lower)) & ((upper < 0) | (columns - rows <= upper))
    return jnp.where(keep, x, jnp.zeros_like(x))


def _cdist(x: Any, y: Any, p: float = 2.0) -> Any:
    far = jnp.abs(x[..., :, None, :] - y[..., None, :, :])
    if p == 0:
        return jnp.sum(far != 0, -1, dtype=x.dtype)
    return jnp.max(far, -1) if p == float("inf") else jnp.sum(far**p, -1) ** (1 / p)


def _cross(x: Any, y: Any, dim: Any = None) -> Any:
    if dim is None or dim == -65530:  # MindSpore's mark for "the first axis of size 3"
        dim = x.shape.index(3)
    return jnp.cross(x, y, axis=dim)


TABLE: dict[str, Callable[..., Any]] = {
    "MatMul": _matmul,
    "BatchMatMul": _matmul,
    "MatMulExt": jnp.matmul,
    "BatchMatMulExt": jnp.matmul,
    "Mm": jnp.matmul,
    "Mv": jnp.matmul,
    "Dot": jnp.dot,
    "Vdot": jnp.vdot,
    "Outer": jnp.outer,
    "Ger": lambda x, y: x[..., :, None] * y[..., None, :],
    "Dense": _dense,
    "BiasAdd": _bias_add,
    "Addmm": _addmm,
    "Baddbmm": _addmm,
    "Addmv": _addmm,
    "Addbmm": _addbmm,
    "EinsumExt": lambda equation, operands: jnp.einsum(equation, *operands),
    "Einsum": lambda operands, *, equation: jnp.einsum(equation, *operands),
    "Cdist": _cdist,
    "Cross": _cross,
    "Cholesky": _cholesky,
    "Qr": lambda x, full_matrices=False: tuple(
        jnp.linalg.qr(x, "complete" if full_matrices else "reduced")
    ),
    "Svd": _svd,
    "SelfAdjointEig": _eigh,
    "Eig": lambda x, compute_v=False: (
        tuple(jnp.linalg.eig(x)) if compute_v else jnp.linalg.eigvals(x)
    ),
    "LU": _lu,
    "Orgqr": _orgqr,
    "SolveTriangular": _solve_triangular,
    "MatrixSolve": _matrix_solve,
    "MatrixInverse": _matrix_inverse,
    "MatrixInverseExt": jnp.linalg.inv,
    "MatrixDeterminant": jnp.linalg.det,
    "LogMatrixDeterminant": _log_determinant,
    "MatrixExp": jax.scipy.linalg.expm,
    "MatrixPower": lambda x, *, n: jnp.linalg.matrix_power(x, n),
    "MatrixBandPart": _band,
    "Trace": lambda x: jnp.trace(x, dtype=x.dtype),
    "TraceExt": jnp.trace,
    "FFT": _fft(jnp.fft.fft),
    "IFFT": _fft(jnp.fft.ifft),
    "RFFT": _fft(jnp.fft.rfft),
    "IRFFT": _fft(jnp.fft.irfft),
    "HFFT": _fft(jnp.fft.hfft),
    "IHFFT": _fft(jnp.fft.ihfft),
    "FFT2": _fftn(jnp.fft.fftn, 2),
    "IFFT2": _fftn(jnp.fft.ifftn, 2),
    "RFFT2": _fftn(jnp.fft.rfftn, 2),
    "IRFFT2": _fftn(jnp.fft.irfftn, 2),
    "FFTN": _fftn(jnp.fft.fftn),
    "IFFTN": _fftn(jnp.fft.ifftn),
    "RFFTN": _fftn(jnp.fft.rfftn),
    "IRFFTN": _fftn(jnp.fft.irfftn),
    "FFTShift": lambda x, dim=None: jnp.fft.fftshift(x, dim),
    "IFFTShift": lambda x, dim=None: jnp.fft.ifftshift(x, dim),
}

"""Diagonals, decompositions and solutions that :mod:`linear` has not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy import linalg

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.meaning.arrays import ints


def _adjoint(x: Any) -> Any:
    return jnp.conj(jnp.swapaxes(x, -1, -2))


def _band(k: Any) -> tuple[int, int]:
    """The lowest and the highest diagonal."""
    numbers = ints(k)
    return numbers[0], numbers[-1]


def _places(low: int, high: int, rows: int, columns: int, align: str) -> tuple[Any, Any, Any]:
    """Row and column of each entry of a band, [diagonals, longest], and which entries are some."""
    left, right = align.upper().split("_")  # of diagonals above and below the main one
    longest = min(rows + min(high, 0), columns + min(-low, 0))
    row = np.zeros((high - low + 1, longest), np.int32)
    column, some = row.copy(), np.zeros(row.shape, bool)
    for n, d in enumerate(range(high, low - 1, -1)):
        length = min(rows + min(d, 0), columns - max(d, 0))
        side = left if d >= 0 else right
        start = longest - length if side == "RIGHT" else 0
        at = np.arange(length)
        row[n, start : start + length] = at - min(d, 0)
        column[n, start : start + length] = at + max(d, 0)
        some[n, start : start + length] = True
    return row, column, some


def _diag_part(x: Any, k: Any, padding: Any, *, align: str = "RIGHT_LEFT") -> Any:
    low, high = _band(k)
    row, column, some = _places(low, high, x.shape[-2], x.shape[-1], align)
    out = jnp.where(some, x[..., row, column], jnp.asarray(padding, x.dtype))
    return out[..., 0, :] if low == high else out


def _set_diag(x: Any, diagonal: Any, k: Any, *, align: str = "RIGHT_LEFT") -> Any:
    low, high = _band(k)
    row, column, some = _places(low, high, x.shape[-2], x.shape[-1], align)
    diagonal = diagonal[..., None, :] if low == high else diagonal
    return x.at[..., row[some], column[some]].set(diagonal[..., some])


def _diag(
    x: Any, k: Any, rows: Any, columns: Any, padding: Any, *, align: str = "RIGHT_LEFT"
) -> Any:
    low, high = _band(k)
    rows, columns = int(rows), int(columns)
    longest = x.shape[-1]
    least_rows, least_columns = longest - min(high, 0), longest + max(low, 0)
    if rows == -1 and columns == -1:
        rows = columns = max(least_rows, least_columns)
    rows = least_rows if rows == -1 else rows
    columns = least_columns if columns == -1 else columns
    lead = x.shape[:-1] if low == high else x.shape[:-2]
    out = jnp.full((*lead, rows, columns), jnp.asarray(padding, x.dtype))
    return _set_diag(out, x, (low, high), align=align)


def _fill_diagonal(x: Any, *, fill_value: float, wrap: bool = False) -> Any:
    value = jnp.asarray(fill_value, x.dtype)
    rows, columns = x.shape[0], x.shape[-1]
    if x.ndim > 2:
        at = jnp.arange(rows)
        return x.at[(at,) * x.ndim].set(value)
    flat = np.arange(0, rows * columns, columns + 1)
    flat = flat if wrap and rows > columns else flat[flat < columns * columns]
    return jnp.reshape(jnp.ravel(x).at[flat].set(value), x.shape)


def _cholesky_inverse(x: Any, upper: bool = False) -> Any:
    low = _adjoint(x) if upper else x
    return linalg.cho_solve((jnp.tril(low), True), jnp.eye(x.shape[-1], dtype=x.dtype))


def _cholesky_solve(b: Any, x: Any, *, upper: bool = False) -> Any:
    solve = partial(_solved_by_cholesky, upper=upper)
    for _ in range(b.ndim - 2):
        solve = jax.vmap(solve)
    return solve(b, x)


def _solved_by_cholesky(b: Any, x: Any, upper: bool) -> Any:
    low = jnp.tril(_adjoint(x) if upper else x)
    return linalg.cho_solve((low, True), b)


def _eigh(x: Any, *, compute_eigenvectors: bool = True, lower: bool = True) -> Any:
    triangle = "L" if lower else "U"
    if not compute_eigenvectors:
        return jnp.linalg.eigvalsh(x, UPLO=triangle).astype(x.dtype)
    values, vectors = jnp.linalg.eigh(x, UPLO=triangle, symmetrize_input=False)
    return values.astype(x.dtype), vectors


def _permutation(pivots: Any, size: int, dtype: Any) -> Any:
    """The matrix that swaps rows as pivots, counted from 1, say."""
    order = lax.linalg.lu_pivots_to_permutation(pivots.astype(jnp.int32) - 1, size)
    return _adjoint(jax.nn.one_hot(order, size, dtype=dtype))


def _lu_unpack(x: Any, pivots: Any, *, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    rows, columns = x.shape[-2:]
    least = min(rows, columns)
    low = jnp.tril(x[..., :, :least], -1) + jnp.eye(rows, least, dtype=x.dtype)
    return _permutation(pivots, rows, x.dtype), low, jnp.triu(x[..., :least, :])


def _lu_solve(b: Any, lu: Any, pivots: Any) -> Any:
    solve: Callable[..., Any] = lambda b, lu, p: linalg.lu_solve((lu, p - 1), b)  # noqa: E731
    lead = max(b.ndim - 2, lu.ndim - 2)
    if lead:
        batch = jnp.broadcast_shapes(b.shape[:-2], lu.shape[:-2])
        b = jnp.broadcast_to(b, (*batch, *b.shape[-2:]))
        lu = jnp.broadcast_to(lu, (*batch, *lu.shape[-2:]))
        pivots = jnp.broadcast_to(pivots, (*batch, pivots.shape[-1]))
    for _ in range(lead):
        solve = jax.vmap(solve)
    return solve(b, lu, pivots)


def _triangular(a: Any, b: Any, lower: bool, adjoint: bool, unit: bool = False) -> Any:
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = jnp.broadcast_to(a, (*batch, *a.shape[-2:]))
    b = jnp.broadcast_to(b, (*batch, *b.shape[-2:]))
    return lax.linalg.triangular_solve(
        a, b, left_side=True, lower=lower, transpose_a=adjoint, conjugate_a=adjoint,
        unit_diagonal=unit,
    )  # fmt: skip


def _triangular_solve(
    b: Any, a: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    out = _triangular(a, b, not upper, False, unitriangular) if not transpose else _triangular(
        jnp.swapaxes(a, -1, -2), b, upper, False, unitriangular
    )  # fmt: skip
    return out, a


def _least_squares(a: Any, b: Any, *, fast: bool = True, l2_regularizer: float = 0.0) -> Any:
    if l2_regularizer:
        raise MindIRError("Lstsq with l2_regularizer: only 0 is supported")
    flat = b[:, None] if b.ndim == 1 else b
    return jnp.linalg.pinv(a) @ flat


def _solve_ls(a: Any, b: Any, l2: Any, *, fast: bool = True) -> Any:
    """The least squares, with the squares of the solution weighed by ``l2``, if ``fast``."""
    rows, columns = a.shape[-2:]
    l2 = jnp.asarray(l2, a.dtype) if fast else jnp.zeros((), a.dtype)
    if rows >= columns:
        inner = _adjoint(a) @ a + l2 * jnp.eye(columns, dtype=a.dtype)
        return jnp.linalg.solve(inner, _adjoint(a) @ b)
    outer = a @ _adjoint(a) + l2 * jnp.eye(rows, dtype=a.dtype)
    return _adjoint(a) @ jnp.linalg.solve(outer, b)


def _logarithm(x: Any) -> Any:
    values, vectors = jnp.linalg.eig(x)
    return ((vectors * jnp.log(values)[..., None, :]) @ jnp.linalg.inv(vectors)).astype(x.dtype)


def _tridiagonal(upper: Any, main: Any, lower: Any, x: Any) -> Any:
    """The product of a matrix of three diagonals, each [..., 1, n], with a matrix."""
    below = jnp.concatenate([jnp.zeros_like(x[..., :1, :]), x[..., :-1, :]], -2)
    above = jnp.concatenate([x[..., 1:, :], jnp.zeros_like(x[..., :1, :])], -2)
    side = [jnp.swapaxes(v, -1, -2) for v in (upper, main, lower)]
    return side[0] * above + side[1] * x + side[2] * below


def _tridiagonal_solve(diagonals: Any, b: Any, *, partial_pivoting: bool = True) -> Any:
    upper, main, lower = (diagonals[..., k, :] for k in range(3))
    n = main.shape[-1]
    at = np.arange(n)
    full = jnp.zeros((*main.shape, n), main.dtype)
    full = full.at[..., at, at].set(main)
    full = full.at[..., at[:-1], at[1:]].set(upper[..., :-1])
    full = full.at[..., at[1:], at[:-1]].set(lower[..., 1:])
    return jnp.linalg.solve(full, b)


def _renorm(x: Any, *, p: float, dim: int, maxnorm: float) -> Any:
    """Shrink the parts along an axis whose norm is larger than ``maxnorm``."""
    axes = tuple(a for a in range(x.ndim) if a != dim % x.ndim)
    norm = jnp.sum(jnp.abs(x) ** p, axes, keepdims=True) ** (1 / p)
    factor = jnp.where(norm > maxnorm, maxnorm / (norm + 1e-7), jnp.ones((), norm.dtype))
    return (x * factor).astype(x.dtype)


def _nuclear(x: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    axes = (0, 1) if dim in (None, (1000,), 1000) else tuple(dim)  # 1000 is MindSpore's None
    out = jnp.sum(jnp.linalg.svd(jnp.moveaxis(x, axes, (-2, -1)), compute_uv=False), -1)
    return jnp.expand_dims(out, sorted(a % x.ndim for a in axes)) if keepdim else out


def _distances(x: Any, *, p: float = 2.0) -> Any:
    """The distances of all pairs of rows."""
    first, second = np.triu_indices(x.shape[-2], 1)
    far = jnp.abs(x[..., first, :] - x[..., second, :])
    if p == 0:
        return jnp.sum(far != 0, -1).astype(x.dtype)
    return jnp.max(far, -1) if p == float("inf") else jnp.sum(far**p, -1) ** (1 / p)


def _trace(x: Any, offset: int = 0, axis1: int = 1, axis2: int = 0, dtype: Any = None) -> Any:
    out = jnp.trace(x if dtype is None else x.astype(dtype), offset, axis1, axis2)
    return out.astype(x.dtype if dtype is None else dtype)


def _indices(fn: Callable[..., Any]) -> Callable[..., Any]:
    def run(*, row: int, col: int, offset: int = 0, dtype: Any = np.int32) -> Any:
        return jnp.asarray(np.stack(fn(row, offset, col)), jax.dtypes.canonicalize_dtype(dtype))

    return run


TABLE: dict[str, Callable[..., Any]] = {
    "MatrixDiagPartV3": _diag_part,
    "MatrixDiagV3": _diag,
    "MatrixSetDiagV3": _set_diag,
    "FillDiagonal": _fill_diagonal,
    "CholeskyInverse": _cholesky_inverse,
    "CholeskySolve": _cholesky_solve,
    "Eigh": _eigh,
    "LuUnpack": _lu_unpack,
    "LuSolve": _lu_solve,
    "MatrixTriangularSolve": lambda a, b, *, lower=True, adjoint=False: _triangular(
        a, b, lower, adjoint
    ),
    "TriangularSolve": _triangular_solve,
    "Lstsq": _least_squares,
    "MatrixSolveLs": _solve_ls,
    "MatrixLogarithm": _logarithm,
    "LinalgQr": lambda x, mode=0: tuple(jnp.linalg.qr(x, ["reduced", "complete", "r"][mode])),
    "TridiagonalMatMul": _tridiagonal,
    "TridiagonalSolve": _tridiagonal_solve,
    "Renorm": _renorm,
    "NuclearNorm": _nuclear,
    "Pdist": _distances,
    "TraceV2": _trace,
    "TrilIndices": _indices(np.tril_indices),
    "TriuIndices": _indices(np.triu_indices),
    # MindSpore's CPU kernel forgets to conjugate; its document does not.
    "ConjugateTranspose": lambda x, order: jnp.conj(jnp.transpose(x, ints(order))),
}

"""Matrix products, factorisations, Fourier transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.values import Const, Tensor
from msckpt_jax.lowering.canonical import canonicalise
from msckpt_jax.lowering.context import Array, Context
from msckpt_jax.lowering.rule import Rule, rule
from msckpt_jax.lowering.rules.elementwise import operator
from msckpt_jax.lowering.rules.shape import ints, transposed

_I32 = np.dtype(np.int32)
_NO = Const(False)


def _dot_general(
    ctx: Context, x: Array, y: Array, *, dimension_numbers: lax.DotDimensionNumbers
) -> Array:
    left, right = ctx.type(x), ctx.type(y)
    rank = len(left.shape)
    batch = tuple(range(rank - 2))
    (cx, cy), (bx, by) = dimension_numbers
    if (
        (tuple(cx), tuple(cy)) != ((rank - 1,), (rank - 2,))
        or (tuple(bx), tuple(by)) != (batch, batch)
        or len(right.shape) != rank
        or rank < 2
        or not left.dtype == right.dtype == ctx.result.dtype
    ):
        raise UnsupportedError("it must be a batched product of matrices of one dtype")
    sides = [(ctx.made.untransposed(side), side) for side in (x, y)]
    factors = [side if weight is None else weight for weight, side in sides]
    turned = [Const(weight is not None) for weight, _ in sides]
    return ctx("MatMul" if rank == 2 else "BatchMatMul", *factors, *turned)


def _cholesky(ctx: Context, x: Array) -> Array:
    return ctx("Cholesky", x, _NO)


def _eigh(
    ctx: Context, x: Array, *, lower: bool, subset_by_index: tuple[int, int] | None
) -> list[Array]:
    """JAX gives the vectors first, MindSpore the values, complex ones where the matrix is."""
    vectors, values = ctx.results
    if not lower:
        raise UnsupportedError("lower is False, but MindSpore reads the lower triangle")
    if subset_by_index not in (None, (0, ctx.type(x).shape[-1])):
        raise UnsupportedError(f"subset_by_index is {subset_by_index}, but MindSpore gives all")
    results = ctx.several(
        "SelfAdjointEig", x, types=[Tensor(vectors.dtype, values.shape), vectors],
        attrs={"compute_v": True},
    )  # fmt: skip
    numbers = results[0]
    if vectors.dtype.kind == "c":
        numbers = ctx("Real", numbers, type=values)
    return [results[1], numbers]


def _eig(
    ctx: Context, x: Array, *, compute_left_eigenvectors: bool, compute_right_eigenvectors: bool
) -> list[Array]:
    """Values in MindSpore's order; each vector turned so that its largest number is real."""
    left, right = compute_left_eigenvectors, compute_right_eigenvectors
    if ctx.options.exact:
        raise UnsupportedError("MindSpore's Eig gives the eigenvalues in another order")
    if left and right:
        raise UnsupportedError("it gives left or right eigenvectors, not both")
    values, type = ctx.results[0], ctx.type(x)
    if left:  # right eigenvectors of the adjoint, whose eigenvalues are conjugate
        x = transposed(ctx, x, _swap(len(type.shape)))
        x = ctx("Conj", x, type=type) if type.dtype.kind == "c" else x
    vectors = Tensor(values.dtype, type.shape)
    results = ctx.several("Eig", x, Const(True), types=[values, vectors])
    if left:
        results[0] = ctx("Conj", results[0], type=values)
    if not (left or right):
        return results[:1]
    spec = jax.ShapeDtypeStruct(ctx.avals[0].shape, values.dtype)
    with jax.enable_x64(values.dtype.itemsize == 16):
        turn = canonicalise(jax.make_jaxpr(_turned)(spec), exact=False)
    return [results[0], *ctx.run(turn, results[1:])]


def _turned(vectors: jax.Array) -> jax.Array:
    """Turn vectors as LAPACK does: each column's largest number, and so a real vector, is real."""
    size = jnp.abs(vectors)
    rows = lax.broadcasted_iota(np.int32, size.shape, size.ndim - 2)
    largest = rows == lax.argmax(size, size.ndim - 2, np.int32)[..., None, :]
    top = jnp.sum(jnp.where(largest, vectors, 0), -2, keepdims=True)
    return vectors * (jnp.conj(top) / jnp.abs(top).astype(top.dtype))


def _lu(ctx: Context, x: Array) -> list[Array]:
    """Make a vector, as JAX has it, of MindSpore's matrix of a permutation."""
    packed, pivots, permutation = ctx.results
    *batch, rows = permutation.shape
    matrix = Tensor(_I32, (*batch, rows, rows))
    results = ctx.several("LU", x, types=[packed, Tensor(_I32, pivots.shape), matrix])
    order = ctx("Argmax", results[2], Const(-2), Const(_I32), type=Tensor(_I32, permutation.shape))
    return [results[0], ctx.cast(results[1], pivots.dtype), ctx.cast(order, permutation.dtype)]


def _qr(ctx: Context, x: Array, *, full_matrices: bool, pivoting: bool) -> list[Array]:
    if pivoting:
        raise UnsupportedError("pivoting is True, but MindSpore's Qr does not pivot")
    return list(ctx.several("Qr", x, Const(bool(full_matrices)), types=ctx.results))


def _svd(
    ctx: Context,
    x: Array,
    *,
    full_matrices: bool,
    compute_uv: bool,
    subset_by_index: tuple[int, int] | None,
) -> list[Array]:
    """MindSpore gives V, JAX its adjoint."""
    if subset_by_index is not None:
        raise UnsupportedError(f"subset_by_index is {subset_by_index}, but MindSpore gives all")
    if not compute_uv:
        return [_singular_values(ctx, x)]
    values, left, right = ctx.results
    turn = (*range(len(right.shape) - 2), len(right.shape) - 1, len(right.shape) - 2)
    flipped = Tensor(right.dtype, tuple(right.shape[axis] for axis in turn))
    types = [Tensor(left.dtype, values.shape), left, flipped]
    results = ctx.several("Svd", x, Const(bool(full_matrices)), Const(True), types=types)
    vectors: Array = results[2]
    if right.dtype.kind == "c":
        vectors = ctx("Conj", vectors, type=flipped)
    return [ctx.cast(results[0], values.dtype), results[1], transposed(ctx, vectors, turn)]


def _singular_values(ctx: Context, x: Array) -> Array:
    """MindSpore has no kernel for complex matrices that leaves out the vectors."""
    dtype, (*batch, rows, columns) = ctx.type(x)
    least, complex = ctx.result.shape[-1], dtype.kind == "c"
    vectors = [Tensor(dtype, (*batch, n, least)) for n in (rows, columns)]
    types = [Tensor(dtype, ctx.result.shape), *vectors]
    results = ctx.several("Svd", x, _NO, Const(complex), types=types)
    return ctx.cast(results[0], ctx.result.dtype)


def _triangular_solve(
    ctx: Context,
    a: Array,
    b: Array,
    *,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    conjugate_a: bool,
    unit_diagonal: bool,
) -> Array:
    """MindSpore solves from the left; x a = b is the transposed problem.

    Complex matrices are transposed before: GE's operator knows their adjoint only.
    """
    complex, swap = ctx.result.dtype.kind == "c", _swap(len(ctx.result.shape))
    turned = transpose_a == left_side
    if conjugate_a and complex:
        a = ctx("Conj", a, type=ctx.type(a))
    if turned and complex:
        a, turned, lower = transposed(ctx, a, swap), False, not lower
    how = Const(int(turned)), Const(bool(lower)), Const(bool(unit_diagonal))
    if left_side:
        return ctx("SolveTriangular", a, b, *how)
    b = transposed(ctx, b, swap)
    solution = ctx("SolveTriangular", a, b, *how, type=ctx.type(b))
    return transposed(ctx, solution, swap)


def _swap(rank: int) -> tuple[int, ...]:
    return (*range(rank - 2), rank - 1, rank - 2)


_FOURIER = {
    lax.FftType.FFT: "FFTN", lax.FftType.IFFT: "IFFTN", lax.FftType.RFFT: "RFFTN",
    lax.FftType.IRFFT: "IRFFTN",
}  # fmt: skip


def _fft(ctx: Context, x: Array, *, fft_type: lax.FftType, fft_lengths: Sequence[Any]) -> Array:
    axes = range(len(ctx.result.shape) - len(fft_lengths), len(ctx.result.shape))
    if not all(isinstance(n, int) for n in fft_lengths):
        raise UnsupportedError("its length is dynamic, but must be a number")
    return ctx(_FOURIER[fft_type], x, ints(*fft_lengths), ints(*axes), Const(None))


RULES: dict[str, Rule] = {
    "cholesky": rule(_cholesky, "Cholesky"),
    "dot_general": rule(
        _dot_general, "MatMul", "BatchMatMul",
        ignores=("precision", "preferred_element_type", "out_sharding"),
    ),
    "eig": rule(
        _eig, "Eig", "Transpose", "Conj", ignores=("implementation", "enable_eigvec_derivs")
    ),
    "eigh": rule(_eigh, "SelfAdjointEig", "Real", ignores=("algorithm", "sort_eigenvalues")),
    "fft": rule(_fft, *_FOURIER.values()),
    "householder_product": operator("Orgqr"),
    "lu": rule(_lu, "LU", "Argmax"),
    "qr": rule(_qr, "Qr", ignores=("use_magma",)),
    "svd": rule(_svd, "Svd", "Conj", "Transpose", ignores=("algorithm",)),
    "triangular_solve": rule(_triangular_solve, "SolveTriangular", "Conj", "Transpose"),
}  # fmt: skip

"""Matrix products, factorisations, Fourier transforms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax import _compat
from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.values import Const, Tensor
from msckpt_jax.lowering.canonical import canonicalise
from msckpt_jax.lowering.context import Array, Context, Rule
from msckpt_jax.lowering.rules.shape import ints, reshaped, sliced, transposed

_I32 = np.dtype(np.int32)
_NO = Const(False)


def _dot_general(ctx: Context, eqn: Any, x: Array, y: Array) -> Array:
    left, right = ctx.type(x), ctx.type(y)
    rank = len(left.shape)
    batch = tuple(range(rank - 2))
    (cx, cy), (bx, by) = eqn.params["dimension_numbers"]
    if (
        (tuple(cx), tuple(cy)) != ((rank - 1,), (rank - 2,))
        or (tuple(bx), tuple(by)) != (batch, batch)
        or len(right.shape) != rank
        or rank < 2
        or not left.dtype == right.dtype == ctx.result.dtype
    ):
        raise UnsupportedError("only as a batched product of matrices of one dtype")
    if rank == 2:
        return ctx("MatMul", x, y, _NO, _NO)
    return ctx("BatchMatMul", x, y, _NO, _NO)


def _cholesky(ctx: Context, eqn: Any, x: Array) -> Array:
    return ctx("Cholesky", x, _NO)


def _eigh(ctx: Context, eqn: Any, x: Array) -> list[Array]:
    """JAX gives the vectors first, MindSpore the values."""
    vectors, values = ctx.results
    if values.shape[-1] != vectors.shape[-1]:
        raise UnsupportedError("only of all eigenvalues")
    if not eqn.params["lower"]:
        x = transposed(ctx, x, _swap(len(vectors.shape)))
        x = ctx("Conj", x, type=ctx.type(x)) if vectors.dtype.kind == "c" else x
    found = ctx.several(
        "SelfAdjointEig", x, types=[Tensor(vectors.dtype, values.shape), vectors],
        attrs={"compute_v": True},
    )  # fmt: skip
    return [found[1], found[0]]


def _eig(ctx: Context, eqn: Any, x: Array) -> list[Array]:
    """Values in MindSpore's order; each vector turned so that its largest number is real."""
    left = bool(eqn.params["compute_left_eigenvectors"])
    right = bool(eqn.params["compute_right_eigenvectors"])
    if ctx.options.exact:
        raise UnsupportedError("MindSpore's Eig gives the eigenvalues in another order")
    if left and right:
        raise UnsupportedError("with left or with right eigenvectors only, not with both")
    values, type = ctx.results[0], ctx.type(x)
    if left:  # right ones of the adjoint, whose eigenvalues are conjugate
        x = transposed(ctx, x, _swap(len(type.shape)))
        x = ctx("Conj", x, type=type) if type.dtype.kind == "c" else x
    vectors = Tensor(values.dtype, type.shape)
    found = ctx.several("Eig", x, Const(True), types=[values, vectors])
    if left:
        found[0] = ctx("Conj", found[0], type=values)
    if not (left or right):
        return found[:1]
    spec = jax.ShapeDtypeStruct(eqn.outvars[1].aval.shape, values.dtype)
    with _compat.wide(values.dtype.itemsize == 16):
        turn = canonicalise(jax.make_jaxpr(_turned)(spec), exact=False)
    return [found[0], *ctx.run(turn, found[1:])]


def _turned(vectors: Any) -> Any:
    """As LAPACK's: the largest number of each column is real, so that real vectors are."""
    size = jnp.abs(vectors)
    rows = lax.broadcasted_iota(np.int32, size.shape, size.ndim - 2)
    largest = rows == lax.argmax(size, size.ndim - 2, np.int32)[..., None, :]
    top = jnp.sum(jnp.where(largest, vectors, 0), -2, keepdims=True)
    return vectors * (jnp.conj(top) / jnp.abs(top).astype(top.dtype))


def _lu(ctx: Context, eqn: Any, x: Array) -> list[Array]:
    """MindSpore's permutation is a matrix; where its columns have their ones is JAX's vector."""
    packed, pivots, permutation = ctx.results
    *batch, rows = permutation.shape
    matrix = Tensor(_I32, (*batch, rows, rows))
    found = ctx.several("LU", x, types=[packed, Tensor(_I32, pivots.shape), matrix])
    order = ctx("Argmax", found[2], Const(-2), Const(_I32), type=Tensor(_I32, permutation.shape))
    return [found[0], ctx.cast(found[1], pivots.dtype), ctx.cast(order, permutation.dtype)]


def _qr(ctx: Context, eqn: Any, x: Array) -> list[Array]:
    if eqn.params.get("pivoting"):
        raise UnsupportedError("with pivoting")
    full = Const(bool(eqn.params["full_matrices"]))
    return list(ctx.several("Qr", x, full, types=ctx.results))


def _svd(ctx: Context, eqn: Any, x: Array) -> list[Array]:
    """MindSpore gives V, JAX its adjoint."""
    if eqn.params.get("subset_by_index") is not None:
        raise UnsupportedError("of a subset")
    full, both = bool(eqn.params["full_matrices"]), bool(eqn.params["compute_uv"])
    if not both:
        shape = ctx.type(x).shape
        rows, columns = shape[-2:]
        least = ctx.result.shape[-1]
        dummies = [Tensor(ctx.result.dtype, (*shape[:-2], n, least)) for n in (rows, columns)]
        found = ctx.several("Svd", x, _NO, Const(False), types=[ctx.result, *dummies])
        return [found[0]]
    values, left, right = ctx.results
    turn = (*range(len(right.shape) - 2), len(right.shape) - 1, len(right.shape) - 2)
    flipped = Tensor(right.dtype, tuple(right.shape[axis] for axis in turn))
    types = [Tensor(left.dtype, values.shape), left, flipped]
    found = ctx.several("Svd", x, Const(full), Const(True), types=types)
    vectors: Array = found[2]
    if right.dtype.kind == "c":
        vectors = ctx("Conj", vectors, type=flipped)
    return [ctx.cast(found[0], values.dtype), found[1], transposed(ctx, vectors, turn)]


def _triangular_solve(ctx: Context, eqn: Any, a: Array, b: Array) -> Array:
    """MindSpore solves from the left; x a = b is the transposed problem."""
    params = eqn.params
    if params["conjugate_a"] and ctx.result.dtype.kind == "c":
        a = ctx("Conj", a, type=ctx.type(a))
    swap = _swap(len(ctx.result.shape))
    flags = Const(bool(params["lower"])), Const(bool(params["unit_diagonal"]))
    transpose = bool(params["transpose_a"])
    if params["left_side"]:
        return ctx("SolveTriangular", a, b, Const(int(transpose)), *flags)
    b = transposed(ctx, b, swap)
    found = ctx("SolveTriangular", a, b, Const(int(not transpose)), *flags, type=ctx.type(b))
    return transposed(ctx, found, swap)


def _swap(rank: int) -> tuple[int, ...]:
    return (*range(rank - 2), rank - 1, rank - 2)


def _householder_product(ctx: Context, eqn: Any, a: Array, taus: Array) -> Array:
    return ctx("Orgqr", a, taus)


def _lu_pivots_to_permutation(ctx: Context, eqn: Any, pivots: Array) -> Array:
    """Exchange one pair after the other, in a row of 0, 1, 2, ..."""
    type, size = ctx.type(pivots), eqn.params["permutation_size"]
    if len(type.shape) != 1 or not isinstance(type.shape[0], int):
        raise UnsupportedError("only of one vector of static size")
    order: Array = ctx.constant(np.arange(size, dtype=_I32))
    row = Tensor(_I32, (size,))
    one = Tensor(_I32, (1,))
    for step in range(type.shape[0]):
        other = ctx.cast(sliced(ctx, pivots, (step,), (1,)), _I32)
        here = Const(np.array([step], _I32))
        values = [
            ctx("Gather", order, place, Const(0), Const(0), type=one) for place in (other, here)
        ]
        pair = Tensor(_I32, (2,))
        places = reshaped(ctx, ctx("Concat", (here, other), Const(0), type=pair), (2, 1))
        new = ctx("Concat", tuple(values), Const(0), type=pair)
        order = ctx("TensorScatterUpdate", order, places, new, type=row)
    return ctx.cast(order, ctx.result.dtype)


#: By the name or the number of ``lax.FftType``.
_FOURIER = {"FFT": "FFTN", "IFFT": "IFFTN", "RFFT": "RFFTN", "IRFFT": "IRFFTN"}
_FOURIER |= {str(number): op for number, op in enumerate(list(_FOURIER.values()))}


def _fft(ctx: Context, eqn: Any, x: Array) -> Array:
    kind = str(eqn.params["fft_type"]).rpartition(".")[2]
    op = _FOURIER[kind]
    lengths = eqn.params["fft_lengths"]
    axes = range(len(ctx.result.shape) - len(lengths), len(ctx.result.shape))
    if not all(isinstance(n, int) for n in lengths):
        raise UnsupportedError("of dynamic length")
    return ctx(op, x, ints(*lengths), ints(*axes), Const(None))


RULES: dict[str, Rule] = {
    "cholesky": _cholesky,
    "dot_general": _dot_general,
    "eig": _eig,
    "eigh": _eigh,
    "fft": _fft,
    "householder_product": _householder_product,
    "lu": _lu,
    "lu_pivots_to_permutation": _lu_pivots_to_permutation,
    "qr": _qr,
    "svd": _svd,
    "triangular_solve": _triangular_solve,
}

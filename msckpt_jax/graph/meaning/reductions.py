"""Sums, means, extremes, cumulative operators and sorting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax.graph.meaning import positions


def axes(x: Any, axis: Any) -> Any:
    """MindSpore's axes as JAX takes them: no axis means all, and a number has the axes 0 and -1."""
    if axis is None or not jnp.ndim(x):
        return None
    axis = tuple(int(a) for a in np.ravel(np.asarray(axis)))
    return axis or None


def _reduce(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axis=(), keep_dims=False: fn(x, axis=axes(x, axis), keepdims=keep_dims)


def _mean(x: Any, axis: Any = (), keep_dims: bool = False, dtype: Any = None) -> Any:
    """The mean; of whole numbers a whole one, towards 0."""
    x, axis = x if dtype is None else x.astype(dtype), axes(x, axis)
    if not jnp.issubdtype(x.dtype, jnp.integer):
        return jnp.mean(x, axis=axis, keepdims=keep_dims)
    return _whole_mean(x, axis, keep_dims).astype(x.dtype)


def _whole_mean(x: Any, axis: Any, keepdims: bool) -> Any:
    """By quotients and remainders, where the sum may not fit."""
    axis = tuple(range(x.ndim) if axis is None else sorted(a % x.ndim for a in axis))
    others = [x.shape[a] for a in range(x.ndim) if a not in axis]
    n = math.prod(x.shape[a] for a in axis)
    if n == 0 and math.prod(others):
        raise ValueError("there is no mean of no whole numbers")
    largest = -int(jnp.iinfo(x.dtype).min) or int(jnp.iinfo(x.dtype).max)
    x = x if x.dtype.itemsize >= 4 else x.astype(jnp.int32)
    if not isinstance(n, int) or n * largest <= jnp.iinfo(x.dtype).max:
        total = jnp.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype)
        return lax.div(total, jnp.full_like(total, n))
    total = _divided_sum(jnp.reshape(jnp.moveaxis(x, axis, range(len(axis))), (n, *others)), n)
    return jnp.expand_dims(total, axis) if keepdims else total


def _divided_sum(x: Any, n: int) -> Any:
    """The sum of rows by n, towards 0; no number on the way is larger than two remainders."""

    def apart(x: Any) -> tuple[Any, Any]:
        size = jnp.full_like(x, n)
        return jnp.sum(lax.div(x, size), 0, dtype=x.dtype), lax.rem(x, size)

    total, rest = apart(x)
    while len(rest) > 1:
        half = len(rest) // 2
        more, pairs = apart(rest[:half] + rest[half : 2 * half])
        total, rest = total + more, jnp.concatenate([pairs, rest[2 * half :]])
    past = jnp.sign(total) * jnp.sign(rest[0]) < 0  # away from 0
    return jnp.where(past, total - jnp.sign(total), total)


def _reduce_sum(x: Any, axis: Any = (), keep_dims: bool = False, skip_mode: bool = False) -> Any:
    if skip_mode and axes(x, axis) is None:
        return x
    return jnp.sum(x, axis=axes(x, axis), keepdims=keep_dims, dtype=x.dtype)


def _reduce_prod(x: Any, axis: Any = (), keep_dims: bool = False) -> Any:
    return jnp.prod(x, axis=axes(x, axis), keepdims=keep_dims, dtype=x.dtype)


def _reduce_ext(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction like PyTorch's: it takes a dtype to compute in; whole numbers become int64."""
    return lambda x, dim=None, keepdim=False, dtype=None: fn(
        x, axis=axes(x, dim), keepdims=keepdim, dtype=_widest(x, dtype)
    )


def _widest(x: Any, dtype: Any) -> Any:
    """The dtype to compute in, if told; int64 of whole numbers but unsigned ones of 16 bits up."""
    if dtype is not None:
        return dtype
    return _int64() if x.dtype.kind in "bi" or x.dtype == np.uint8 else x.dtype


def _spread(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, dim=None, correction=1, keepdim=False: fn(
        x, axis=axes(x, dim), ddof=correction, keepdims=keepdim
    )


def _reduce_std(x: Any, axis: Any = (), unbiased: bool = True, keep_dims: bool = False) -> Any:
    keep = {"axis": axes(x, axis), "keepdims": keep_dims}
    return jnp.std(x, ddof=int(unbiased), **keep), jnp.mean(x, **keep)


def _arg(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axis=-1, output_type=jnp.int32: fn(x, axis).astype(output_type)


def _arg_ext(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, dim=None, keepdim=False: fn(x, dim, keepdims=keepdim).astype(_int64())


def _int64() -> Any:
    return jax.dtypes.canonicalize_dtype(np.int64)


def _with_value(arg: Callable[..., Any], value: Callable[..., Any]) -> Callable[..., Any]:
    def pair(x: Any, axis: Any = 0, keep_dims: bool = False) -> Any:
        index = arg(x, axis, keepdims=keep_dims).astype(jnp.int32)
        return index, value(x, axes(x, axis), keepdims=keep_dims)

    return pair


def _extreme(arg: Callable[..., Any], value: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, dim, keepdim=False: (
        value(x, axes(x, dim), keepdims=keepdim),
        arg(x, dim, keepdims=keepdim).astype(_int64()),
    )


def _cumulative(fn: Callable[..., Any], start: int) -> Callable[..., Any]:
    def run(x: Any, axis: Any, exclusive: bool = False, reverse: bool = False) -> Any:
        axis = int(axis) % x.ndim
        if exclusive:
            x = jnp.roll(x, -1 if reverse else 1, axis)
            edge = x.shape[axis] - 1 if reverse else 0
            x = jnp.where(lax.broadcasted_iota(jnp.int32, x.shape, axis) == edge, start, x)
        return fn(x, axis, reverse=reverse)

    return run


def _cumsum_ext(x: Any, dim: int, dtype: Any = None) -> Any:
    return jnp.cumsum(x, dim, _widest(x, dtype))


def _running(
    fn: Callable[..., Any], wins: Callable[..., Any], dtype: Any = np.int64
) -> Callable[..., Any]:
    """The meaning that gives running extremes, and the positions where they were met last."""

    def run(x: Any, axis: int) -> Any:
        axis = axis % x.ndim
        best = fn(x, axis)
        place = lax.broadcasted_iota(jnp.int32, x.shape, axis)
        index = lax.cummax(jnp.where(wins(x, best), place, 0), axis)
        return best, index.astype(jax.dtypes.canonicalize_dtype(dtype))

    return run


def _cumulative_logsumexp(x: Any, axis: Any, *, exclusive: bool = False, reverse: bool = False):
    axis = int(axis) % x.ndim
    out = lax.cumlogsumexp(x, axis, reverse=reverse)
    if not exclusive:
        return out
    least = jnp.full_like(lax.slice_in_dim(x, 0, 1, axis=axis), jnp.finfo(x.dtype).min)
    rest = lax.slice_in_dim(out, *((1, None) if reverse else (0, -1)), axis=axis)
    return jnp.concatenate([rest, least] if reverse else [least, rest], axis)


def _sort(x: Any, *, axis: int = -1, descending: bool = False) -> Any:
    order = jnp.argsort(x, axis, stable=True, descending=descending)
    return jnp.take_along_axis(x, order, axis), order.astype(jnp.int32)


def _sort_ext(x: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    order = jnp.argsort(x, dim, stable=True, descending=descending)
    return jnp.take_along_axis(x, order, dim), order.astype(_int64())


def _arg_sort(x: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    return jnp.argsort(x, dim, stable=True, descending=descending).astype(_int64())


def _top_k(x: Any, k: Any, *, sorted: bool = True) -> Any:
    return tuple(lax.top_k(x, int(k)))


def _topk_ext(x: Any, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    moved = jnp.moveaxis(x, dim, -1)
    values, index = lax.top_k(moved, int(k)) if largest else _smallest(moved, int(k))
    return jnp.moveaxis(values, -1, dim), jnp.moveaxis(index, -1, dim).astype(_int64())


def _smallest(x: Any, k: int) -> Any:
    order = jnp.argsort(x, -1, stable=True)[..., :k]
    return jnp.take_along_axis(x, order, -1), order


def _norm(x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    x = x if dtype is None else x.astype(dtype)
    axis = axes(x, dim)
    if p == float("inf"):
        return jnp.max(jnp.abs(x), axis=axis, keepdims=keepdim)
    if p == float("-inf"):
        return jnp.min(jnp.abs(x), axis=axis, keepdims=keepdim)
    if p == 0:
        return jnp.sum(x != 0, axis=axis, keepdims=keepdim).astype(x.dtype)
    return jnp.sum(jnp.abs(x) ** p, axis=axis, keepdims=keepdim) ** (1 / p)


def _lp_norm(x: Any, *, axis: Any, p: Any = 2, keep_dims: bool = False, epsilon: float = 1e-12):
    return _norm(x, p, axis, keep_dims)


def _l2_normalize(x: Any, *, axis: Any = 0, epsilon: float = 1e-4) -> Any:
    squares = jnp.sum(jnp.square(x), axis=axes(x, axis), keepdims=True)
    return x / jnp.sqrt(jnp.maximum(squares, epsilon))


def _logsumexp(x: Any, dim: Any, keepdim: bool = False) -> Any:
    return jax.nn.logsumexp(x, axes(x, dim), keepdims=keepdim)


def _count_nonzero(x: Any, dim: Any = None, *_: Any) -> Any:
    return jnp.count_nonzero(x, axes(x, dim)).astype(_int64())


TABLE: dict[str, Callable[..., Any]] = {
    "ReduceSum": _reduce_sum,
    "ReduceProd": _reduce_prod,
    "ReduceMean": _mean,
    "ReduceMax": _reduce(jnp.max),
    "ReduceMin": _reduce(jnp.min),
    "ReduceAll": _reduce(jnp.all),
    "ReduceAny": _reduce(jnp.any),
    "ReduceStd": _reduce_std,
    "SumExt": _reduce_ext(jnp.sum),
    "MeanExt": _mean,
    "ProdExt": _reduce_ext(jnp.prod),
    "Nansum": _reduce_ext(jnp.nansum),
    "Any": jnp.any,
    "AnyExt": _reduce(jnp.any),
    "Max": jnp.max,
    "Min": jnp.min,
    "MaxDim": _extreme(positions.argmax, jnp.max),
    "MinDim": _extreme(positions.argmin, jnp.min),
    "Var": _spread(jnp.var),
    "Std": _spread(jnp.std),
    "VarMean": lambda x, dim=None, correction=1, keepdim=False: (
        jnp.var(x, axes(x, dim), ddof=correction, keepdims=keepdim),
        jnp.mean(x, axes(x, dim), keepdims=keepdim),
    ),
    "StdMean": lambda x, dim=None, correction=1, keepdim=False: (
        jnp.std(x, axes(x, dim), ddof=correction, keepdims=keepdim),
        jnp.mean(x, axes(x, dim), keepdims=keepdim),
    ),
    "Argmax": _arg(positions.argmax),
    "Argmin": _arg(positions.argmin),
    "ArgMaxExt": _arg_ext(positions.argmax),
    "ArgMinExt": _arg_ext(positions.argmin),
    "ArgMaxWithValue": _with_value(positions.argmax, jnp.max),
    "ArgMinWithValue": _with_value(positions.argmin, jnp.min),
    "CumSum": _cumulative(lax.cumsum, 0),
    "CumProd": _cumulative(lax.cumprod, 1),
    "CumsumExt": _cumsum_ext,
    "Cummax": _running(lax.cummax, jnp.greater_equal),
    "Cummin": _running(lax.cummin, jnp.less_equal, np.int32),
    "CumminExt": _running(lax.cummin, jnp.less_equal),
    "CumulativeLogsumexp": _cumulative_logsumexp,
    "LogSumExp": _logsumexp,
    "Sort": _sort,
    "SortExt": _sort_ext,
    "ArgSort": _arg_sort,
    "TopK": _top_k,
    "TopkExt": _topk_ext,
    "Norm": _norm,
    "LinalgVectorNorm": _norm,
    "LpNormV2": lambda x, p=2, dim=None, keepdim=False, epsilon=1e-12: _norm(x, p, dim, keepdim),
    "LpNorm": _lp_norm,
    "L2Normalize": _l2_normalize,
    "L2Loss": lambda x: jnp.sum(jnp.square(x)) / 2,
    "SquareSumAll": lambda x, y: (jnp.sum(jnp.square(x)), jnp.sum(jnp.square(y))),
    "CountNonZero": _count_nonzero,
}

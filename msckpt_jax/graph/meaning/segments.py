"""Sums and the like by segments, counts of values, and places in sorted numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from msckpt_jax.errors import MindIRError

_REDUCTIONS = {
    "sum": (jax.ops.segment_sum, 0),
    "prod": (jax.ops.segment_prod, 1),
    "max": (jax.ops.segment_max, 0),
    "min": (jax.ops.segment_min, 0),
}


def _count(ids: Any, op: str) -> int:
    """The number of segments: the last, which is the largest, tells."""
    if isinstance(ids, Tracer):
        raise MindIRError(
            f"the size of {op}'s result depends on its segment_ids, which are not known under "
            "jit, vmap or grad: make them a constant of the model, or call it outside"
        )
    return int(ids[-1]) + 1 if ids.size else 0


def _reduced(x: Any, ids: Any, count: int, kind: str) -> Any:
    """The reduction; an empty segment has 0, a product 1, as MindSpore's have."""
    fn, empty = _REDUCTIONS[kind]
    sizes = jax.ops.segment_sum(jnp.ones(ids.shape, jnp.int32), ids, count)
    filled = jnp.reshape(sizes > 0, (-1, *[1] * (x.ndim - 1)))
    return jnp.where(filled, fn(x, ids, count), jnp.asarray(empty, x.dtype))


def _segment(op: str, kind: str) -> Callable[..., Any]:
    return lambda x, ids: _reduced(x, ids, _count(ids, op), kind)


def _sizes(ids: Any, count: int, x: Any) -> Any:
    ones = jax.ops.segment_sum(jnp.ones(ids.shape, x.dtype), ids, count)
    return jnp.reshape(jnp.maximum(ones.real, 1), (-1, *[1] * (x.ndim - 1))).astype(x.dtype)


def _segment_mean(x: Any, ids: Any) -> Any:
    count = _count(ids, "SegmentMean")
    return _divided(_reduced(x, ids, count, "sum"), _sizes(ids, count, x))


def _divided(x: Any, y: Any) -> Any:
    whole = jnp.issubdtype(x.dtype, jnp.integer)
    return jax.lax.div(*jnp.broadcast_arrays(x, y)) if whole else x / y


def _sparse(op: str, kind: str) -> Callable[..., Any]:
    """The sum, the mean, or the sum over the square root of the size, of rows by number."""

    def run(x: Any, indices: Any, ids: Any, count: Any = None) -> Any:
        count = _count(ids, op) if count is None else int(count)
        rows = jnp.take(x, indices, 0)
        total = jax.ops.segment_sum(rows, ids, count)
        size = _sizes(ids, count, rows)
        return {"sum": total, "mean": total / size, "sqrt": total / jnp.sqrt(size)}[kind]

    return run


def _bincount(x: Any, size: Any, weights: Any) -> Any:
    count = int(size)
    weights = weights if weights.size else jnp.ones(x.shape, weights.dtype)
    return jax.ops.segment_sum(jnp.ravel(weights), jnp.ravel(x), count)


def _bincount_ext(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    if isinstance(x, Tracer):
        raise MindIRError("the size of BincountExt's result depends on numbers, which jit hides")
    out = jnp.bincount(x, weights, minlength=minlength)
    return out.astype(jax.dtypes.canonicalize_dtype(np.int64)) if weights is None else out


def _counts(x: Any, bins: int, low: Any, high: Any) -> Any:
    """The counts of equal bins between two numbers; those of the data where both are equal."""
    x = jnp.ravel(x)
    if low == high:
        low, high = jnp.min(x), jnp.max(x)
        apart = low != high
        low, high = jnp.where(apart, low, low - 1), jnp.where(apart, high, high + 1)
    place = jnp.floor((x - low) * bins / (high - low)).astype(jnp.int32)
    place = jnp.where(x == high, bins - 1, place)
    inside = (x >= low) & (x <= high)
    return jax.ops.segment_sum(inside.astype(jnp.int32), jnp.clip(place, 0, bins - 1), bins)


def _histogram(x: Any, *, bins: int = 100, min: float = 0.0, max: float = 0.0) -> Any:
    real = jnp.issubdtype(x.dtype, jnp.floating)
    return _counts(x, bins, min, max).astype(jnp.float32 if real else x.dtype)


def _histc(x: Any, bins: int = 100, min: Any = 0, max: Any = 0) -> Any:
    return _counts(x, bins, min, max).astype(x.dtype)


def _histogram_fixed(x: Any, span: Any, *, nbins: int, dtype: Any = None) -> Any:
    low, high = span[0], span[1]
    place = jnp.floor((jnp.ravel(x) - low) * nbins / (high - low)).astype(jnp.int32)
    place = jnp.clip(place, 0, nbins - 1)
    return jax.ops.segment_sum(jnp.ones(place.shape, jnp.int32), place, nbins)


def _bucketize(x: Any, *, boundaries: Any) -> Any:
    edges = jnp.asarray(boundaries, jnp.float32)
    return jnp.searchsorted(edges, x.astype(edges.dtype), side="right").astype(jnp.int32)


def _bound(side: str) -> Callable[..., Any]:
    def run(sorted_x: Any, values: Any, *, out_type: Any = np.int32) -> Any:
        fn = jax.vmap(partial(jnp.searchsorted, side=side))
        return fn(sorted_x, values).astype(jax.dtypes.canonicalize_dtype(out_type))

    return run


def _in_top_k(x: Any, targets: Any, *, k: int) -> Any:
    picked = jnp.take_along_axis(x, targets[:, None], 1)
    higher = jnp.sum(x > picked, 1)
    return (higher < k) & jnp.isfinite(picked[:, 0])


def _nth(x: Any, n: Any, *, reverse: bool = False) -> Any:
    order = jnp.sort(x, -1)
    return jnp.take(jnp.flip(order, -1) if reverse else order, jnp.reshape(n, ()), -1)


def _kth(x: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    order = jnp.argsort(x, dim, stable=True)
    place = jnp.take(order, jnp.array([k - 1]), dim)
    value = jnp.take_along_axis(x, place, dim)
    if not keepdim:
        place, value = jnp.squeeze(place, dim), jnp.squeeze(value, dim)
    return value, place.astype(jax.dtypes.canonicalize_dtype(np.int64))


def _equal_count(x: Any, y: Any) -> Any:
    return jnp.reshape(jnp.sum(x == y), (1,)).astype(x.dtype)


def _stitch(places: Any, parts: Any) -> Any:
    """Lay rows at their places; of several for one place the last stays."""
    if any(isinstance(place, Tracer) for place in places):
        raise MindIRError("the size of DynamicStitch's result depends on numbers, which jit hides")
    size = max(int(jnp.max(place)) for place in places) + 1
    rest = parts[0].shape[places[0].ndim :]
    out = jnp.zeros((size, *rest), parts[0].dtype)
    for place, part in zip(places, parts, strict=True):
        out = out.at[jnp.ravel(place)].set(jnp.reshape(part, (-1, *rest)))
    return out


TABLE: dict[str, Callable[..., Any]] = {
    "SegmentSum": _segment("SegmentSum", "sum"),
    "SegmentProd": _segment("SegmentProd", "prod"),
    "SegmentMax": _segment("SegmentMax", "max"),
    "SegmentMin": _segment("SegmentMin", "min"),
    "SegmentMean": _segment_mean,
    **{
        f"SparseSegment{name}{more}": _sparse(f"SparseSegment{name}", kind)
        for name, kind in (("Sum", "sum"), ("Mean", "mean"), ("SqrtN", "sqrt"))
        for more in ("", "WithNumSegments")
    },
    "Bincount": _bincount,
    "BincountExt": _bincount_ext,
    "Histogram": _histogram,
    "HistcExt": _histc,
    "HistogramFixedWidth": _histogram_fixed,
    "Bucketize": _bucketize,
    "LowerBound": _bound("left"),
    "UpperBound": _bound("right"),
    "InTopK": _in_top_k,
    "NthElement": _nth,
    "Kthvalue": _kth,
    "EqualCount": _equal_count,
    "DynamicStitch": _stitch,
}

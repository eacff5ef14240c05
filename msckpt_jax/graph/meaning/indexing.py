"""Operators whose operands are indices: gather, scatter, one-hot.

MindSpore refuses indices out of bounds at run time; here they are clipped when read and dropped
when written, as JAX does by default.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def _gather(x: Any, indices: Any, axis: Any, batch_dims: int = 0) -> Any:
    axis, indices = int(axis) % x.ndim, jnp.asarray(indices)
    batch_dims = batch_dims % max(indices.ndim, 1)
    if not batch_dims:
        return jnp.take(x, indices, axis, mode="clip")
    fn = partial(jnp.take, axis=axis - batch_dims, mode="clip")
    for _ in range(batch_dims):
        fn = jax.vmap(fn)
    return fn(x, indices)


def _gather_d(x: Any, dim: Any, index: Any) -> Any:
    """Gather as PyTorch does: along all other axes, the index may be shorter."""
    dim = int(dim) % x.ndim
    cut = tuple(slice(None) if a == dim else slice(n) for a, n in enumerate(index.shape))
    return jnp.take_along_axis(x[cut], index, dim, mode="clip")


def _gather_nd(x: Any, indices: Any) -> Any:
    return jnp.asarray(x).at[tuple(jnp.moveaxis(jnp.asarray(indices), -1, 0))].get(mode="clip")


def updated(x: Any, place: Any, method: str, updates: Any) -> Any:
    """The tensor with updates at a place, by a method of JAX's; whole numbers stay exact."""
    x = jnp.asarray(x)
    if method != "divide" or not jnp.issubdtype(x.dtype, jnp.integer):
        return getattr(x.at[place], method)(updates)
    wide = jnp.promote_types(x.dtype, jnp.int32)
    divisor = jnp.ones(x.shape, wide).at[place].multiply(jnp.asarray(updates, wide))
    return lax.div(x.astype(wide), divisor).astype(x.dtype)


def _scatter_nd(method: str) -> Callable[..., Any]:
    def run(x: Any, indices: Any, updates: Any) -> Any:
        place = tuple(jnp.moveaxis(jnp.asarray(indices), -1, 0))
        return updated(x, place, method, updates)

    return run


def _scatter_new(indices: Any, updates: Any, shape: Any) -> Any:
    zeros = jnp.zeros(tuple(int(s) for s in np.asarray(shape)), updates.dtype)
    return _scatter_nd("add")(zeros, indices, updates)


def _elements(x: Any, dim: int, index: Any, source: Any, method: str) -> Any:
    dim = dim % x.ndim
    place = [lax.broadcasted_iota(index.dtype, index.shape, a) for a in range(x.ndim)]
    place[dim] = index
    source = jnp.broadcast_to(jnp.asarray(source, x.dtype), jnp.shape(source) or index.shape)
    source = source[tuple(slice(n) for n in index.shape)]
    return getattr(jnp.asarray(x).at[tuple(place)], method)(source)


#: MindSpore's Reduce, as a number or a name, to the method of ``x.at[...]``.
_REDUCE = {0: "set", 1: "add", 2: "multiply", "none": "set", "add": "add", "multiply": "multiply",
           "mul": "multiply", "update": "set"}  # fmt: skip


def _scatter(x: Any, dim: int, index: Any, src: Any, reduce: Any = 0) -> Any:
    return _elements(x, dim, index, src, _REDUCE[reduce])


def _scatter_elements(
    x: Any, index: Any, updates: Any, axis: int = 0, reduce: Any = 0, **attrs: Any
):
    return _elements(x, axis, index, updates, _REDUCE[attrs.get("reduction", reduce)])


def _one_hot(indices: Any, depth: Any, on: Any, off: Any, axis: int = -1) -> Any:
    hot = jax.nn.one_hot(indices, int(depth), axis=axis, dtype=bool)
    return jnp.where(hot, on, off)


def _index(x: Any, indices: Any) -> Any:
    """Index as PyTorch does; an index tensor of 9 axes of size 0 stands for ``:``."""
    whole = [slice(None) if i is None or (i.ndim == 9 and not i.size) else i for i in indices]
    return jnp.asarray(x)[tuple(whole)]


def _index_add(x: Any, dim: int, index: Any, source: Any, alpha: Any = 1) -> Any:
    place: list[Any] = [slice(None)] * x.ndim
    place[dim] = index
    return jnp.asarray(x).at[tuple(place)].add(source * alpha)


def _index_fill(x: Any, dim: int, index: Any, value: Any) -> Any:
    place: list[Any] = [slice(None)] * x.ndim
    place[int(dim)] = index
    return jnp.asarray(x).at[tuple(place)].set(value)


def _segment(fn: Callable[..., Any], empty: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """The meaning of a reduction by segments.

    ``empty``: the value that MindSpore gives to an empty segment, where JAX gives an infinity.
    """

    def run(x: Any, ids: Any, count: Any) -> Any:
        out = fn(x, ids, int(count))
        if empty is None or not jnp.issubdtype(x.dtype, jnp.floating):
            return out
        return jnp.where(jnp.isinf(out), empty(jnp.finfo(x.dtype)), out)

    return run


def _reverse_sequence(x: Any, lengths: Any, *, seq_dim: int, batch_dim: int = 0) -> Any:
    place = lax.broadcasted_iota(jnp.int32, x.shape, seq_dim)
    shape = [x.shape[batch_dim] if a == batch_dim else 1 for a in range(x.ndim)]
    n = jnp.reshape(lengths, shape).astype(jnp.int32)
    return jnp.take_along_axis(x, jnp.where(place < n, n - 1 - place, place), seq_dim)


def _search_sorted(
    sequence: Any, values: Any, sorter: Any = None, dtype: Any = np.int64, right: bool = False
) -> Any:
    if sorter is not None:
        sequence = jnp.take_along_axis(sequence, sorter, -1)
    side = "right" if right else "left"
    fn = partial(jnp.searchsorted, side=side)
    for _ in range(sequence.ndim - 1):
        fn = jax.vmap(fn)
    return fn(sequence, values).astype(jax.dtypes.canonicalize_dtype(dtype))


def _embedding(
    ids: Any, weight: Any, padding_idx: Any = None, max_norm: Any = None, norm_type: Any = 2.0,
    scale_grad_by_freq: bool = False,
) -> Any:  # fmt: skip
    if max_norm is not None:
        raise NotImplementedError("Embedding with max_norm changes its weight")
    return jnp.take(weight, ids, 0, mode="clip")


def _embedding_lookup(x: Any, index: Any, offset: Any = 0) -> Any:
    """The rows of a part of a table, which begins at a row; rows of other parts are 0."""
    index = index - offset
    inside = (index >= 0) & (index < x.shape[0])
    rows = jnp.take(x, index, 0, mode="clip")
    kept = jnp.reshape(inside, inside.shape + (1,) * (x.ndim - 1))
    return jnp.where(kept, rows, jnp.zeros((), x.dtype))


TABLE: dict[str, Callable[..., Any]] = {
    "Gather": _gather,
    "GatherD": _gather_d,
    "GatherNd": _gather_nd,
    "GatherNdExt": _gather_nd,
    "IndexSelect": lambda x, dim, index: jnp.take(x, index, int(dim), mode="clip"),
    "Take": lambda x, index: jnp.take(x, jnp.where(index < 0, index + x.size, index), mode="clip"),
    "EmbeddingLookup": _embedding_lookup,
    "Embedding": _embedding,
    "Index": _index,
    "IndexAdd": lambda x, index, source, *, axis, **_: _index_add(x, axis, index, source),
    "IndexAddExt": _index_add,
    "IndexFill": _index_fill,
    "IndexFillScalar": _index_fill,
    "IndexFillTensor": _index_fill,
    "TensorScatterUpdate": _scatter_nd("set"),
    "TensorScatterAdd": _scatter_nd("add"),
    "TensorScatterSub": lambda x, i, u: _scatter_nd("add")(x, i, jnp.negative(u)),
    "TensorScatterMul": _scatter_nd("multiply"),
    "SparseGatherV2": _gather,
    "TensorScatterDiv": _scatter_nd("divide"),
    "TensorScatterMax": _scatter_nd("max"),
    "TensorScatterMin": _scatter_nd("min"),
    "ScatterNd": _scatter_new,
    "Scatter": _scatter,
    "ScatterValue": _scatter,
    "ScatterAddExt": lambda x, dim, index, src: _elements(x, dim, index, src, "add"),
    "TensorScatterElements": _scatter_elements,
    "OneHot": _one_hot,
    "OneHotExt": _one_hot,
    "UnsortedSegmentSum": _segment(jax.ops.segment_sum),
    "UnsortedSegmentMax": _segment(jax.ops.segment_max, lambda info: info.min),
    "UnsortedSegmentMin": _segment(jax.ops.segment_min, lambda info: info.max),
    "UnsortedSegmentProd": _segment(jax.ops.segment_prod),
    "ReverseSequence": _reverse_sequence,
    "SearchSorted": _search_sorted,
}

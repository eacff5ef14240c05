"""Gather and scatter, all of them along the leading axes, with indices in bounds.

The leading axes are those that indices point into (``operand_batching_dims`` included, with
counting indices). An axis from which a window of several elements is cut is pointed into too,
element by element. All other axes are taken whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun
from jax.lax import GatherScatterMode as Mode

from msckpt_jax.lowering.rewrites.ignoring import Ignoring, ignoring


class _Axes(NamedTuple):
    """The axes of an operand by the part that they take, each list in the operand's order."""

    pointed: list[int]  # pointed into by indices or counting
    windows: list[int]  # the part of these from which several elements are cut
    whole: list[int]


def _axes(shape: Sequence[Any], sizes: Sequence[Any], batching: Sequence[int]) -> _Axes:
    """Sort the axes; an axis that is cut as a whole has one place for the window, 0."""
    ranks = range(len(shape))
    pointed = [axis for axis in ranks if axis in batching or sizes[axis] != shape[axis]]
    windows = [axis for axis in pointed if sizes[axis] != 1]
    return _Axes(pointed, windows, [axis for axis in ranks if axis not in pointed])


def _indices(
    starts: Mapping[int, Any],
    batch: tuple[Any, ...],
    axes: _Axes,
    sizes: Sequence[Any],
    batching: Mapping[int, int],
) -> Any:
    """Indices of shape [batch..., windows..., len(pointed)]; None where nothing is pointed into."""
    shape = (*batch, *(sizes[axis] for axis in axes.windows))
    parts = []
    for axis in axes.pointed:
        if axis in batching:
            part = lax.broadcasted_iota(np.int32, shape, batching[axis])
        elif axis in starts:
            part = lax.broadcast_in_dim(starts[axis], shape, tuple(range(len(batch))))
        else:
            part = jnp.zeros(shape, np.int32)
        if axis in axes.windows:
            place = len(batch) + axes.windows.index(axis)
            part = part + lax.broadcasted_iota(np.int32, shape, place)
        parts.append(lax.expand_dims(part, (len(shape),)))
    return lax.concatenate(parts, len(shape)) if parts else None


def _starts(
    indices: Array, mapped: Sequence[int], limits: Sequence[Any]
) -> tuple[dict[int, Any], Any]:
    """The start on each axis, clipped into bounds, as int32, and where all were in bounds."""
    starts: dict[int, Any] = {}
    valid = None
    static = all(isinstance(limits[axis], int) for axis in mapped)
    known = isinstance(indices, np.ndarray) and static
    if indices.dtype.itemsize < 4:
        indices = indices.astype(np.int32)
    for place, axis in enumerate(mapped):
        if known:
            start, limit = indices[..., place], indices.dtype.type(limits[axis])
        else:
            start = lax.index_in_dim(indices, place, axis=indices.ndim - 1, keepdims=False)
            limit = jnp.asarray(limits[axis], indices.dtype)
        inside = (start >= 0) & (start <= limit)
        valid = inside if valid is None else valid & inside
        clip = np.clip if known else lambda x, low, high: lax.clamp(low, x, high)
        starts[axis] = clip(start, indices.dtype.type(0), limit).astype(np.int32)
    return starts, valid


def gather(
    operand: Array,
    indices: Array,
    *,
    dimension_numbers: lax.GatherDimensionNumbers,
    slice_sizes: Sequence[Any],
    mode: Mode,
    fill_value: Any,
) -> Array:
    """Treat indices out of bounds as JAX does in each mode; clip where it promises that none is."""
    dims = dimension_numbers
    mapped = [int(axis) for axis in dims.start_index_map]
    batching = [int(axis) for axis in dims.operand_batching_dims]
    for axis, size in enumerate(slice_sizes):
        if axis not in mapped and axis not in batching:
            operand = lax.slice_in_dim(operand, 0, size, axis=axis)
    limits = [n - size for n, size in zip(operand.shape, slice_sizes, strict=True)]
    starts, valid = _starts(indices, mapped, limits)
    batch = indices.shape[:-1]
    axes = _axes(operand.shape, slice_sizes, batching)
    counted = dict(zip(batching, map(int, dims.start_indices_batching_dims), strict=True))
    if not batch and all(isinstance(start, np.generic) for start in starts.values()):
        out = _window(operand, starts, slice_sizes, dims.collapsed_slice_dims)
    else:
        if axes.pointed:
            out = lax.transpose(operand, (*axes.pointed, *axes.whole))
            out = take(out, _indices(starts, batch, axes, slice_sizes, counted))
        else:
            out = lax.broadcast(operand, batch)
        out = _arranged(out, len(batch), axes, slice_sizes, dims)
    if mode != Mode.FILL_OR_DROP or valid is None or _all(valid):
        return out
    where = [axis for axis in range(out.ndim) if axis not in dims.offset_dims]
    valid = lax.broadcast_in_dim(valid, out.shape, where)
    return lax.select(valid, out, jnp.full(out.shape, _fill(fill_value, out.dtype), out.dtype))


def _window(
    operand: Array, starts: Mapping[int, Any], sizes: Sequence[Any], collapsed: Sequence[int]
) -> Array:
    """A single window at a known place: a slice, as JAX writes it where no size is dynamic."""
    for axis, start in starts.items():
        operand = lax.slice_in_dim(operand, int(start), int(start) + sizes[axis], axis=axis)
    return lax.squeeze(operand, collapsed)


def _arranged(
    out: Array, batch: int, axes: _Axes, sizes: Sequence[Any], dims: lax.GatherDimensionNumbers
) -> Array:
    """Bring [batch..., windows..., whole...] to the order that the dimension numbers ask for."""
    removed = {*map(int, dims.collapsed_slice_dims), *map(int, dims.operand_batching_dims)}
    place = {axis: batch + i for i, axis in enumerate((*axes.windows, *axes.whole))}
    left = [axis for axis in range(len(sizes)) if axis not in removed]
    offsets = dict(zip(map(int, dims.offset_dims), left, strict=True))
    batches = iter(range(batch))
    rank = batch + len(left)
    order = [place.get(offsets[i]) if i in offsets else next(batches) for i in range(rank)]
    shape = [
        sizes[offsets[i]] if i in offsets else out.shape[k]  # type: ignore[index]
        for i, k in enumerate(order)
    ]
    # axes of size 1 are either pointed into, and gone, or whole and to be removed
    kept = [k for k in order if k is not None]
    gone = [k for k in range(out.ndim) if k not in kept]
    out = lax.squeeze(out, gone)
    kept = [k - sum(g < k for g in gone) for k in kept]
    return lax.reshape(lax.transpose(out, kept), shape)


def take(operand: Array, indices: Array) -> Array:
    """``operand[indices[..., 0], indices[..., 1], ...]``: the canonical gather."""
    count, batch = indices.shape[-1], indices.ndim - 1
    leading = tuple(range(count))
    rest = operand.shape[count:]
    dims = lax.GatherDimensionNumbers(
        offset_dims=tuple(range(batch, batch + len(rest))),
        collapsed_slice_dims=leading,
        start_index_map=leading,
    )
    sizes = (1,) * count + rest
    return lax.gather(operand, indices, dims, sizes, mode=Mode.PROMISE_IN_BOUNDS)


def _fill(value: Any, dtype: np.dtype) -> Any:
    """JAX's defaults: NaN, the lowest signed, the highest unsigned number, True."""
    if value is not None:
        return value
    if jnp.issubdtype(dtype, np.inexact):
        return np.nan
    if dtype == np.bool_:
        return True
    info = jnp.iinfo(dtype)
    return info.min if jnp.issubdtype(dtype, np.signedinteger) else info.max


def scatter(name: str, put: Callable[..., Array] | None = None) -> Ignoring:
    """The rewrite of a scatter to ``put``, which is called in canonical form: JAX's own if None."""
    putting: Callable[..., Array] = put or getattr(lax, name)

    def rewrite(
        operand: Array, indices: Array, updates: Array, *,
        dimension_numbers: lax.ScatterDimensionNumbers, mode: Mode, update_jaxpr: Jaxpr | None,
        update_consts: Sequence[Any], unique_indices: bool,
    ) -> Array:  # fmt: skip
        dims = dimension_numbers
        if name == "scatter" and update_jaxpr is not None:
            function = ClosedJaxpr(update_jaxpr, update_consts)
            return _applied(operand, indices, updates, dims, mode, function, unique_indices)
        mapped = [int(axis) for axis in dims.scatter_dims_to_operand_dims]
        batching = [int(axis) for axis in dims.operand_batching_dims]
        removed = {*map(int, dims.inserted_window_dims), *batching}
        left = [axis for axis in range(operand.ndim) if axis not in removed]
        sizes = [1] * operand.ndim
        for axis, place in zip(left, dims.update_window_dims, strict=True):
            sizes[axis] = updates.shape[place]
        limits = [n - size for n, size in zip(operand.shape, sizes, strict=True)]
        starts, valid = _starts(indices, mapped, limits)
        batch = indices.shape[:-1]
        axes = _axes(operand.shape, sizes, batching)
        counted = dict(zip(batching, map(int, dims.scatter_indices_batching_dims), strict=True))
        updates = _ordered(updates, axes, left, dims)
        order = (*axes.pointed, *axes.whole)
        out = lax.transpose(operand, order)
        where = _indices(starts, batch, axes, sizes, counted)
        if not axes.pointed:  # there is one place to put all
            out, where = lax.expand_dims(out, (0,)), jnp.zeros((*batch, 1), np.int32)
        slots = out.shape[0]
        if mode != Mode.CLIP and valid is not None and not _all(valid):
            out, where = _with_slot(out, where, valid)
        out = lax.slice_in_dim(placed(putting, out, where, updates), 0, slots)
        if not axes.pointed:
            out = lax.squeeze(out, (0,))
        return lax.transpose(out, np.argsort(order))

    return ignoring(rewrite, "indices_are_sorted")


def _ordered(
    updates: Array, axes: _Axes, left: list[int], dims: lax.ScatterDimensionNumbers
) -> Array:
    """The updates as [batch..., windows..., whole...]."""
    windows = dict(zip(left, map(int, dims.update_window_dims), strict=True))
    batch = [k for k in range(updates.ndim) if k not in windows.values()]
    kept = [windows[a] for a in (*axes.windows, *axes.whole) if a in windows]
    gone = [k for k in range(updates.ndim) if k not in (*batch, *kept)]
    updates = lax.transpose(updates, (*batch, *kept, *gone))
    updates = lax.squeeze(updates, range(updates.ndim - len(gone), updates.ndim))
    first = len(batch) + len(axes.windows)
    inserted = [first + i for i, a in enumerate(axes.whole) if a not in windows]
    return lax.expand_dims(updates, inserted)


def _all(valid: Array) -> bool:
    return isinstance(valid, np.ndarray) and bool(valid.all())


def _with_slot(operand: Array, where: Array, valid: Array) -> tuple[Array, Array]:
    """Add a slot to the first axis, to which the updates out of bounds go."""
    slot = operand.shape[0]
    padding = [(0, 1, 0)] + [(0, 0, 0)] * (operand.ndim - 1)
    operand = lax.pad(operand, np.zeros((), operand.dtype), padding)
    first, rest = where[..., :1], where[..., 1:]
    valid = lax.broadcast_in_dim(valid, first.shape, tuple(range(valid.ndim)))
    first = lax.select(valid, first, jnp.full(first.shape, slot, first.dtype))
    return operand, lax.concatenate([first, rest], first.ndim - 1)


def placed(put: Callable[..., Array], operand: Array, indices: Array, updates: Array) -> Array:
    """The canonical scatter, by a function of ``lax``."""
    count, batch = indices.shape[-1], indices.ndim - 1
    leading = tuple(range(count))
    dims = lax.ScatterDimensionNumbers(
        update_window_dims=tuple(range(batch, batch + operand.ndim - count)),
        inserted_window_dims=leading,
        scatter_dims_to_operand_dims=leading,
    )
    return put(operand, indices, updates, dims, mode=Mode.PROMISE_IN_BOUNDS)


def _applied(
    operand: Array, indices: Array, updates: Array, dims: lax.ScatterDimensionNumbers, mode: Mode,
    jaxpr: ClosedJaxpr, once: bool,
) -> Array:  # fmt: skip
    """Apply a function to the elements that are pointed to, as often as they are pointed to."""
    ones = jnp.ones(updates.shape, np.int32)
    counts = jnp.zeros(operand.shape, np.int32)
    counts = lax.scatter_add(counts, indices, ones, dims, mode=mode)
    scalar = jaxpr_as_fun(jaxpr)

    def function(x: Array) -> Array:
        flat = jax.vmap(lambda x: scalar(x, x)[0])(x.reshape(-1))
        return flat.reshape(x.shape)

    def step(state: Any) -> tuple[Any, Array]:
        count, x = state
        return count + np.int32(1), lax.select(counts > count, function(x), x)

    if once:
        return step((np.int32(0), operand))[1]
    start = (jnp.zeros((), np.int32), operand)
    return lax.while_loop(lambda state: state[0] < jnp.max(counts), step, start)[1]


REWRITES = {
    "gather": ignoring(gather, "indices_are_sorted", "unique_indices"),
    "scatter": scatter("scatter"),
    "scatter-add": scatter("scatter_add"),
    "scatter-sub": scatter("scatter_sub"),
    "scatter-mul": scatter("scatter_mul"),
    "scatter-min": scatter("scatter_min"),
    "scatter-max": scatter("scatter_max"),
}

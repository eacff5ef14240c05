"""Reading and writing at computed places. MindSpore raises where an index is out of bounds.

Canonical gathers and scatters are in bounds; the starts of dynamic slices are clamped here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend.core import Jaxpr
from jax.lax import GatherDimensionNumbers, GatherScatterMode, ScatterDimensionNumbers

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.values import Const, Dim, Tensor
from msckpt_jax.lowering.context import Array, Context, dims_of
from msckpt_jax.lowering.rule import Rule, rule
from msckpt_jax.lowering.rules.elementwise import full, is_float, is_nan, shaped
from msckpt_jax.lowering.rules.shape import (
    concatenated,
    counted,
    number,
    reshaped,
    sliced,
    transposed,
)
from msckpt_jax.lowering.sizes import SCALAR

_I32, _I64 = np.dtype(np.int32), np.dtype(np.int64)


def _gather(
    ctx: Context,
    x: Array,
    indices: Array,
    *,
    dimension_numbers: GatherDimensionNumbers,
    slice_sizes: Sequence[Any],
    mode: GatherScatterMode,
) -> Array:
    """Emit GatherNd, or Gather of whole rows."""
    index, numbers = ctx.type(indices), dimension_numbers
    depth, batch = _depth(index), len(index.shape) - 1
    canonical = (
        tuple(numbers.start_index_map) == tuple(numbers.collapsed_slice_dims) == tuple(range(depth))
        and tuple(numbers.offset_dims) == tuple(range(batch, len(ctx.result.shape)))
        and not numbers.operand_batching_dims
        and dims_of(slice_sizes)[depth:] == ctx.type(x).shape[depth:]
        and mode == GatherScatterMode.PROMISE_IN_BOUNDS
    )
    if not canonical:
        raise UnsupportedError("it must be along the leading axes, as GatherNd gathers")
    if depth == 1:
        rows = reshaped(ctx, ctx.cast(indices, _I32), index.shape[:-1])
        return ctx("Gather", x, rows, Const(0), Const(0))
    return ctx("GatherNd", x, indices)


def _scatter(op: str) -> Rule:
    def emit(
        ctx: Context,
        x: Array,
        indices: Array,
        updates: Array,
        *,
        dimension_numbers: ScatterDimensionNumbers,
        mode: GatherScatterMode,
        update_jaxpr: Jaxpr | None,
    ) -> Array:
        index, new, numbers = ctx.type(indices), ctx.type(updates).shape, dimension_numbers
        depth, batch = _depth(index), len(index.shape) - 1
        places, inserted = numbers.scatter_dims_to_operand_dims, numbers.inserted_window_dims
        canonical = (
            tuple(places) == tuple(inserted) == tuple(range(depth))
            and tuple(numbers.update_window_dims) == tuple(range(batch, len(new)))
            and not numbers.operand_batching_dims
            and new[batch:] == ctx.type(x).shape[depth:]
            and mode == GatherScatterMode.PROMISE_IN_BOUNDS
            and (update_jaxpr is None or op != "TensorScatterUpdate")  # others are named by it
        )
        if not canonical:
            raise UnsupportedError("it must be along the leading axes, as ScatterNd scatters")
        if not batch:  # MindSpore wants a list of places
            indices = reshaped(ctx, indices, (1, *index.shape))
            updates = reshaped(ctx, updates, (1, *new))
        if 0 in new:
            return x
        result = ctx(op, x, indices, updates)
        guarded = op in _LOSING_NAN and ctx.options.guarded and is_float(ctx, x)
        return _with_nan(ctx, result, x, indices, updates) if guarded else result

    guards = ("NotEqual", "TensorScatterAdd", "Greater", "BroadcastTo", "Select")
    more = guards if op in _LOSING_NAN else ()
    return rule(emit, op, "Reshape", *more, ignores=(*_PROMISES, "update_consts"))


#: MindSpore's and onnxruntime's keep the number that a NaN is compared with, or the NaN.
_LOSING_NAN = ("TensorScatterMax", "TensorScatterMin")


def _with_nan(ctx: Context, result: Array, x: Array, indices: Array, updates: Array) -> Array:
    """NaN where ``x`` or an update is: count them at their places."""
    marks, new = (ctx.cast(is_nan(ctx, each), np.float32) for each in (x, updates))
    count = ctx("TensorScatterAdd", marks, indices, new, type=ctx.type(marks))
    some = ctx("Greater", count, ctx.like(0, count), type=shaped(ctx))
    return ctx("Select", some, full(ctx, ctx.like(np.nan, x)), result)


_PROMISES = ("indices_are_sorted", "unique_indices")


def _depth(indices: Tensor) -> int:
    """The number of axes that indices point into."""
    depth = indices.shape[-1]
    if not isinstance(depth, int):
        raise UnsupportedError("its indices point into a dynamic number of axes")
    return depth


def _dynamic_slice(ctx: Context, x: Array, *starts: Array) -> Array:
    old, new = ctx.type(x).shape, ctx.result.shape
    moving = [axis for axis in range(len(old)) if old[axis] != new[axis]]
    if not moving:
        return x
    known = _known_starts(starts, old, new)
    if known is not None:
        return sliced(ctx, x, known, new)
    if not all(isinstance(dim, int) for dim in new):
        return _gathered(ctx, x, starts, moving, new)
    begin = _clamped(ctx, starts, old, new, range(len(old)))
    return ctx("Slice", x, begin, Const(np.array(new, _I64)))


def _known_starts(
    starts: Sequence[Array], old: Sequence[Dim], new: Sequence[Dim]
) -> list[Dim] | None:
    """The starts, if they are constants and in bounds whatever the sizes are, or None."""
    out: list[Dim] = []
    for start, before, after in zip(starts, old, new, strict=True):
        if before == after or (isinstance(start, Const) and start.value <= 0):
            out.append(0)
        elif isinstance(start, Const) and isinstance(before, int) and isinstance(after, int):
            out.append(min(int(start.value), before - after))
        else:
            return None
    return out


def _gathered(
    ctx: Context, x: Array, starts: Sequence[Array], moving: Sequence[int], new: Sequence[Dim]
) -> Array:
    """A part of an array whose remaining axes are dynamic, which Slice does not take."""
    old = ctx.type(x).shape
    for axis in moving:
        begin = _clamped(ctx, starts, old, new, [axis])
        rows = ctx("Add", counted(ctx, new[axis], _I64), begin, type=Tensor(_I64, (new[axis],)))
        rows = ctx.cast(rows, _I32)
        shape = tuple(new[a] if a <= axis else old[a] for a in range(len(old)))
        type = Tensor(ctx.type(x).dtype, shape)
        x = ctx("Gather", x, rows, Const(axis), Const(0), type=type)
    return x


def _clamped(
    ctx: Context,
    starts: Sequence[Array],
    old: Sequence[Dim],
    new: Sequence[Dim],
    axes: Sequence[int],
) -> Array:
    """The starts on these axes as one int64 tensor, within bounds."""
    single, all_ = Tensor(_I64, (1,)), Tensor(_I64, (len(axes),))
    nothing = Const(np.zeros(1, _I64))
    parts, rooms = [], []
    for axis in axes:
        moves = old[axis] != new[axis]
        start = ctx.cast(_signed(ctx, starts[axis]), _I64) if moves else nothing
        parts.append(reshaped(ctx, start, single.shape))
        rooms.append(_room(ctx, old[axis], new[axis]) if moves else nothing)
    if all(isinstance(room, Const) for room in rooms):
        high: Array = Const(np.concatenate([room.value for room in rooms]))  # type: ignore[union-attr]
    else:
        high = concatenated(ctx, rooms, 0, all_)
    vector, low = concatenated(ctx, parts, 0, all_), Const(np.zeros(len(axes), _I64))
    return ctx("Minimum", ctx("Maximum", vector, low, type=all_), high, type=all_)


def _room(ctx: Context, old: Dim, new: Dim) -> Array:
    """The largest start on an axis, as a vector of one number."""
    if isinstance(old, int) and isinstance(new, int):
        return Const(np.array([old - new], _I64))
    room = ctx("Sub", number(ctx, old), number(ctx, new), type=SCALAR)
    return reshaped(ctx, room, (1,))


def _signed(ctx: Context, start: Array) -> Array:
    if ctx.type(start).dtype != np.uint64:
        return start
    top = ctx.like(np.iinfo(np.int64).max, start)
    return ctx("Minimum", start, top, type=Tensor(np.dtype(np.uint64), ()))


def _dynamic_update_slice(ctx: Context, x: Array, update: Array, *starts: Array) -> Array:
    old, new = ctx.type(x).shape, ctx.type(update).shape
    return _updated(
        ctx, x, update, starts, [axis for axis in range(len(old)) if old[axis] != new[axis]]
    )


def _updated(
    ctx: Context, x: Array, update: Array, starts: Sequence[Array], moving: Sequence[int]
) -> Array:
    """A scatter along the axes on which the update is smaller, turned to the front."""
    old, new = ctx.type(x), ctx.type(update)
    if not moving:
        return update
    if len(moving) > 1 and not all(isinstance(new.shape[axis], int) for axis in moving):
        # No grid of places is known: update the part along the first axis, and put it back.
        axis, *moving = moving
        whole = (*old.shape[:axis], new.shape[axis], *old.shape[axis + 1 :])
        part = _gathered(ctx, x, starts, [axis], whole)
        update = _updated(ctx, part, update, starts, moving)
        return _updated(ctx, x, update, starts, [axis])
    order = (*moving, *(axis for axis in range(len(old.shape)) if axis not in moving))
    known = _known_starts(starts, old.shape, new.shape)
    sizes = [new.shape[axis] for axis in moving]
    if known is not None and all(isinstance(n, int) for n in (*known, *sizes)):
        begin: Any = np.array([known[axis] for axis in moving], _I64)
        places: Array = ctx.constant(_places(sizes) + begin)
    else:
        begin = _clamped(ctx, starts, old.shape, new.shape, moving)
        places = _places_from(ctx, begin, sizes)
    turned, part = transposed(ctx, x, order), transposed(ctx, update, order)
    result = ctx("TensorScatterUpdate", turned, places, part, type=ctx.type(turned))
    return transposed(ctx, result, tuple(np.argsort(order).tolist()))


def _places_from(ctx: Context, begin: Array, sizes: Sequence[Dim]) -> Array:
    """All places in a part of these sizes that begins at a place."""
    if all(size == 1 for size in sizes):
        return reshaped(ctx, begin, (*sizes, len(sizes)))
    grid = _grid(ctx, sizes)
    return ctx("Add", grid, begin, type=ctx.type(grid))


def _grid(ctx: Context, sizes: Sequence[Dim]) -> Array:
    """All places in an array of these sizes, an axis of its own for their coordinates."""
    if len(sizes) == 1:
        return reshaped(ctx, counted(ctx, sizes[0], _I64), (sizes[0], 1))
    return ctx.constant(_places(sizes))


def _places(sizes: Sequence[Dim]) -> np.ndarray:
    """All places in an array of sizes that are known."""
    grid = np.meshgrid(*(np.arange(int(size)) for size in sizes), indexing="ij")
    return np.stack(grid, -1).astype(_I64)


#: The operators that ``_clamped`` emits.
_CLAMPED = ("Minimum", "Maximum", "Sub", "ScalarToTensor", "Reshape", "Concat")

RULES: dict[str, Rule] = {
    "dynamic_slice": rule(
        _dynamic_slice, "Slice", "Gather", "Add", "Range", *_CLAMPED, ignores=("slice_sizes",)
    ),
    "dynamic_update_slice": rule(
        _dynamic_update_slice,
        "TensorScatterUpdate",
        "Gather",
        "Transpose",
        "Add",
        "Range",
        *_CLAMPED,
    ),
    "gather": rule(_gather, "Gather", "GatherNd", "Reshape", ignores=(*_PROMISES, "fill_value")),
    "scatter": _scatter("TensorScatterUpdate"),
    "scatter-add": _scatter("TensorScatterAdd"),
    "scatter-max": _scatter("TensorScatterMax"),
    "scatter-min": _scatter("TensorScatterMin"),
    "scatter-mul": _scatter("TensorScatterMul"),
    "scatter-sub": _scatter("TensorScatterSub"),
}

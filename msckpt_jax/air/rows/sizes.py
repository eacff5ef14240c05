"""Rows of operators whose sizes may be dynamic, by operators whose GE functions take these.

GE's open functions of BroadcastTo, Fill, StridedSlice and Tile take constant sizes only. A mask,
true everywhere, has the shape that is computed; a Select by it broadcasts any tensor to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from msckpt_jax.air.rows.row import ADAPTER, PROTOTYPE, Arg, Ints, Row, given, listed, row
from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Const, Size, Tensor, Value

_BOOL = np.dtype(bool)


def _broadcast_to(emit: Any, node: Node) -> None:
    """-1 keeps the operand's size in MindSpore; GE wants the size."""
    x, sizes = node.inputs
    if isinstance(sizes, Const):
        sizes = tuple(map(Const, listed(given(node, 1))))
    if isinstance(sizes, tuple) and isinstance(x, Value):
        added = len(sizes) - len(x.type.shape)
        sizes = tuple(
            Size(x, axis - added) if isinstance(size, Const) and size.value == -1 else size
            for axis, size in enumerate(sizes)
        )
    if _known(sizes):
        whole = emit.operand(replace(node, inputs=(x, sizes)), Ints(1, rank=1))
        emit("BroadcastTo", [x, whole], node.outputs)
        return
    needed = _needed(emit.type(x).shape, sizes) if isinstance(sizes, tuple) else sizes
    _select(emit, x, _mask(emit, needed, node.outputs[0].type.shape), node.outputs[0])


def _fill(emit: Any, node: Node) -> None:
    sizes, value = node.inputs[:2]
    if _known(sizes):
        emit("Fill", [emit.operand(node, Ints(0, rank=1)), value], node.outputs)
        return
    _select(emit, value, _mask(emit, sizes, node.outputs[0].type.shape), node.outputs[0])


def _known(sizes: Any) -> bool:
    if isinstance(sizes, tuple) and not isinstance(sizes, Const | Size):
        return all(map(_known, sizes))
    return isinstance(sizes, Const)


def _needed(shape: Sequence[Any], sizes: Sequence[Any]) -> tuple[Any, ...]:
    """The sizes, 1 where the operand has the size itself."""
    added = len(sizes) - len(shape)
    own = [None] * added + [None if dim == 1 else dim for dim in shape]
    return tuple(size if mine is None else Const(1) for size, mine in zip(sizes, own, strict=True))


def _select(emit: Any, x: Any, mask: Any, result: Value) -> None:
    emit("SelectV2", [mask, x, x], [result])


def _mask(emit: Any, sizes: Any, shape: Sequence[Any]) -> Any:
    """A mask of true of some sizes; ``shape`` is what it broadcasts to, with names of sizes."""
    rank = len(shape)
    if isinstance(sizes, Value):
        dtype = emit.type(sizes).dtype
        parts = [
            emit.value("GatherV2", [sizes, np.array(k), np.array(0)], dtype, (), batch_dims=0)
            for k in range(rank)
        ]
    else:
        parts = list(sizes)
    known = [part.value if isinstance(part, Const) else 1 for part in parts]
    mask: Any = np.ones(known, bool) if max(known, default=1) > 1 or 0 in known else None
    for axis, part in enumerate(parts):
        if not isinstance(part, Const):
            line = _line(emit, part, shape[axis], axis, rank)
            mask = line if mask is None else _both(emit, mask, line)
    return np.ones((1,) * rank, bool) if mask is None else mask


def _both(emit: Any, left: Any, right: Any) -> Value:
    shapes = (emit.type(part).shape for part in (left, right))
    shape = tuple(a if b == 1 else b for a, b in zip(*shapes, strict=True))
    return emit.value("LogicalAnd", [left, right], _BOOL, shape)


def _line(emit: Any, size: Any, name: Any, axis: int, rank: int) -> Value:
    """A mask of true along one axis."""
    size = emit.scalar(size, np.int64)
    dtype = emit.type(size).dtype
    bounds = [np.zeros((), dtype), size, np.ones((), dtype)]
    count = name if isinstance(name, str) else "?"
    numbers = emit.value("Range", bounds, dtype, (count,))
    flags = emit.value("GreaterEqual", [numbers, np.zeros((), dtype)], _BOOL, (count,))
    dims = [1] * rank
    dims[axis] = -1
    shape = tuple(count if dim == -1 else 1 for dim in dims)
    return emit.value("Reshape", [flags, np.array(dims, np.int64)], _BOOL, shape)


_STRIDED = row(
    "StridedSlice", 0, Ints(1, rank=1), Ints(2, rank=1), Ints(3, rank=1), begin_mask=Arg(4),
    end_mask=Arg(5), ellipsis_mask=Arg(6), new_axis_mask=Arg(7), shrink_axis_mask=Arg(8),
)  # fmt: skip


def _strided_slice(emit: Any, node: Node) -> None:
    """Computed bounds are left out where a mask says so; else GE has no function for them."""
    node = _to_the_end(emit, node)
    masks = {1: given(node, 4), 2: given(node, 5), 3: 0}
    inputs = list(node.inputs)
    for at, mask in masks.items():
        if _known(inputs[at]):
            continue
        bounds = inputs[at]
        if not isinstance(bounds, tuple):
            raise emit.refuse(node, "has computed bounds, which GE's function does not take")
        parts = [Const(0) if mask >> k & 1 else part for k, part in enumerate(bounds)]
        if not _known(tuple(parts)):
            raise emit.refuse(node, "has computed bounds, which GE's function does not take")
        inputs[at] = tuple(parts)
    _STRIDED.adapt(emit, replace(node, inputs=tuple(inputs)))


def _to_the_end(emit: Any, node: Node) -> Node:
    """The node with a mask in the place of ends that are the operand's own dynamic sizes."""
    ends, mask = node.inputs[2], given(node, 5)
    if _known(ends) or not isinstance(ends, tuple):
        return node
    parts = list(ends)
    for axis, (part, dim) in enumerate(zip(ends, emit.type(node.inputs[0]).shape, strict=True)):
        if isinstance(part, Size) and part.of.type.shape[part.axis] == dim:
            parts[axis], mask = Const(0), mask | 1 << axis
    inputs = (*node.inputs[:2], tuple(parts), *node.inputs[3:5], Const(mask), *node.inputs[6:])
    return replace(node, inputs=inputs)


def _tile(emit: Any, node: Node) -> None:
    x, times = node.inputs
    kind, shape = emit.type(x)
    if not isinstance(times, Const) and not _known(times):
        raise emit.refuse(node, "repeats computed times, which GE's function does not take")
    count = listed(given(node, 1))
    if all(isinstance(dim, int) for dim in shape) or len(count) != len(shape):
        emit("Tile", [x, emit.operand(node, Ints(1, rank=1))], node.outputs)
        return
    for axis, number in enumerate(count):
        if number != 1 and isinstance(shape[axis], int):
            whole = (*shape[:axis], shape[axis] * number, *shape[axis + 1 :])
            x = _joined(emit, [x] * number, axis, kind, whole)
            shape = whole
        elif number != 1:
            x = _repeated(emit, x, axis, number, node.outputs[0].type.shape[axis])
            shape = emit.type(x).shape
    emit.becomes(node.outputs[0], x)


def _repeated(emit: Any, x: Any, axis: int, number: int, name: Any) -> Value:
    """``x``, repeated along an axis of dynamic size: copies along a new axis, which is merged."""
    kind, shape = emit.type(x)
    apart = emit.value("ExpandDims", [x, np.array(axis)], kind,
                       (*shape[:axis], 1, *shape[axis:]))  # fmt: skip
    mask = np.ones([number if k == axis else 1 for k in range(len(shape) + 1)], bool)
    wide = Value(Tensor(kind, (*shape[:axis], number, *shape[axis:])))
    _select(emit, apart, mask, wide)
    whole = (*shape[:axis], name, *shape[axis + 1 :])
    sizes = [Size(x, k) if isinstance(dim, str) else Const(dim) for k, dim in enumerate(shape)]
    return emit.reshape(wide, (*sizes[:axis], Const(-1), *sizes[axis + 1 :]), whole)


def _concat(emit: Any, node: Node) -> None:
    assert isinstance(node.inputs[0], tuple)
    parts = list(node.inputs[0])
    if len(parts) == 1:  # which GE's function refuses
        emit.same(node.outputs[0], parts[0])
        return
    axis = np.array(given(node, 1), np.int32)  # the chips' cores have no kernel for int64
    emit("ConcatV2", [parts, axis], node.outputs, {"N": len(parts)})


def _joined(emit: Any, parts: list[Any], axis: int, kind: np.dtype, shape: Any) -> Value:
    return emit.value("ConcatV2", [parts, np.array(axis, np.int32)], kind, shape, N=len(parts))


#: MindSpore's operator -> its row.
SIZES: Mapping[str, Row] = {
    "BroadcastTo": Row(_broadcast_to, ("BroadcastTo",)),
    "Concat": Row(_concat, ("ConcatV2",), PROTOTYPE, "Concat takes the axis as int32 only"),
    "FillScalar": Row(_fill, ("Fill",), f"{ADAPTER} of FillV2"),
    "StridedSlice": replace(_STRIDED, adapt=_strided_slice),
    "Tile": Row(_tile, ("Tile",)),
}

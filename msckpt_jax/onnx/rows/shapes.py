"""Operators that move data: shapes, parts, joins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Const, Tensor, Value
from msckpt_jax.onnx.builder import Builder
from msckpt_jax.onnx.rows.operands import (
    BOOL,
    I64,
    LAST,
    Row,
    axes_of,
    cast_to,
    given,
    ints,
    same,
    scalar,
    type_of,
)


def _reshape(b: Builder, node: Node) -> Value:
    shape = b.vector(node.inputs[1])
    zeros = 0 in type_of(node).shape and not (isinstance(shape, np.ndarray) and -1 in shape)
    return b("Reshape", node.inputs[0], shape, type=type_of(node), allowzero=int(zeros) or None)


def _broadcast_to(b: Builder, node: Node) -> Value:
    """Expand, where 1 keeps the operand's size, as -1 does in BroadcastTo."""
    parts = node.inputs[1]
    if isinstance(parts, Const):
        shape: Any = np.where(np.asarray(parts.value) < 0, 1, parts.value).astype(np.int64)
    elif isinstance(parts, tuple):
        keep = lambda p: Const(1) if isinstance(p, Const) and p.value == -1 else p  # noqa: E731
        shape = b.vector(tuple(map(keep, parts)))
    else:
        shape = b.vector(parts)
    return b("Expand", node.inputs[0], shape, type=type_of(node))


def _transpose(b: Builder, node: Node) -> Value:
    return b("Transpose", node.inputs[0], type=type_of(node), perm=list(given(node, 1)))


def _squeeze(b: Builder, node: Node) -> Value:
    return b("Squeeze", node.inputs[0], axes_of(node, 1), type=type_of(node))


def _expand_dims(b: Builder, node: Node) -> Value:
    return b("Unsqueeze", node.inputs[0], axes_of(node, 1), type=type_of(node))


def _tile(b: Builder, node: Node) -> Value:
    times, x = given(node, 1), node.inputs[0]
    old = b.type(x)
    if len(times) > len(old.shape):
        shape = (1,) * (len(times) - len(old.shape)) + old.shape
        x = b("Reshape", x, ints(*(d if isinstance(d, int) else -1 for d in shape)),
              type=Tensor(old.dtype, shape))  # fmt: skip
    times = (1,) * (len(b.type(x).shape) - len(times)) + tuple(times)
    return b("Tile", x, ints(*times), type=type_of(node))


def _concat(b: Builder, node: Node) -> Value:
    assert isinstance(node.inputs[0], tuple)
    return b("Concat", *node.inputs[0], type=type_of(node), axis=given(node, 1))


def _split(b: Builder, node: Node) -> list[Value]:
    types = [value.type for value in node.outputs]
    axis = given(node, 1)
    return b.several("Split", node.inputs[0], types=types, axis=axis, num_outputs=len(types))


def _stack(b: Builder, node: Node) -> Value:
    assert isinstance(node.inputs[0], tuple)
    t = type_of(node)
    axis = node.attrs["axis"] % len(t.shape)
    single = Tensor(t.dtype, tuple(1 if i == axis else d for i, d in enumerate(t.shape)))
    parts = [b("Unsqueeze", part, ints(axis), type=single) for part in node.inputs[0]]
    return b("Concat", *parts, type=t, axis=axis)


def _unstack(b: Builder, node: Node) -> list[Value]:
    x = node.inputs[0]
    old = b.type(x)
    axis = node.attrs["axis"] % len(old.shape)
    single = Tensor(old.dtype, tuple(1 if i == axis else d for i, d in enumerate(old.shape)))
    count = len(node.outputs)
    parts = b.several("Split", x, types=[single] * count, axis=axis, num_outputs=count)
    return [
        b("Squeeze", part, ints(axis), type=value.type)
        for part, value in zip(parts, node.outputs, strict=True)
    ]


def _slice(b: Builder, node: Node) -> Value:
    begin, size = b.vector(node.inputs[1]), b.vector(node.inputs[2])
    count = len(type_of(node).shape)
    if isinstance(begin, np.ndarray) and isinstance(size, np.ndarray):
        ends: Any = np.where(size < 0, LAST, begin + np.maximum(size, 0))
    else:
        vector = Tensor(I64, (count,))
        rest = b("Less", size, scalar(0, I64), type=Tensor(BOOL, (count,)))
        last = b("Add", begin, size, type=vector)
        ends = b("Where", rest, scalar(LAST, I64), last, type=vector)
    return b("Slice", node.inputs[0], begin, ends, ints(*range(count)), type=type_of(node))


def _strided_slice(b: Builder, node: Node) -> Value:
    if any(given(node, at) for at in range(4, 9)):
        raise UnsupportedError("StridedSlice has masks, which ONNX's Slice has not")
    begin, ends, strides = (b.vector(node.inputs[at]) for at in (1, 2, 3))
    count = len(type_of(node).shape)
    return b("Slice", node.inputs[0], begin, ends, ints(*range(count)), strides, type=type_of(node))


def _reverse(b: Builder, node: Node) -> Value:
    axes = axes_of(node, 1)
    assert axes is not None
    minus = np.full(len(axes), -1, np.int64)
    first = np.full(len(axes), np.iinfo(np.int64).min, np.int64)
    return b("Slice", node.inputs[0], minus, first, axes, minus, type=type_of(node))


def _pad(b: Builder, node: Node) -> Value:
    """Pad; MindSpore's paddings begin with the last axis and may be of fewer axes."""
    if isinstance(node.inputs[1], Value):  # of all axes
        last = 2 * len(type_of(node).shape)
        order = ints(*range(last - 2, -1, -2), *range(last - 1, 0, -2))
        pads: Any = b("Gather", node.inputs[1], order, type=Tensor(I64, (last,)))
    else:
        flat = given(node, 1)
        missing = [0] * (len(type_of(node).shape) - len(flat) // 2)
        pads = ints(*missing, *flat[-2::-2], *missing, *flat[::-2])
    mode = node.attrs.get("mode", "constant")
    value = node.inputs[2] if mode == "constant" else None
    return b("Pad", node.inputs[0], pads, value, type=type_of(node), mode=mode)


def _range(b: Builder, node: Node) -> Value:
    def number(position: int) -> Any:
        operand = node.inputs[position]
        if isinstance(operand, Const):
            return scalar(operand.value, type_of(node).dtype)
        return cast_to(b, b.scalar(operand), type_of(node).dtype)

    return b("Range", *map(number, range(3)), type=type_of(node))


ROWS: Mapping[str, Row] = {
    "BroadcastTo": _broadcast_to,
    "Concat": _concat,
    "ExpandDims": _expand_dims,
    "PadV3": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "ReverseV2": _reverse,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Stack": _stack,
    "StridedSlice": _strided_slice,
    "TensorShape": same("Shape"),
    "Tile": _tile,
    "Transpose": _transpose,
    "TupleToTensor": lambda b, node: b.vector(node.inputs[0]),
    "Unstack": _unstack,
}

"""Reductions, cumulative operators, sorting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Size, Tensor, Value
from msckpt_jax.onnx.builder import Builder
from msckpt_jax.onnx.rows.operands import I64, Row, axes_of, cast_to, given, ints, scalar, type_of

_U64 = np.dtype(np.uint64)


def _reduce(op: str) -> Row:
    def row(b: Builder, node: Node) -> Value:
        keep = int(bool(given(node, 2)))
        return b(op, node.inputs[0], axes_of(node, 1), type=type_of(node), keepdims=keep)

    return row


def _reduce_bool(op: str) -> Row:
    def row(b: Builder, node: Node) -> Value:
        u8, keep = np.dtype(np.uint8), int(bool(given(node, 2)))
        numbers = b.cast(node.inputs[0], u8)
        result = b(
            op, numbers, axes_of(node, 1), type=Tensor(u8, type_of(node).shape), keepdims=keep
        )
        return b.cast(result, bool)

    return row


def _arg(op: str) -> Row:
    def row(b: Builder, node: Node) -> Value:
        inner = Tensor(I64, type_of(node).shape)
        position = b(op, node.inputs[0], type=inner, axis=given(node, 1), keepdims=0,
                     select_last_index=0)  # fmt: skip
        return cast_to(b, position, type_of(node).dtype)

    return row


def _cumsum(b: Builder, node: Node) -> Value:
    flags = {"exclusive": int(given(node, 2)), "reverse": int(given(node, 3))}
    return b("CumSum", node.inputs[0], scalar(given(node, 1), I64), type=type_of(node), **flags)


def _cumulative(op: str, identity: Callable[[np.dtype], Any]) -> Row:
    """The row by doubling: after step k each element is the result of the 2^k before it."""

    def row(b: Builder, node: Node) -> Value:
        x, t = node.inputs[0], type_of(node)
        axis = given(node, 1) % len(t.shape)
        size = t.shape[axis]
        if not isinstance(size, int):
            raise UnsupportedError(f"{node.op} is along an axis of dynamic size")
        if len(node.inputs) > 2 and given(node, 2):
            raise UnsupportedError(f"{node.op} leaves out the element itself, but must not")
        reverse = len(node.inputs) > 3 and bool(given(node, 3))
        step, value = 1, x
        while step < size:
            value = b(op, value, _shifted(b, value, t, axis, step, reverse, identity), type=t)
            step *= 2
        return b("Identity", value, type=t)

    return row


def _shifted(
    b: Builder, x: Any, t: Tensor, axis: int, step: int, reverse: bool, identity: Any
) -> Value:
    size = t.shape[axis]
    assert isinstance(size, int)
    kept = Tensor(t.dtype, tuple(size - step if i == axis else d for i, d in enumerate(t.shape)))
    start, stop = (step, size) if reverse else (0, size - step)
    rest = b("Slice", x, ints(start), ints(stop), ints(axis), type=kept)
    pads = ints(0, step) if reverse else ints(step, 0)
    fill = scalar(identity(t.dtype), t.dtype)
    if b.names.lite:  # whose parser leaves axes unread
        every = np.zeros((2, len(t.shape)), np.int64)
        every[:, axis] = pads
        return b("Pad", rest, every.reshape(-1), fill, type=t)
    return b("Pad", rest, pads, fill, ints(axis), type=t)


def _lowest(dtype: np.dtype) -> Any:
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def _highest(dtype: np.dtype) -> Any:
    return np.iinfo(dtype).max if dtype.kind in "iu" else np.inf


def _sort(b: Builder, node: Node) -> list[Value]:
    """Take TopK of all elements: of equal elements the first comes first."""
    x, axis = node.inputs[0], node.attrs["axis"] % len(type_of(node).shape)
    size = type_of(node).shape[axis]
    if isinstance(size, int):
        count = ints(size)
    else:
        assert isinstance(x, Value)
        count = b.vector(Size(x, axis))
    return _top(b, node, count, axis, largest=int(node.attrs["descending"]))


def _top_k(b: Builder, node: Node) -> list[Value]:
    return _top(b, node, ints(given(node, 1)), -1, largest=1)


def _top(b: Builder, node: Node, count: Any, axis: int, largest: int) -> list[Value]:
    x, t = node.inputs[0], type_of(node)
    small = b.type(x).dtype.kind in "iu" and b.type(x).dtype.itemsize < 8
    small &= not b.names.lite  # which has no int64 for the keys
    key = _distinct(b, x, axis, largest) if small else x
    types = [Tensor(b.type(key).dtype, t.shape), Tensor(I64, t.shape)]
    values, places = b.several("TopK", key, count, types=types, axis=axis, largest=largest,
                               sorted=1)  # fmt: skip
    if small:
        values = b("GatherElements", x, places, type=t, axis=axis)
    return [values, *(cast_to(b, places, value.type.dtype) for value in node.outputs[1:])]


def _distinct(b: Builder, x: Any, axis: int, largest: int) -> Value:
    """Integers in the order of ``x``, all different: OpenVINO leaves equal ones in any order.

    They are of 32 bits where that is enough, as tract orders no others.
    """
    shape = b.type(x).shape
    axis %= len(shape)
    line = ints(*(-1 if i == axis else 1 for i in range(len(shape))))
    size = shape[axis]
    short = b.type(x).dtype.itemsize == 1 and isinstance(size, int) and size <= 2**23
    dtype, factor = (np.dtype(np.int32), 2**23) if short else (I64, 2**31)
    if isinstance(size, int):
        places: Any = np.arange(size, dtype=dtype).reshape(line)
    else:
        assert isinstance(x, Value)
        end = b.scalar((Size(x, axis),))
        places = b("Range", scalar(0, I64), end, scalar(1, I64), type=Tensor(I64, (size,)))
        column = tuple(n if i == axis else 1 for i, n in enumerate(shape))
        places = b("Reshape", places, line, type=Tensor(I64, column))
    t = Tensor(dtype, shape)
    far = b("Mul", b.cast(x, dtype), scalar(factor, dtype), type=t)
    return b("Sub" if largest else "Add", far, places, type=t)


def _in_order(row: Row) -> Row:
    """A row that compares, also for uint64: as int64 with the highest bit flipped."""

    def flipped(b: Builder, x: Any) -> Value:
        return b("BitwiseXor", x, scalar(np.iinfo(np.int64).min, I64), type=b.type(x))

    def adapted(b: Builder, node: Node) -> Any:
        x, *rest = node.inputs
        if b.type(x).dtype != _U64:
            return row(b, node)
        wide = [value.type.dtype == _U64 for value in node.outputs]
        results = tuple(
            Value(Tensor(I64, v.type.shape)) if w else v
            for v, w in zip(node.outputs, wide, strict=True)
        )
        signed = replace(node, inputs=(flipped(b, b.cast(x, I64)), *rest), outputs=results)
        computed = row(b, signed)
        computed = [computed] if isinstance(computed, Value) else computed
        return [
            b.cast(flipped(b, value), _U64) if w else value
            for value, w in zip(computed, wide, strict=False)
        ]

    return adapted


ROWS: Mapping[str, Row] = {
    "Argmax": _in_order(_arg("ArgMax")),
    "Argmin": _in_order(_arg("ArgMin")),
    "CumProd": _cumulative("Mul", lambda dtype: 1),
    "CumSum": _cumsum,
    "Cummax": _cumulative("Max", _lowest),
    "Cummin": _cumulative("Min", _highest),
    "ReduceAll": _reduce_bool("ReduceMin"),
    "ReduceAny": _reduce_bool("ReduceMax"),
    "ReduceMax": _in_order(_reduce("ReduceMax")),
    "ReduceMean": _reduce("ReduceMean"),
    "ReduceMin": _in_order(_reduce("ReduceMin")),
    "ReduceProd": _reduce("ReduceProd"),
    "ReduceSum": _reduce("ReduceSum"),
    "Sort": _in_order(_sort),
    "TopK": _in_order(_top_k),
}

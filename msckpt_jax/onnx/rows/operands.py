"""The helpers of rows: operands as Python has them, types, small constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Const, Size, Tensor, Value
from msckpt_jax.onnx.builder import Builder

#: ``row(builder, node)`` gives the node's first result, or a sequence of its results.
Row = Callable[[Builder, Node], Any]

BOOL, I64, _F32 = (np.dtype(d) for d in (bool, np.int64, np.float32))
LAST = np.iinfo(np.int64).max


def given(node: Node, position: int) -> Any:
    """A constant operand as Python has it: a number, a tuple of numbers, a dtype.

    Raises:
        UnsupportedError: the operand is computed, or a dynamic size.
    """
    return _plain(node, node.inputs[position])


def _plain(node: Node, operand: Any) -> Any:
    if isinstance(operand, Const):
        value = operand.value
        if isinstance(value, np.ndarray):
            return value.item() if value.ndim == 0 else tuple(value.reshape(-1).tolist())
        return value
    if isinstance(operand, Value | Size):
        raise UnsupportedError(f"{node.op} has an argument that is computed, not a constant")
    assert isinstance(operand, tuple)
    return tuple(_plain(node, part) for part in operand)


def type_of(node: Node, index: int = 0) -> Tensor:
    return node.outputs[index].type


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def scalar(value: Any, dtype: np.dtype) -> np.ndarray:
    return np.array(value, dtype)


def same(op: str, **attributes: Any) -> Row:
    """The row that is one operator of all operands."""

    def row(b: Builder, node: Node) -> Value:
        return b(op, *node.inputs, type=type_of(node), **attributes)

    return row


def negated(op: str) -> Row:
    def row(b: Builder, node: Node) -> Value:
        result = b(op, *node.inputs, type=type_of(node))
        return b("Not", result, type=type_of(node))

    return row


def axes_of(node: Node, position: int) -> np.ndarray | None:
    axes = given(node, position)
    axes = (axes,) if isinstance(axes, int) else axes
    return None if not axes else ints(*axes)


def cast_to(b: Builder, value: Value, dtype: np.dtype) -> Value:
    return value if value.type.dtype == dtype else b.cast(value, dtype)


def long_indices(b: Builder, operand: Any) -> Any:
    return operand if b.type(operand).dtype == I64 else b.cast(operand, I64)


def widened(row: Row) -> Row:
    """The row in float32 where the result is a float of 16 bits: it rounds once, not at each step.

    For rows of several operators, with one result.
    """

    def adapted(b: Builder, node: Node) -> Any:
        result = type_of(node)
        if result.dtype.kind not in "fV" or result.dtype.itemsize > 2:
            return row(b, node)
        wide = Value(Tensor(_F32, result.shape))
        inputs = tuple(_as_float32(b, x) for x in node.inputs)
        return b.cast(row(b, replace(node, inputs=inputs, outputs=(wide,))), result.dtype)

    return adapted


def _as_float32(b: Builder, operand: Any) -> Any:
    """A float of 16 bits in float32; other operands as they are."""
    if isinstance(operand, Const) and isinstance(operand.value, np.ndarray):
        small = operand.value.dtype.kind in "fV"
        return Const(operand.value.astype(_F32)) if small else operand
    small = isinstance(operand, Value) and operand.type.dtype.kind in "fV"
    return b.cast(operand, _F32) if small else operand

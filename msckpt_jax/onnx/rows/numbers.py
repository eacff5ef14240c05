"""Arithmetic, comparisons, bits: where ONNX has no operator, a few that it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Const, Tensor, Value
from msckpt_jax.onnx.builder import Builder
from msckpt_jax.onnx.rows.operands import BOOL, Row, negated, same, scalar, type_of, widened


def _square(b: Builder, node: Node) -> Value:
    return b("Mul", node.inputs[0], node.inputs[0], type=type_of(node))


def _is_finite(b: Builder, node: Node) -> Value:
    """|x| < infinity, which NaN is not either: MindSpore Lite has no IsInf."""
    x = node.inputs[0]
    size = b("Abs", x, type=b.type(x))
    return b("Less", size, scalar(np.inf, b.type(x).dtype), type=type_of(node))


def _or_equal(op: str, opposite: str) -> Row:
    """The row of ``op``; of integers the opposite's negation, which is all that Lite has."""

    def row(b: Builder, node: Node) -> Value:
        if any(b.type(x).dtype.kind not in "iu" for x in node.inputs):  # NaN fulfils neither
            return b(op, *node.inputs, type=type_of(node))
        return negated(opposite)(b, node)

    return row


def _real_div(b: Builder, node: Node) -> Value:
    """Divide, by Reciprocal where the dividend is 1.

    onnxruntime 1.32 makes y / x of y * (1 / x), and loses the value of y where it removes the
    operator that computes y, such as z + 0: the file fails to load.
    """
    y, x = node.inputs
    t = type_of(node)
    if isinstance(y, Const) and t.dtype.kind == "f" and b.type(x) == t and np.all(y.array == 1):
        return b("Reciprocal", x, type=t)
    return b("Div", y, x, type=t)


def _floor_div(b: Builder, node: Node) -> Value:
    t = type_of(node)
    if t.dtype.kind not in "iu":
        return b("Floor", b("Div", *node.inputs, type=t), type=t)
    rest = b("Mod", *node.inputs, type=t)
    return b("Div", b("Sub", node.inputs[0], rest, type=t), node.inputs[1], type=t)


def _floor_mod(b: Builder, node: Node) -> Value:
    t = type_of(node)
    if t.dtype.kind in "iu":
        return b("Mod", *node.inputs, type=t)
    times = b("Mul", _floor_div(b, node), node.inputs[1], type=t)
    return b("Sub", node.inputs[0], times, type=t)


def _mod(b: Builder, node: Node) -> Value:
    """The remainder with the sign of the dividend; MindSpore Lite leaves fmod unread."""
    t = type_of(node)
    if not b.names.lite or t.dtype.kind != "i":
        return b("Mod", *node.inputs, type=t, fmod=1)
    x, y = node.inputs
    whole = b("Mul", b("Div", x, y, type=t), y, type=t)
    return b("Sub", x, whole, type=t)


def _of_scalars(row: Row) -> Row:
    """A row for MindSpore's scalars, which are tensors of rank 0."""

    def adapted(b: Builder, node: Node) -> Any:
        return row(b, replace(node, inputs=tuple(b.scalar(x) for x in node.inputs)))

    return adapted


def _scalar_to_tensor(b: Builder, node: Node) -> Value:
    return b.cast(b.scalar(node.inputs[0]), type_of(node).dtype)


def _left_shift(b: Builder, node: Node) -> Value:
    return _on_unsigned(b, node, "LEFT")


def _right_shift(b: Builder, node: Node) -> Value:
    """Shift the complement of negative numbers: ONNX shifts unsigned numbers."""
    t, x = type_of(node), node.inputs[0]
    if t.dtype.kind == "u":
        return b("BitShift", *node.inputs, type=t, direction="RIGHT")
    negative = b("Less", x, scalar(0, t.dtype), type=Tensor(BOOL, b.type(x).shape))
    flipped = b("BitwiseNot", x, type=b.type(x))
    size = b("Where", negative, flipped, x, type=b.type(x))
    shifted = _on_unsigned(b, node, "RIGHT", size)
    return b("Where", negative, b("BitwiseNot", shifted, type=t), shifted, type=t)


def _on_unsigned(b: Builder, node: Node, direction: str, x: Any = None) -> Value:
    t = type_of(node)
    x, count = node.inputs[0] if x is None else x, node.inputs[1]
    if t.dtype.kind == "u":
        return b("BitShift", x, count, type=t, direction=direction)
    dtype = np.dtype(f"u{t.dtype.itemsize}")
    operands = b.cast(x, dtype), b.cast(count, dtype)
    shifted = b("BitShift", *operands, type=Tensor(dtype, t.shape), direction=direction)
    return b.cast(shifted, t.dtype)


def _population_count(b: Builder, node: Node) -> Value:
    """Add bits in pairs, then fours, then eights, in 64 bits."""
    shape = type_of(node).shape
    u64 = np.dtype(np.uint64)
    t = Tensor(u64, shape)
    given_type = b.type(node.inputs[0])
    x: Any = node.inputs[0]
    if given_type.dtype.kind == "i":  # without the sign's copies
        x = b.cast(x, np.dtype(f"u{given_type.dtype.itemsize}"))
    x = b.cast(x, u64)

    def masked(value: Any, mask: int, by: int = 0) -> Value:
        moved = b("BitShift", value, scalar(by, u64), type=t, direction="RIGHT") if by else value
        return b("BitwiseAnd", moved, scalar(mask, u64), type=t)

    for by, mask in ((1, 0x55), (2, 0x33), (4, 0x0F), (8, 0xFF), (16, 0xFFFF), (32, 0xFFFFFFFF)):
        width = max(8, by * 2)
        full = sum(mask << at for at in range(0, 64, width))
        x = b("Add", masked(x, full), masked(x, full, by), type=t)
    return b.cast(x, type_of(node).dtype)


def _clamp(b: Builder, node: Node) -> Value:
    x, low, high = node.inputs
    return b("Min", b("Max", x, low, type=type_of(node)), high, type=type_of(node))


def _cast(b: Builder, node: Node) -> Value:
    return b.cast(node.inputs[0], type_of(node).dtype)


#: MindSpore's operator -> ONNX's, of the same operands.
_SAME = {
    "ACos": "Acos", "Abs": "Abs", "Acosh": "Acosh", "Add": "Add", "Asin": "Asin", "Asinh": "Asinh",
    "Atan": "Atan", "Atanh": "Atanh", "BitwiseAnd": "BitwiseAnd", "BitwiseOr": "BitwiseOr",
    "BitwiseXor": "BitwiseXor", "Ceil": "Ceil", "Cos": "Cos", "Cosh": "Cosh", "Equal": "Equal",
    "Erf": "Erf", "Exp": "Exp", "Floor": "Floor", "Greater": "Greater",
    "HSwish": "HardSwish", "Identity": "Identity",
    "Invert": "BitwiseNot", "Less": "Less", "Log": "Log",
    "LogicalAnd": "And", "LogicalNot": "Not", "LogicalOr": "Or", "LogicalXor": "Xor",
    "MatrixDeterminant": "Det", "Maximum": "Max", "Minimum": "Min", "Mul": "Mul",
    "Neg": "Neg", "Pow": "Pow", "ReLU": "Relu", "Reciprocal": "Reciprocal", "Rint": "Round",
    "Select": "Where", "Sign": "Sign", "Sin": "Sin", "Sinh": "Sinh",
    "Softplus": "Softplus", "Sqrt": "Sqrt", "Sub": "Sub", "Tan": "Tan", "Tanh": "Tanh",
    "TruncateDiv": "Div",
}  # fmt: skip


ROWS: Mapping[str, Row] = {
    **{name: same(op) for name, op in _SAME.items()},
    "Cast": _cast,
    "ClampTensor": _clamp,
    "Div": _real_div,
    "FloorDiv": widened(_floor_div),
    "FloorMod": widened(_floor_mod),
    **{f"Scalar{op}": _of_scalars(same(op)) for op in ("Add", "Max", "Min", "Mul", "Pow", "Sub")},
    "ScalarFloorDiv": _of_scalars(_floor_div),
    "ScalarMod": _of_scalars(_floor_mod),
    "ScalarToTensor": _scalar_to_tensor,
    "GreaterEqual": _or_equal("GreaterOrEqual", "Less"),
    "IsFinite": _is_finite,
    "LeftShift": _left_shift,
    "LessEqual": _or_equal("LessOrEqual", "Greater"),
    "Mod": _mod,
    "NotEqual": negated("Equal"),
    "PopulationCount": _population_count,
    "RealDiv": _real_div,
    "RightShift": _right_shift,
    "Square": _square,
}

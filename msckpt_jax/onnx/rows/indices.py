"""Reading and writing at computed places."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Tensor, Value
from msckpt_jax.onnx.builder import Builder
from msckpt_jax.onnx.rows.operands import BOOL, Row, given, ints, long_indices, type_of


def _gather(b: Builder, node: Node) -> Value:
    if given(node, 3):
        raise UnsupportedError("Gather has batch dimensions, which ONNX's has not")
    return b("Gather", node.inputs[0], node.inputs[1], type=type_of(node), axis=given(node, 2))


def _gather_d(b: Builder, node: Node) -> Value:
    x, _, index = node.inputs
    return b("GatherElements", x, index, type=type_of(node), axis=given(node, 1))


def _gather_nd(b: Builder, node: Node) -> Value:
    return b("GatherND", node.inputs[0], long_indices(b, node.inputs[1]), type=type_of(node))


def _scatter(reduction: str, negate: bool = False) -> Row:
    def row(b: Builder, node: Node) -> Value:
        x, indices, updates = node.inputs
        if negate:
            updates = b("Neg", updates, type=b.type(updates))
        how = None if reduction == "none" else reduction
        return b(
            "ScatterND", x, long_indices(b, indices), updates, type=type_of(node), reduction=how
        )

    return row


def _one_hot(b: Builder, node: Node) -> Value:
    """Compare indices: onnxruntime's OneHot has kernels for few combinations of dtypes."""
    index, _, on, off = node.inputs[:4]
    t, old = type_of(node), b.type(node.inputs[0])
    axis = given(node, 4) % len(t.shape)
    shape = (*old.shape[:axis], 1, *old.shape[axis:])
    column = b("Unsqueeze", index, ints(axis), type=Tensor(old.dtype, shape))
    line = [-1 if i == axis else 1 for i in range(len(t.shape))]
    numbers = np.arange(given(node, 1), dtype=old.dtype).reshape(line)
    hot = b("Equal", column, numbers, type=Tensor(BOOL, t.shape))
    return b("Where", hot, on, off, type=t)


ROWS: Mapping[str, Row] = {
    "Gather": _gather,
    "GatherD": _gather_d,
    "GatherNd": _gather_nd,
    "OneHot": _one_hot,
    "TensorScatterAdd": _scatter("add"),
    "TensorScatterMax": _scatter("max"),
    "TensorScatterMin": _scatter("min"),
    "TensorScatterMul": _scatter("mul"),
    "TensorScatterSub": _scatter("add", negate=True),
    "TensorScatterUpdate": _scatter("none"),
}

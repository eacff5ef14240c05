"""Products of quantised weights in ONNX: DequantizeLinear, or onnxruntime's own MatMulNBits.

Both are nodes of the graph under these names; their rows are in ``rows/quantised.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Const, Parameter, Tensor, Value
from msckpt_jax.lowering import quantising, spelling
from msckpt_jax.lowering.quantising import U8, Quantised
from msckpt_jax.lowering.spelling import Emit, Product, Spelling

_I4 = np.dtype(ml_dtypes.int4)
#: The target that has MatMulNBits.
RUNTIME = "onnxruntime"


def spell(product: Product, options: Mapping[str, Any]) -> Spelling:
    """The spelling of a product for a target."""
    four = product.data.wish.bits == 4
    if four and options["target"] == RUNTIME and spelling.is_plain(product):
        return _by_columns
    if four and product.view.layer is not None:  # nothing takes a layer of int4
        return spelling.multiplied
    return _dequantized


def _dequantized(emit: Emit, product: Product) -> Node:
    return spelling.instead(emit, product, _weight)


def _weight(emit: Emit, product: Product) -> Value:
    """The matrix, dequantised in a shape with one axis more.

    onnxruntime 1.32 makes a product of 8-bit inputs of DequantizeLinear and MatMul in a row, with
    errors of a percent; with a Reshape in between it does not.
    """
    data, (dtype, shape) = product.data, product.view.type
    lead = spelling.lead(data)
    if data.wish.block is None and len(shape) == 2:  # one axis of scales, in any opset
        axis = 2 if data.sheets.axis == -2 else 1
        split, blocks = (1, *shape), (*lead, data.scale.size // max(math.prod(lead), 1))
        attrs = {"axis": axis}
    else:
        split, blocks = spelling.split(shape, data)
        axis, blocks = len(split) + data.sheets.axis, (*lead, *blocks)
        attrs = {"axis": axis, "block_size": data.block}
    type_ = Tensor(dtype, split)
    weights = _numbers(emit, product, (*lead, *split)), spelling.scales(emit, product, blocks)
    operands = [spelling.layer_of(emit, product, weight) for weight in weights]
    value = emit("DequantizeLinear", *operands, type=type_, attrs=attrs)
    return emit("Reshape", value, Const(tuple(shape)), type=product.view.type)


def _numbers(emit: Emit, product: Product, shape: tuple[int, ...]) -> Parameter:
    """The weight of whole numbers in a shape."""
    if product.data.wish.bits == 8:
        return spelling.numbers(emit, product, shape)
    type_, stored = Tensor(_I4, shape), (U8, (-(-math.prod(shape) // 2),))
    return emit.weight(
        product.name,
        lambda: quantising.parameter(product.name, type_, product.data, quantising.nibbles, stored),
    )


def _by_columns(emit: Emit, product: Product) -> Node:
    """The product by MatMulNBits, which takes the columns of the matrix, each in its blocks."""
    data, node = product.data, product.view.node
    depth, count = data.shape
    type_ = Tensor(U8, (count, depth // data.block, data.block // 2))
    numbers = emit.weight(
        product.name, lambda: quantising.parameter(product.name, type_, data, _columns(data))
    )
    columns = np.ascontiguousarray(data.scale.T).reshape(-1)
    scale = emit.weight(
        product.scale,
        lambda: Parameter(Tensor(columns.dtype, columns.shape), product.scale, columns),
    )
    attrs = {"K": depth, "N": count, "bits": 4, "block_size": data.block, "accuracy_level": 1}
    return replace(node, op="MatMulNBits", inputs=(node.inputs[0], numbers, scale), attrs=attrs)


def _columns(data: Quantised) -> Callable[[np.ndarray], np.ndarray]:
    """The layout uint8[columns, blocks, bytes], 8 more than each number, the first one low."""

    def packed(numbers: np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(numbers.T).view(U8) + U8.type(8)
        both = rows[:, 0::2] | (rows[:, 1::2] << U8.type(4))
        return both.reshape(len(rows), -1, data.block // 2)

    return packed

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

from msckpt_jax.checkpoint import leaves
from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Const, Parameter, Tensor, Value
from msckpt_jax.lowering import late, spelling
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
    sizes = tuple(int(n) for n in shape)
    if data.wish.block is None and len(shape) == 2:  # one axis of scales, in any opset
        axis = 2 if data.sheets.axis == -2 else 1
        split, blocks = (1, *sizes), (*lead, data.scale.size // max(math.prod(lead), 1))
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
    weights = product.data
    return emit.weight(product.name, lambda: _packed(product.name, shape, weights.numbers))


def stored(parameter: Parameter) -> Parameter:
    """A weight as the file has it: int4 in half a byte."""
    dtype, shape = parameter.type
    if dtype != _I4 or isinstance(parameter.data, leaves.Given):
        return parameter

    def numbers() -> np.ndarray:
        return late.array(parameter.name, parameter.data)

    return _packed(parameter.name, tuple(int(n) for n in shape), numbers)


def _packed(name: str, shape: tuple[int, ...], numbers: Callable[[], np.ndarray]) -> Parameter:
    """A weight of int4: two numbers a byte, in the order of the tensor, the first below."""

    def make() -> np.ndarray:
        flat = numbers().reshape(-1).view(U8) & U8.type(15)
        flat = np.pad(flat, (0, -flat.size % 2))
        return flat[0::2] | (flat[1::2] << U8.type(4))

    size = -(-math.prod(shape) // 2)
    return late.parameter(name, Tensor(_I4, shape), make, (U8, (size,)))


def _by_columns(emit: Emit, product: Product) -> Node:
    """The product by MatMulNBits, which takes the columns of the matrix, each in its blocks."""
    data, node = product.data, product.view.node
    depth, count = data.shape
    type_ = Tensor(U8, (count, depth // data.block, data.block // 2))
    numbers = emit.weight(
        product.name, lambda: late.parameter(product.name, type_, lambda: _columns(data))
    )
    columns = np.ascontiguousarray(data.scale.T).reshape(-1)
    scale = emit.weight(
        product.scale,
        lambda: Parameter(Tensor(columns.dtype, columns.shape), product.scale, columns),
    )
    attrs = {"K": depth, "N": count, "bits": 4, "block_size": data.block, "accuracy_level": 1}
    return replace(node, op="MatMulNBits", inputs=(node.inputs[0], numbers, scale), attrs=attrs)


def _columns(data: Quantised) -> np.ndarray:
    """The layout uint8[columns, blocks, bytes], 8 more than each number, the first one low."""
    rows = np.ascontiguousarray(data.numbers().T).view(U8) + U8.type(8)
    both = rows[:, 0::2] | (rows[:, 1::2] << U8.type(4))
    return both.reshape(len(rows), -1, data.block // 2)

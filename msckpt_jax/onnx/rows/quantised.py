"""Rows of the operators that products of quantised weights become; they are none of MindSpore's."""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Tensor, Value
from msckpt_jax.onnx import opsets
from msckpt_jax.onnx.builder import Builder
from msckpt_jax.onnx.rows.operands import Row, type_of

_I4, _BF16, _F32, _F16 = (
    np.dtype(d) for d in (ml_dtypes.int4, ml_dtypes.bfloat16, np.float32, np.float16)
)
#: The domain of onnxruntime's own operators.
_DOMAIN = "com.microsoft"
#: The opsets from which DequantizeLinear takes float16, and blocks and int4.
_FLOAT16, BLOCKS = 19, 21


def _dequantize_linear(b: Builder, node: Node) -> Value:
    numbers, scale = node.inputs
    dtype, shape = type_of(node)
    blocks = "block_size" in node.attrs or b.type(numbers).dtype == _I4
    if blocks:
        opsets.first(b.names.opset, b.names.later, _check_blocks)
    wide = dtype == _BF16 or (dtype == _F16 and b.names.opset < _FLOAT16)
    if wide:
        scale = b.cast(scale, _F32)
    value = Value(Tensor(_F32 if wide else dtype, shape))
    b.node("DequantizeLinear", [b.name(numbers), b.name(scale)], [value], node.attrs)
    return b.cast(value, dtype)


def _check_blocks(opset: int) -> None:
    if opset < BLOCKS:
        raise UnsupportedError(f"blocks of weights need opset={BLOCKS} or more, not {opset}")


def _mat_mul_n_bits(b: Builder, node: Node) -> Value:
    x, numbers, scale = node.inputs
    dtype, shape = type_of(node)
    if dtype == _BF16:
        x, scale = b.cast(x, _F32), b.cast(scale, _F32)
    value = Value(Tensor(_F32 if dtype == _BF16 else dtype, shape))
    operands = [b.name(operand) for operand in (x, numbers, scale)]
    b.node("MatMulNBits", operands, [value], {**node.attrs, "domain": _DOMAIN})
    return b.cast(value, dtype)


ROWS: Mapping[str, Row] = {
    "DequantizeLinear": _dequantize_linear,
    "MatMulNBits": _mat_mul_n_bits,
}

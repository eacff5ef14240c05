"""Products of matrices, convolutions, pooling, normalisation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Const, Tensor, Value
from msckpt_jax.onnx.builder import Builder
from msckpt_jax.onnx.rows.operands import Row, given, ints, scalar, type_of, widened


def _turned(b: Builder, x: Any) -> Value:
    old = b.type(x)
    order = [*range(len(old.shape) - 2), len(old.shape) - 1, len(old.shape) - 2]
    shape = tuple(old.shape[axis] for axis in order)
    return b("Transpose", x, type=Tensor(old.dtype, shape), perm=order)


#: The operands that MatMulInteger has kernels for in all versions of onnxruntime.
_BYTES = (("i1", "i1"), ("u1", "u1"), ("u1", "i1"))


def _matmul(b: Builder, node: Node) -> Value:
    """The product; of integers of 8 bits that were made 32 wide without these conversions."""
    left, right = node.inputs[:2]
    narrow = tuple(map(b.narrow, (left, right)))
    small = tuple(b.type(x).dtype.str[1:] for x in narrow) in _BYTES
    small &= type_of(node).dtype == np.int32 and not b.names.lite  # it has no MatMulInteger
    left, right = narrow if small else (left, right)
    left = _turned(b, left) if given(node, 2) else left
    right = _turned(b, right) if given(node, 3) else right
    return b("MatMulInteger" if small else "MatMul", left, right, type=type_of(node))


def _dense(b: Builder, node: Node) -> Value:
    x, weight, bias = node.inputs
    product = b("MatMul", x, _turned(b, weight), type=type_of(node))
    if isinstance(bias, Const) and bias.value is None:
        return product
    return b("Add", product, bias, type=type_of(node))


def _bias_add(b: Builder, node: Node) -> Value:
    x, bias = node.inputs[:2]
    (size,) = b.type(bias).shape
    ones = (1,) * (len(b.type(x).shape) - 2)
    shape = (size, *ones)
    line = b("Reshape", bias, ints(-1, *ones), type=Tensor(b.type(bias).dtype, shape))
    return b("Add", x, line, type=type_of(node))


def _spread(sizes: Any, rank: int) -> list[int]:
    """The numbers of the spatial axes."""
    numbers = [sizes] * rank if isinstance(sizes, int) else list(sizes)
    return [int(n) for n in numbers[-rank:]]


def _convolution(rank: int) -> Row:
    def row(b: Builder, node: Node) -> Value:
        a = node.attrs
        if str(a.get("pad_mode", "pad")) not in ("pad", "0"):
            raise UnsupportedError(
                f"{node.op} has pad_mode {a['pad_mode']}, but must have explicit paddings"
            )
        pads = list(a.get("pad_list", a.get("pad")))
        return b(
            "Conv",
            *node.inputs[:2],
            type=type_of(node),
            strides=_spread(a.get("stride", a.get("strides")), rank),
            dilations=_spread(a.get("dilation", a.get("dilations")), rank),
            pads=[int(n) for n in (*pads[0::2], *pads[1::2])],
            group=int(a.get("group", a.get("groups", 1))),
        )

    return row


_PADDINGS = {1: "SAME_UPPER", 2: "VALID", "same": "SAME_UPPER", "valid": "VALID"}


def _max_pool(b: Builder, node: Node) -> Value:
    a = node.attrs
    mode = a["pad_mode"]
    return b(
        "MaxPool",
        node.inputs[0],
        type=type_of(node),
        kernel_shape=_spread(a["kernel_size"], 2),
        strides=_spread(a["strides"], 2),
        auto_pad=_PADDINGS[mode.lower() if isinstance(mode, str) else mode],
    )


def _average_pool(b: Builder, node: Node) -> Value:
    return b(
        "AveragePool",
        node.inputs[0],
        type=type_of(node),
        kernel_shape=_spread(given(node, 1), 2),
        strides=_spread(given(node, 2), 2),
        auto_pad=_PADDINGS[given(node, 3)],
    )


def _batch_norm(b: Builder, node: Node) -> Value:
    if given(node, 5):
        raise UnsupportedError("BatchNorm is in training, but must not be")
    return b("BatchNormalization", *node.inputs[:5], type=type_of(node), epsilon=given(node, 6))


def _layer_norm(b: Builder, node: Node) -> Value:
    axis = given(node, 3)
    return b("LayerNormalization", *node.inputs[:3], type=type_of(node), axis=axis,
             epsilon=given(node, 5))  # fmt: skip


def _softmax(b: Builder, node: Node) -> Value:
    axes = given(node, 1)
    if not isinstance(axes, int) and len(axes) != 1:
        raise UnsupportedError(f"Softmax is over {len(axes)} axes, but must be over one")
    axis = axes if isinstance(axes, int) else axes[0]
    return b("Softmax", node.inputs[0], type=type_of(node), axis=axis)


def _log_softmax(b: Builder, node: Node) -> Value:
    return b("LogSoftmax", node.inputs[0], type=type_of(node), axis=given(node, 1))


def _mish(b: Builder, node: Node) -> Value:
    """tanh(log(1 + e)) as n / (n + 2) with n = e (e + 2), e = exp(x).

    onnxruntime 1.32 has no kernel of Mish, and its Softplus takes ten times as long as Exp. Where
    ``e`` is cut off, the quotient is 1 in all digits.
    """
    t, x = type_of(node), node.inputs[0]
    two, limit = scalar(2, t.dtype), scalar(20, t.dtype)
    e = b("Exp", b("Min", x, limit, type=t), type=t)
    n = b("Mul", e, b("Add", e, two, type=t), type=t)
    return b("Mul", x, b("Div", n, b("Add", n, two, type=t), type=t), type=t)


def _gelu_ext(b: Builder, node: Node) -> Value:
    if given(node, 1) in (1, "tanh"):
        return _gelu(b, node)
    t, x = type_of(node), node.inputs[0]
    if t.dtype != np.float64 and b.names.opset >= 20:
        return b("Gelu", x, type=t)
    erf = b("Erf", b("Div", x, scalar(math.sqrt(2), t.dtype), type=t), type=t)
    half = b("Mul", x, scalar(0.5, t.dtype), type=t)
    return b("Mul", half, b("Add", erf, scalar(1, t.dtype), type=t), type=t)


def _leaky_relu(b: Builder, node: Node) -> Value:
    return b("LeakyRelu", node.inputs[0], type=type_of(node), alpha=float(given(node, 1)))


def _convolution_of_dilated(b: Builder, node: Node) -> Value:
    a = node.attrs
    if "output_padding" not in a:
        raise UnsupportedError("Conv2DBackpropInput has a given size, but must have output_padding")
    pads = a["pad_list"]
    return b(
        "ConvTranspose",
        *node.inputs[:2],
        type=type_of(node),
        strides=list(a["stride"]),
        dilations=list(a["dilation"]),
        pads=[*pads[0::2], *pads[1::2]],
        output_padding=list(a["output_padding"]),
    )


def _gelu(b: Builder, node: Node) -> Value:
    """Spell GELU out before opset 20, and in float64, for which onnxruntime has no kernel.

    onnxruntime makes one operator of this form: tanh(c x (1 + d x²)).
    """
    t, x = type_of(node), node.inputs[0]
    if t.dtype != np.float64 and b.names.opset >= 20:
        return b("Gelu", x, type=t, approximate="tanh")

    def f(op: str, left: Any, right: Any) -> Value:
        right = scalar(right, t.dtype) if isinstance(right, float) else right
        return b(op, left, right, type=t)

    square = f("Mul", f("Mul", x, 0.044715), x)
    inner = f("Mul", f("Mul", x, math.sqrt(2 / math.pi)), f("Add", square, 1.0))
    tanh = b("Tanh", inner, type=t)
    return f("Mul", f("Mul", x, 0.5), f("Add", tanh, 1.0))


def _add_n(b: Builder, node: Node) -> Value:
    assert isinstance(node.inputs[0], tuple)
    return b("Sum", *node.inputs[0], type=type_of(node))


ROWS: Mapping[str, Row] = {
    "AddN": _add_n,
    "AvgPool": _average_pool,
    "BatchMatMul": _matmul,
    "BatchNorm": _batch_norm,
    "BiasAdd": _bias_add,
    "Conv2D": _convolution(2),
    "Conv2DBackpropInput": _convolution_of_dilated,
    "Conv3D": _convolution(3),
    "Dense": _dense,
    "GeLU": widened(_gelu),
    "GeluExt": widened(_gelu_ext),
    "LayerNorm": _layer_norm,
    "LeakyReLUExt": _leaky_relu,
    "LogSoftmax": _log_softmax,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Mish": widened(_mish),
    "MishExt": widened(_mish),
    "Softmax": _softmax,
}

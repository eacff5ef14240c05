"""Products of quantised matrices, spelled in the operators of a format.

A spelling is a function that emits a product anew. Here is the one that every format can read, of
casts and multiplications; formats have others beside their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import ml_dtypes
import numpy as np

from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Const, Operand, Parameter, Tensor, Value
from msckpt_jax.lowering import late, quantising
from msckpt_jax.lowering.quantising import I8, U8, Quantised
from msckpt_jax.lowering.weight_views import View

_F32, _BF16 = np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)
_ONE = Const(np.array([1], np.int64))


class Product(NamedTuple):
    """A product, the operand that is quantised, and the names of its numbers and its scales."""

    view: View
    data: Quantised
    name: str
    scale: str


#: Emits a node in place of a product: with another operand, or another operator.
Spelling: TypeAlias = Callable[["Emit", Product], Node]
#: Chooses the spelling of a product, by the format's options and the ``target`` of ``export``.
Spell: TypeAlias = Callable[[Product, Mapping[str, Any]], Spelling]


class Emit:
    """The nodes of a graph under construction, and the weights of all graphs."""

    def __init__(self, parameters: dict[str, Parameter]):
        self.nodes: list[Node] = []
        self.source = ""
        self._parameters = parameters
        self._made: dict[Any, Value] = {}

    def __call__(
        self, op: str, *inputs: Operand, type: Tensor, attrs: Mapping[str, Any] | None = None
    ) -> Value:
        result = Value(type)
        self.nodes.append(Node(op, inputs, (result,), attrs or {}, (), self.source))
        return result

    def once(self, key: Any, make: Callable[[], Value]) -> Value:
        """A value that is computed once in this graph."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def weight(self, name: str, make: Callable[[], Parameter]) -> Parameter:
        """A weight that is made once in all graphs."""
        if name not in self._parameters:
            self._parameters[name] = make()
        return self._parameters[name]


def multiplied(emit: Emit, product: Product) -> Node:
    """Cast the numbers and multiply them by their scales; two numbers of 4 bits are a byte."""
    return instead(emit, product, _multiplied)


def plain(product: Product, options: Mapping[str, Any]) -> Spelling:
    """The spelling that needs no operators of a format's own."""
    return multiplied


def is_plain(product: Product) -> bool:
    """Tell whether a product is of a matrix of inputs and a matrix of weights, in its order."""
    view = product.view
    matrices = view.node.op == "MatMul" and (view.side, view.axis) == (1, -2)
    return matrices and view.layer is None and not view.casts


def instead(emit: Emit, product: Product, make: Callable[[Emit, Product], Value]) -> Node:
    """The product, with the matrix that the numbers stand for."""
    view = product.view
    layer = None if view.layer is None else view.layer.inputs[1]
    value = emit.once((product.name, layer), lambda: make(emit, product))
    for dtype in view.casts:
        value = cast(emit, value, dtype)
    operands = list(view.node.inputs)
    operands[view.side] = value
    return replace(view.node, inputs=tuple(operands))


def _multiplied(emit: Emit, product: Product) -> Value:
    data, (dtype, shape) = product.data, product.view.type
    work = _F32 if dtype == _BF16 else dtype  # MindSpore's CPU has no Reshape of bfloat16
    whole = _bytes(emit, product) if data.wish.bits == 8 else _unpacked(emit, product, work)
    value = cast(emit, whole, work)
    if data.wish.block is None:
        scale = scales(emit, product, data.scale.shape)
        scale = cast(emit, layer_of(emit, product, scale), work)
        return cast(emit, emit("Mul", value, scale, type=value.type), dtype)
    parts, blocks = split(shape, data)
    scale = layer_of(emit, product, scales(emit, product, (*lead(data), *blocks)))
    value = emit("Reshape", value, Const(parts), type=Tensor(work, parts))
    value = emit("Mul", value, cast(emit, scale, work), type=value.type)
    value = emit("Reshape", value, Const(tuple(shape)), type=Tensor(work, tuple(shape)))
    return cast(emit, value, dtype)


def _bytes(emit: Emit, product: Product) -> Value:
    """The numbers of 8 bits."""
    return layer_of(emit, product, numbers(emit, product, product.data.shape))


def _unpacked(emit: Emit, product: Product, dtype: np.dtype) -> Value:
    """The numbers of 4 bits as floats, which every runtime and chip computes with.

    A byte is 8 more than a number of the first half, and 16 times that of the second half.
    """
    data, axis = product.data, product.data.sheets.axis
    shape = list(data.shape)
    shape[axis] //= 2
    type_ = Tensor(U8, tuple(shape))
    packed = emit.weight(
        product.name,
        lambda: late.parameter(product.name, type_, lambda: quantising.halves(data, axis)),
    )
    both = cast(emit, layer_of(emit, product, packed), dtype)
    half, whole = both.type, Tensor(dtype, product.view.type.shape)
    least, many, part = (Const(np.array(number, dtype)) for number in (8, 16, 1 / 16))
    high = emit("Floor", emit("Mul", both, part, type=half), type=half)
    low = emit("Sub", both, emit("Mul", high, many, type=half), type=half)
    joined = emit("Concat", (low, high), Const(len(whole.shape) + axis), type=whole)
    return emit("Sub", joined, least, type=whole)


def numbers(emit: Emit, product: Product, shape: tuple[int, ...]) -> Parameter:
    """The weight of whole numbers, one a byte, in a shape."""
    type_ = Tensor(I8, shape)
    return emit.weight(
        product.name, lambda: late.parameter(product.name, type_, product.data.numbers)
    )


def scales(emit: Emit, product: Product, shape: Sequence[int]) -> Parameter:
    """The weight of scales in a shape."""
    scale = product.data.scale.reshape(tuple(shape))
    type_ = Tensor(scale.dtype, scale.shape)
    return emit.weight(product.scale, lambda: Parameter(type_, product.scale, scale))


def lead(data: Quantised) -> tuple[int, ...]:
    """The number of layers, where there are some."""
    return () if data.sheets.count is None else (data.sheets.count,)


def cast(emit: Emit, value: Value, dtype: np.dtype) -> Value:
    """The value in a dtype."""
    if value.type.dtype == dtype:
        return value
    return emit("Cast", value, Const(dtype), type=Tensor(dtype, value.type.shape))


def split(shape: Sequence[Any], data: Quantised) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape of a matrix with the axis of the blocks in two, and that of its scales."""
    at, sizes = len(shape) + data.sheets.axis, tuple(int(n) for n in shape)
    before, count, after = sizes[:at], sizes[at] // data.block, sizes[at + 1 :]
    return (*before, count, data.block, *after), (*before, count, 1, *after)


def layer_of(emit: Emit, product: Product, weight: Parameter) -> Value:
    """The weight, or the layer of it that the graph takes."""
    layer = product.view.layer
    if layer is None:
        return weight
    number = layer.inputs[1]
    assert isinstance(number, Value)
    if layer.op == "Slice":  # of a vector, whose first number it is
        first = Tensor(number.type.dtype, (1,))
        number = emit("Slice", number, Const(np.array([0], np.int64)), _ONE, type=first)
        number = emit("Squeeze", number, Const((0,)), type=Tensor(first.dtype, ()))
    dtype, (_, *shape) = weight.type
    return emit("Gather", weight, number, Const(0), Const(0), type=Tensor(dtype, tuple(shape)))

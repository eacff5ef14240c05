"""Rows of products and convolutions, whose dtypes GE's own functions enforce.

Of int8 they give int32. Other integers up to 32 bits are multiplied as int32, which has the same
low bits; wider numbers, for which GE has no product, are multiplied and summed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from msckpt_jax.air import dtype_table
from msckpt_jax.air.rows.row import Adapt, Arg, Row, given, listed, row
from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Const, Tensor, Value

I8, I32 = np.dtype(np.int8), np.dtype(np.int32)
#: The most elements of a product before it is summed: 2 GiB of float64.
_MOST = 2**28
#: Operators that move elements, so that a cast before them may come after them.
_MOVES = ("Transpose", "Reshape", "ExpandDims", "Squeeze", "PadV3")


def _product(emit: Any, node: Node) -> None:
    x, y = node.inputs[:2]
    turned = [bool(given(node, at)) for at in (2, 3)]
    result = node.outputs[0]
    narrow = _int8s(emit, x, y) if emit.written(result.type.dtype) == I32 else None
    if narrow is not None:
        _emit_product(emit, node.op, narrow, turned, result)
        return
    _in_a_dtype(
        emit, node, [x, y], lambda parts, out: _emit_product(emit, node.op, parts, turned, out)
    )


def _in_a_dtype(emit: Any, node: Node, operands: list[Any], step: Any) -> None:
    """Run a step of operands and result, in a dtype that gives the same result."""
    result = node.outputs[0]
    dtype = emit.written(result.type.dtype)
    work = I32 if (dtype.kind in "biu" and dtype.itemsize < 4) or dtype == np.uint32 else dtype
    if work == dtype:
        step(operands, result)
        return
    parts = operands if dtype == I8 else [emit.cast(part, work) for part in operands]
    wide = Value(Tensor(work, result.type.shape))
    step(parts, wide)
    emit("Cast", [wide], [result], {"dst_type": dtype})


def _emit_product(
    emit: Any, op: str, parts: Sequence[Any], turned: Sequence[bool], result: Value
) -> None:
    first, second = parts
    dtype = emit.written(emit.type(first).dtype)
    if op == "MatMul":
        kind, flags = "MatMulV2", dict(zip(("transpose_x1", "transpose_x2"), turned, strict=True))
        parts, flags = [first, second, None, None], flags | {"offset_x": 0}
    else:
        kind = "BatchMatMulV2" if dtype == I8 else "BatchMatMul"
        flags = dict(zip(("adj_x1", "adj_x2"), turned, strict=True))
    if dtype_table.takes(kind, "x1", dtype):
        emit(kind, parts, [result], flags)
    else:
        _multiplied(emit, first, second, turned, result)


def _multiplied(emit: Any, x: Any, y: Any, turned: Sequence[bool], result: Value) -> None:
    """Multiply matrices by multiplications and sums."""
    rank = len(emit.type(x).shape)
    turn = [*range(rank - 2), rank - 1, rank - 2]
    x, y = (emit.transpose(v, turn) if t else v for v, t in zip((x, y), turned, strict=True))
    dtype, left = emit.type(x)
    right = emit.type(y).shape
    whole = (*result.type.shape[:-2], left[-2], left[-1], right[-1])
    _limit(emit, whole, dtype)
    columns = emit.value("ExpandDims", [x, np.array(rank, np.int64)], dtype, (*left, 1))
    shape = (*right[:-2], 1, *right[-2:])
    rows = emit.value("ExpandDims", [y, np.array(rank - 2, np.int64)], dtype, shape)
    parts = emit.value("Mul", [columns, rows], dtype, whole)
    emit("ReduceSum", [parts, np.array([rank - 1], np.int64)], [result], {"keep_dims": False})


def _limit(emit: Any, shape: Sequence[Any], dtype: np.dtype) -> None:
    size = prod(dim for dim in shape if isinstance(dim, int))
    if size > _MOST:
        raise emit.refuse(
            emit.node,
            f"of {dtype.name} has no operator in GE, and as a product of {size:,} elements that "
            "are summed it is too large; cast the operands to float32, or pass narrow=True",
        )


def _int8s(emit: Any, *operands: Any) -> list[Any] | None:
    """The operands as int8, if all are int8 that was cast or constants, and not all constants."""
    if all(isinstance(operand, Const) for operand in operands):
        return None
    makers = [_int8(emit, operand) for operand in operands]
    if any(part is None for part in makers):
        return None
    emit.leave()
    return [part() for part in makers]


def _int8(emit: Any, operand: Any) -> Any:
    """A function that makes the int8 that became an operand, or None if it was not int8."""
    if isinstance(operand, Const):
        array = operand.array
        narrow = array.astype(I8)
        return (lambda: narrow) if (narrow == array).all() else None
    node = emit.makers.get(operand)
    if node is None:
        return None
    first = node.inputs[0]
    if node.op == "Cast":
        return (lambda: first) if emit.type(first).dtype == I8 else None
    padded = node.op == "PadV3" and not _is_zero(node.inputs[2])
    inner = _int8(emit, first) if node.op in _MOVES and not padded else None
    return None if inner is None else lambda: _moved(emit, node, inner())


def _is_zero(operand: Any) -> bool:
    return isinstance(operand, Const) and not np.any(operand.value)


def _moved(emit: Any, node: Node, operand: Any) -> Value:
    """The result that the node has of an int8 operand."""
    out = Value(Tensor(I8, node.outputs[0].type.shape))
    rest = node.inputs[1:]
    if node.op == "PadV3":
        rest = (rest[0], Const(np.zeros((), I8)), *rest[2:])
    emit.row(replace(node, inputs=(operand, *rest), outputs=(out,)))
    return out


def convolution(kind: str, rank: int) -> Adapt:
    """The way of a convolution over ``rank`` axes to GE's operator."""

    def adapt(emit: Any, node: Node) -> None:
        if str(node.attrs.get("pad_mode", "pad")) not in ("pad", "0"):
            raise emit.refuse(node, f"has pad_mode {node.attrs['pad_mode']}, not explicit paddings")
        x, kernel = node.inputs[:2]
        attributes = _attributes(node, rank)
        result = node.outputs[0]
        narrow = _int8s(emit, x, kernel) if emit.written(result.type.dtype) == I32 else None
        if narrow is not None:
            emit(kind, [*narrow, None, None], [result], attributes)
            return

        def step(parts: list[Any], out: Value) -> None:
            dtype = emit.written(emit.type(parts[0]).dtype)
            if dtype == I8 or dtype.name in ("float16", "bfloat16", "float32"):
                emit(kind, [*parts, None, None], [out], attributes)
            else:
                _by_places(emit, node, parts, attributes, out)

        _in_a_dtype(emit, node, [x, kernel], step)

    return adapt


def _attributes(node: Node, rank: int) -> dict[str, Any]:
    strides = node.attrs.get("stride", node.attrs.get("strides"))
    dilations = node.attrs.get("dilation", node.attrs.get("dilations"))
    return {
        "strides": [1, 1, *listed(strides)[-rank:]],
        "pads": listed(node.attrs.get("pad_list", node.attrs.get("pad"))),
        "dilations": [1, 1, *listed(dilations)[-rank:]],
        "groups": node.attrs.get("group", node.attrs.get("groups", 1)),
        "data_format": "NCHW" if rank == 2 else "NCDHW",
        "offset_x": 0,
    }


def _by_places(
    emit: Any, node: Node, parts: list[Any], attributes: Mapping[str, Any], result: Value
) -> None:
    """Convolve by a product for each place in the kernel."""
    x, kernel = parts
    dtype, (batch, channels, *sizes) = emit.type(x)
    outputs, inner, *taps = emit.type(kernel).shape
    groups, strides, dilations = (attributes[k] for k in ("groups", "strides", "dilations"))
    spots = [dim for dim in result.type.shape[2:] if isinstance(dim, int)]
    if not all(isinstance(dim, int) for dim in (channels, *sizes)):
        raise emit.refuse(node, f"of {dtype.name} has dynamic sizes, for which GE has no operator")
    pads = [0, 0, 0, 0, *attributes["pads"]]
    padded = [n + low + high for n, low, high in zip(sizes, pads[4::2], pads[5::2], strict=True)]
    if any(pads):
        operands = [x, np.array(pads, np.int64), np.zeros((), dtype)]
        modes = {"mode": "constant", "paddings_contiguous": True}
        x = emit.value("PadV3", operands, dtype, (batch, channels, *padded), **modes)
    whole = (batch, groups, outputs // groups, inner, prod(spots))
    _limit(emit, whole, dtype)
    total: Any = None
    for place in itertools.product(*map(range, taps)):
        first = [at * step for at, step in zip(place, dilations[2:], strict=True)]
        part = _slice(emit, x, first, spots, strides[2:])
        part = _shaped(emit, part, (batch, groups, 1, inner, prod(spots)))
        factors = _slice(emit, kernel, place, [1] * len(taps), [1] * len(taps))
        factors = _shaped(emit, factors, (1, groups, outputs // groups, inner, 1))
        product = emit.value("Mul", [part, factors], dtype, whole)
        sums = emit.value("ReduceSum", [product, np.array([3], np.int64)], dtype,
                          (*whole[:3], whole[4]), keep_dims=False)  # fmt: skip
        total = sums if total is None else emit.value("Add", [total, sums], dtype, sums.type.shape)
    dims = np.array([-1 if isinstance(batch, str) else batch, outputs, *spots], np.int64)
    emit("Reshape", [total, dims], [result])


def _slice(
    emit: Any, x: Any, first: Sequence[int], counts: Sequence[int], strides: Sequence[int]
) -> Value:
    """Every so many-th element along the axes after the first two."""
    dtype, shape = emit.type(x)
    spans = zip(first, counts, strides, strict=True)
    last = [f + (n - 1) * s + 1 for f, n, s in spans]
    ends = [np.iinfo(np.int32).max] * 2
    bounds = [np.array(b, np.int64) for b in ([0, 0, *first], [*ends, *last], [1, 1, *strides])]
    masks = {"begin_mask": 3, "end_mask": 3}
    return emit.value("StridedSlice", [x, *bounds], dtype, (*shape[:2], *counts), **masks)


def _shaped(emit: Any, x: Any, shape: Sequence[Any]) -> Value:
    dims = np.array([-1 if isinstance(dim, str) else dim for dim in shape], np.int64)
    return emit.value("Reshape", [x, dims], emit.type(x).dtype, shape)


#: MindSpore's operator -> its row.
PRODUCTS: Mapping[str, Row] = {
    "BatchMatMul": Row(_product, ("BatchMatMul",), attributes={"adj_x1": Arg(2), "adj_x2": Arg(3)}),
    "Conv2D": Row(convolution("Conv2D", 2), ("Conv2D",)),
    "Conv3D": Row(convolution("Conv3D", 3), ("Conv3D",)),
    "WeightQuantBatchMatmul": row(
        "WeightQuantBatchMatmulV2", 0, 1, 2, None, None, None, None,
        transpose_x=Arg(7), transpose_weight=Arg(8), antiquant_group_size=Arg(9),
    ),
    "MatMul": Row(
        _product, ("MatMulV2",), attributes={"transpose_x1": Arg(2), "transpose_x2": Arg(3)}
    ),
}  # fmt: skip

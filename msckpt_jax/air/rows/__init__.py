"""MindSpore's operators as GE's: a row each.

A row says which GE operator it is, which of MindSpore's operands are its inputs, and what its
attributes are. The evidence is MindSpore's own adapter of that operator (``REG_ADPT_DESC`` in its
``op_declare`` files) unless the row says otherwise. Numbers of operands are their positions in
MindSpore's definition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from msckpt_jax.air.rows.linear_algebra import LINEAR_ALGEBRA
from msckpt_jax.air.rows.products import PRODUCTS
from msckpt_jax.air.rows.row import (
    ADAPTER,
    PROTOTYPE,
    WRITTEN,
    Adapt,
    Arg,
    Attr,
    Ints,
    Row,
    given,
    listed,
    product,
    row,
)
from msckpt_jax.air.rows.sizes import SIZES
from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import UNKNOWN, Const, Tensor, Value

#: Operators that take all tensors of the node, and have the same name in GE.
_SAME = (
    "Abs", "Acosh", "Asin", "Asinh", "Atan", "Atan2", "Atanh", "BesselI0e", "BesselI1e",
    "Betainc", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Ceil", "Conj", "Cos", "Cosh",
    "Digamma", "Equal", "Erf", "Erfc", "Erfinv", "Expm1", "Floor", "FloorDiv", "FloorMod",
    "GatherNd", "Greater", "GreaterEqual", "Identity", "Igammac", "Invert", "IsFinite", "IsInf",
    "IsNan", "LeftShift", "Less", "LessEqual", "Log1p", "LogicalAnd", "LogicalNot", "LogicalOr",
    "Maximum", "Minimum", "Mish", "Mul", "Neg", "NextAfter", "NotEqual", "Pow", "RealDiv",
    "Reciprocal", "RightShift", "Rint", "Rsqrt", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus",
    "Sqrt", "Square", "Sub", "Tan", "Tanh", "TensorScatterAdd", "TensorScatterMax",
    "TensorScatterMin", "TensorScatterSub", "TensorScatterUpdate", "Trunc", "TruncateDiv",
    "Zeta",
)  # fmt: skip
#: Operators on numbers, which GE has as tensors of rank 0.
_SCALARS = {
    "ScalarAdd": "Add", "ScalarFloorDiv": "FloorDiv", "ScalarMax": "Maximum",
    "ScalarMin": "Minimum", "ScalarMod": "FloorMod", "ScalarMul": "Mul", "ScalarPow": "Pow",
    "ScalarSub": "Sub",
}  # fmt: skip
_RENAMED = {
    **dict(zip(_SAME, _SAME, strict=True)),
    "ACos": "Acos",
    "GeLU": "Gelu",
    "HSwish": "HardSwish",
    "ReLU": "Relu",
    "ReLU6": "Relu6",
}


def _reduction(kind: str) -> Row:
    """Write out all axes where MindSpore has none (but for ``skip_mode``): GE's versions differ."""
    some = row(kind, 0, Ints(1, rank=1), keep_dims=Arg(2))

    def adapt(emit: Any, node: Node) -> None:
        axes = node.inputs[1]
        if getattr(axes, "value", axes) not in ((), None):
            some.adapt(emit, node)
            return
        x, shape = node.inputs[0], emit.type(node.inputs[0]).shape
        if emit.type(x) == UNKNOWN:
            raise emit.refuse(node, "reduces all axes of a tensor of unknown rank")
        if not shape or (len(node.inputs) > 3 and given(node, 3)):
            emit.becomes(node.outputs[0], x)
            return
        every = Const(tuple(range(len(shape))))
        some.adapt(emit, replace(node, inputs=(x, every, *node.inputs[2:])))

    return replace(some, adapt=adapt)


def _cumulative(kind: str) -> Row:
    return row(kind, 0, Ints(1), exclusive=Arg(2), reverse=Arg(3))


#: ``pad_mode`` of MindSpore's pooling operators: a name, or a number where it is an operand.
_PADDINGS = {1: "SAME", 2: "VALID"}
_PADDINGS |= {name: name.upper() for name in ("same", "valid", "SAME", "VALID")}


def _pool(kernel: Any, strides: Any, mode: Any) -> dict[str, Any]:
    """GE's attributes of windows over the two last axes."""
    spatial = ([1, 1, *listed(sizes)[-2:]] for sizes in (kernel, strides))
    names = ("ksize", "strides")
    return dict(zip(names, spatial, strict=True)) | {
        "padding": _PADDINGS[mode],
        "data_format": "NCHW",
    }


def _max_pool(emit: Any, node: Node) -> None:
    attributes = _pool(*(node.attrs[key] for key in ("kernel_size", "strides", "pad_mode")))
    emit("MaxPool", [node.inputs[0]], node.outputs, attributes)


def _average_pool(emit: Any, node: Node) -> None:
    attributes = _pool(*(given(node, at) for at in (1, 2, 3)))
    emit("AvgPool", [node.inputs[0]], node.outputs, attributes)


def _pad(emit: Any, node: Node) -> None:
    """MindSpore's paddings begin with the last axis and may be fewer; GE's are all, in order."""
    x, paddings, value = node.inputs[:3]
    rank = len(emit.type(x).shape)
    if isinstance(paddings, Value):  # computed from dynamic sizes, for all axes
        order = np.arange(2 * rank).reshape(-1, 2)[::-1].reshape(-1)
        axis = np.array(0, np.int64)
        pairs = emit.value("GatherV2", [paddings, order, axis], np.int64, order.shape)
    else:
        flat = [int(n) for n in np.ravel(given(node, 1))]
        known = list(zip(flat[0::2], flat[1::2], strict=True))[::-1]
        known = [(0, 0)] * (rank - len(known)) + known
        pairs = np.array(known, np.int64).reshape(-1)
    modes = {"mode": node.attrs.get("mode", "constant"), "paddings_contiguous": True}
    if emit.type(x).dtype != bool:
        emit("PadV3", [x, pairs, value], node.outputs, modes)
        return
    wide = [emit.cast(operand, np.int8) for operand in (x, value)]
    padded = emit.value("PadV3", [wide[0], pairs, wide[1]], np.int8, node.outputs[0].type.shape,
                        **modes)  # fmt: skip
    emit("Cast", [padded], node.outputs, {"dst_type": np.dtype(bool)})


def _logical_xor(emit: Any, node: Node) -> None:
    """CANN 8.1 has no LogicalXor; MindSpore writes an operator of its own package."""
    halves = [emit.cast(x, np.int8) for x in node.inputs]
    emit("NotEqual", halves, node.outputs)


def _scatter_mul(emit: Any, node: Node) -> None:
    """Lay all out in one line, where ScatterElements multiplies: GE has no TensorScatterMul."""
    x, indices, updates = node.inputs
    dims, dtype = emit.type(x).shape, emit.type(indices).dtype
    if not all(isinstance(dim, int) for dim in dims[1:]):
        raise emit.refuse(node, "takes a tensor whose sizes after the first are dynamic")
    depth = emit.type(indices).shape[-1]
    rows = emit.type(indices).shape[:-1]
    steps = np.array([prod(dims[axis + 1 :]) for axis in range(depth)], dtype)
    parts = emit.value("Mul", [indices, steps], dtype, (*rows, depth))
    begin = emit.value("ReduceSum", [parts, np.array([-1], np.int64)], dtype, rows)
    column = emit.value("Reshape", [begin, np.array([-1, 1], np.int64)], dtype, (product(rows), 1))
    within = np.arange(prod(dims[depth:]), dtype=dtype)
    places = emit.value("Add", [column, within], dtype, (product(rows), *within.shape))
    line = Value(Tensor(emit.type(x).dtype, (product(dims),)))
    operands = [emit.reshape(part, (-1,)) for part in (x, places, updates)]
    emit("ScatterElements", operands, [line], {"axis": 0, "reduction": "mul"})
    whole = [dim if isinstance(dim, int) else -1 for dim in dims]
    emit("Reshape", [line, np.array(whole, np.int64)], node.outputs)


#: MindSpore's numbers for how elements are scattered.
_REDUCTIONS = {0: "none", 1: "add"}


def _parts(node: Node) -> list[Any]:
    assert isinstance(node.inputs[0], tuple)
    return list(node.inputs[0])


def _add_n(emit: Any, node: Node) -> None:
    parts = _parts(node)
    emit("AddN", [parts], node.outputs, {"N": len(parts)})


def _stack(emit: Any, node: Node) -> None:
    parts = _parts(node)
    emit("Pack", [parts], node.outputs, {"axis": node.attrs["axis"], "N": len(parts)})


def _batch_norm(emit: Any, node: Node) -> None:
    if given(node, 5):
        raise emit.refuse(node, "is in training")
    statistics = emit.type(node.inputs[3])
    rest = [Value(statistics) for _ in range(5 - len(node.outputs))]
    rest.append(Value(Tensor(statistics.dtype, (1,))))
    attributes = {
        "is_training": False,
        "epsilon": given(node, 6),
        "data_format": "NCHW",
        "exponential_avg_factor": 1.0,
    }
    emit("BatchNorm", list(node.inputs[:5]), [*node.outputs, *rest], attributes)


def _layer_norm(emit: Any, node: Node) -> None:
    attributes = {
        "begin_norm_axis": given(node, 3),
        "begin_params_axis": given(node, 4),
        "epsilon": given(node, 5),
    }
    emit("LayerNorm", list(node.inputs[:3]), emit.all(node, 3), attributes)


def _dense(emit: Any, node: Node) -> None:
    x, weight, bias = node.inputs
    rank = len(emit.type(x).shape)
    if rank != 2:
        raise emit.refuse(node, f"takes a tensor of rank {rank}, not 2")
    none = getattr(bias, "value", bias) is None
    emit(
        "MatMulV2",
        [x, weight, None if none else bias, None],
        node.outputs,
        {"transpose_x1": False, "transpose_x2": True, "offset_x": 0},
    )


def _part(kind: str) -> Adapt:
    def adapt(emit: Any, node: Node) -> None:
        emit(kind, [node.inputs[0]], node.outputs, {"Tout": node.outputs[0].type.dtype})

    return adapt


def _top_k(emit: Any, node: Node) -> None:
    k = np.array(given(node, 1), np.int32)
    attributes = {"sorted": True, "dim": -1, "largest": True}
    emit("TopKV2", [node.inputs[0], k], node.outputs, attributes)


#: MindSpore's operator -> its row. Control flow is in ``adapt``.
ROWS: Mapping[str, Row] = {
    **LINEAR_ALGEBRA,
    **PRODUCTS,
    **SIZES,
    **{name: row(kind) for name, kind in _RENAMED.items()},
    "Add": row("Add", evidence=WRITTEN),
    "AddN": Row(_add_n, ("AddN",)),
    **{f"Arg{k}WithValue": row(f"Arg{k}WithValue", 0, dimension=Arg(1), keep_dims=Arg(2))
       for k in ("Max", "Min")},
    "Argmax": row("ArgMaxV2", 0, Ints(1), dtype=Arg(2)),
    "Argmin": row("ArgMin", 0, Ints(1), dtype=Arg(2)),
    "AvgPool": Row(_average_pool, ("AvgPool",)),
    "BatchNorm": Row(_batch_norm, ("BatchNorm",)),
    "BiasAdd": row("BiasAdd", 0, 1, data_format="NCHW"),
    "Cast": row("Cast", 0, dst_type=Arg(1)),
    "ClampTensor": row("ClipByValueV2", 0, 1, 2, evidence=PROTOTYPE),
    "Complex": row("Complex", 0, 1, Tout=lambda n: n.outputs[0].type.dtype),
    "ComplexAbs": row("ComplexAbs", 0, Tout=lambda n: n.outputs[0].type.dtype),
    "CumProd": _cumulative("Cumprod"),
    "CumSum": _cumulative("Cumsum"),
    "Cummax": row("Cummax", 0, dim=Arg(1)),
    "Cummin": row("Cummin", 0, axis=Arg(1)),
    "Dense": Row(_dense, ("MatMulV2",), PROTOTYPE),
    "Div": Row(
        lambda e, n: e("TruncateDiv" if n.outputs[0].type.dtype.kind in "iu" else "RealDiv",
                       list(n.inputs), n.outputs),
        ("RealDiv", "TruncateDiv"), PROTOTYPE, "Div leaves open how integers are divided",
    ),
    "Exp": row("Exp", base=-1.0, scale=1.0, shift=0.0),
    "ExpandDims": row("ExpandDims", 0, Ints(1)),
    "Gather": row("GatherV2", 0, 1, Ints(2), batch_dims=Arg(3)),
    "GatherD": row("GatherElements", 0, 2, dim=Arg(1)),
    "Igamma": row("Igamma", evidence=PROTOTYPE),
    "Imag": Row(_part("Imag"), ("Imag",)),
    "LayerNorm": Row(_layer_norm, ("LayerNorm",)),
    "Lgamma": row("Lgamma", evidence=PROTOTYPE, note="MindSpore writes CustLgamma of its own"),
    "Log": row("Log", base=-1.0, scale=1.0, shift=0.0),
    "LogSoftmax": row("LogSoftmaxV2", 0, axes=Arg(1, listed)),
    "LogicalXor": Row(_logical_xor, ("NotEqual",), PROTOTYPE),
    "MaxPool": Row(_max_pool, ("MaxPool",)),
    "Mod": row("TruncateMod", evidence=PROTOTYPE, note="the sign of the dividend, as MindSpore's"),
    "OneHot": row("OneHot", 0, Ints(1, np.int32), 2, 3, axis=Arg(4)),
    "PadV3": Row(_pad, ("PadV3",), ADAPTER, "paddings of all axes, which infer-shape needs"),
    "PopulationCount": row("PopulationCount"),
    "Range": row("Range", Ints(0), Ints(1), Ints(2)),
    "Real": Row(_part("Real"), ("Real",), PROTOTYPE, "MindSpore writes CustReal of its own"),
    **{name: _reduction(name) for name in (
        "ReduceAll", "ReduceAny", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"
    )},
    "Reshape": row("Reshape", 0, Ints(1, rank=1)),
    "ReverseV2": row("ReverseV2", 0, Ints(1, rank=1)),
    "Round": row("Round", 0, decimals=Arg(1)),
    "SeLUExt": row("Selu", evidence=f"{ADAPTER} of SeLU"),
    **{name: row(kind, Ints(0), Ints(1), evidence=PROTOTYPE) for name, kind in _SCALARS.items()},
    "ScalarToTensor": row("Cast", Ints(0), dst_type=Arg(1), evidence=PROTOTYPE),
    "Select": row("SelectV2", evidence=PROTOTYPE, note="Select does not broadcast"),
    "ScatterNd": row("ScatterNd", 0, 1, Ints(2, rank=1)),
    "SiLU": row("Swish", 0, scale=1.0),
    "Slice": row("Slice", 0, Ints(1, rank=1), Ints(2, rank=1)),
    "Softmax": row("SoftmaxV2", 0, axes=Arg(1, listed)),
    "Sort": row("Sort", 0, axis=Attr("axis"), descending=Attr("descending"), stable=True),
    "Split": row("Split", Ints(1, np.int32), 0, num_split=Arg(2)),
    "Squeeze": row("Squeeze", 0, axis=Arg(1, listed)),
    "Stack": Row(_stack, ("Pack",)),
    "TensorScatterElements": row("ScatterElements", 0, 1, 2, axis=Arg(3),
                                 reduction=Arg(4, lambda kind: _REDUCTIONS.get(kind, kind))),
    "TensorScatterMul": Row(_scatter_mul, ("ScatterElements",), PROTOTYPE),
    "TopK": Row(_top_k, ("TopKV2",), PROTOTYPE, "TopK takes k as float32 in MindSpore's files"),
    "Transpose": row("Transpose", 0, Ints(1, rank=1)),
    "TupleToTensor": row("Cast", Ints(0, rank=1), dst_type=Arg(1), evidence=PROTOTYPE),
    "Unstack": row("Unpack", 0, axis=Attr("axis"), num=Attr("num")),
}  # fmt: skip

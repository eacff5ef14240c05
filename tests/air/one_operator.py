"""Networks of one operator, which MindSpore's own converter wrote, too: ``data/ms_networks.txt``.

A network is a JAX function and its inputs, or a graph of one node where no JAX function gives the
operator. ``DIFFERENCES`` has what we write otherwise than MindSpore 2.10, and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import Const, Tensor, Value, values_of

F32, I32, BOOL = (np.dtype(name) for name in ("float32", "int32", "bool"))


def _x(*shape: int, dtype: Any = F32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


X = _x(2, 3)
N, B, C = (_x(2, 3, dtype=dtype) for dtype in (I32, BOOL, np.complex64))
IMAGE = _x(1, 4, 8, 8)


def node(
    op: str, inputs: Sequence[Any], *rest: Any, results: Sequence[Any] | None = None, **attrs: Any
) -> Graph:
    """A graph of one node; ``rest`` are its constants, which come after its tensors."""
    operands = tuple(map(_operand, (*inputs, *rest)))
    outputs = [_operand(x) for x in results or inputs[:1]]
    values = [value for operand in operands for value in values_of(operand)]
    return Graph("one", values, [Node(op, operands, tuple(outputs), attrs)], list(outputs))


def _operand(x: Any) -> Any:
    if isinstance(x, jax.ShapeDtypeStruct):
        return Value(Tensor(np.dtype(x.dtype), x.shape))
    return tuple(map(_operand, x)) if isinstance(x, tuple) else Const(x)


def _convolution(stride: int = 1, groups: int = 1, padding: Any = ((1, 1), (1, 1))) -> Any:
    return lambda x, w: lax.conv_general_dilated(
        x, w, (stride, stride), padding, feature_group_count=groups
    )


def _pool(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def _pool3d(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2, 2), (1, 1, 2, 2, 2), "VALID")


_POINTS = (X, _x(2, 2, dtype=I32), _x(2))

#: MindSpore's network -> the same of ours.
NETWORKS: dict[str, Any] = {
    "Argmax": (lambda x: lax.argmax(x, 1, np.int32), X),
    "CumSum_rev": node("CumSum", [X], 1, False, True),
    "Pad": (lambda x: jnp.pad(x, ((0, 0), (1, 2))), X),
    "abs": (lax.abs, X),
    "acos": (lax.acos, X),
    "acosh": (lax.acosh, X),
    "add": (lax.add, X, X),
    "addn": node("AddN", [(X, X)], results=[X]),
    "argmax": (lambda x: lax.argmax(x, 1, np.int64), X),
    "argmax_wv": node("ArgMaxWithValue", [X], 1, False, results=[_x(2, dtype=np.int64), _x(2)]),
    "argmin": (lambda x: lax.argmin(x, 1, np.int32), X),
    "asin": (lax.asin, X),
    "asinh": (lax.asinh, X),
    "atan": (lax.atan, X),
    "atan2": (lax.atan2, X, X),
    "atanh": (lax.atanh, X),
    "avg_pool2d": (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 1, 2, 2), (1, 1, 2, 2), "VALID") / 4,
        IMAGE,
    ),
    "avgpool": node("AvgPool", [IMAGE], (2, 2), (2, 2), "VALID", "NCHW", results=[_x(1, 4, 4, 4)]),
    "batchmatmul_t": node(
        "BatchMatMul", [_x(5, 2, 3), _x(5, 4, 3)], False, True, results=[_x(5, 2, 4)]
    ),
    "batchnorm": node(
        "BatchNorm", [IMAGE, *[_x(4)] * 4], False, 1e-5, 0.1, "NCHW",
        results=[IMAGE, *[_x(4)] * 4],
    ),
    "bitand": (lax.bitwise_and, N, N),
    "bitxor": (lax.bitwise_xor, N, N),
    "bmm": (jnp.matmul, _x(5, 2, 3), _x(5, 3, 4)),
    "broadcast_to": (lambda x: jnp.broadcast_to(x, (4, 2, 3)), X),
    "cast_bf16": (lambda x: x.astype(jnp.bfloat16), X),
    "cast_bool": node("Cast", [X], np.dtype(bool), results=[B]),
    "cast_i32": (lambda x: x.astype(np.int32), X),
    "ceil": (lax.ceil, X),
    "complex": (lax.complex, X, X),
    "concat": (lambda x, y: jnp.concatenate([x, y], 1), X, X),
    "conj": (lax.conj, C),
    "conv2d": (_convolution(2), IMAGE, _x(6, 4, 3, 3)),
    "conv2d_group": (_convolution(groups=2), IMAGE, _x(4, 2, 3, 3)),
    "conv2d_same": (_convolution(padding="SAME"), IMAGE, _x(6, 4, 3, 3)),
    "conv2d_t": (
        lambda x, w: lax.conv_transpose(
            x, w, (2, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")
        ),
        _x(1, 6, 8, 8), _x(4, 6, 3, 3),
    ),
    "conv3d": (
        lambda x, w: lax.conv_general_dilated(x, w, (1, 1, 1), "SAME"),
        _x(1, 4, 4, 8, 8), _x(6, 4, 3, 3, 3),
    ),
    "cos": (lax.cos, X),
    "cosh": (lax.cosh, X),
    "cummax": (lambda x: lax.cummax(x, 1), X),
    "cumprod": (lambda x: lax.cumprod(x, 1), X),
    "cumsum": (lambda x: lax.cumsum(x, 1), X),
    "digamma": (lax.digamma, X),
    "div": node("Div", [X, X]),
    "dwconv": (_convolution(groups=4), IMAGE, _x(4, 1, 3, 3)),
    "equal": (lax.eq, X, X),
    "erf": (lax.erf, X),
    "erfc": (lax.erfc, X),
    "erfinv": (lax.erf_inv, X),
    "exp": (lax.exp, X),
    "expand_dims": node("ExpandDims", [X], 0, results=[_x(1, 2, 3)]),
    "expm1": (lax.expm1, X),
    "fill": node("Add", [X], np.full((2, 3), 1.5, F32)),
    "flip": (lambda x: jnp.flip(x, 1), X),
    "flip2": (lambda x: jnp.flip(x, 0), X),
    "floor": (lax.floor, X),
    "floor_divide": node("FloorDiv", [X, X]),
    "gather": node("Gather", [X, _x(4, dtype=I32)], 0, 0, results=[_x(4, 3)]),
    "gather_elements": node("GatherD", [X], 1, _x(2, 2, dtype=I32), results=[_x(2, 2)]),
    "gather_nd": node("GatherNd", [X, _x(2, 2, dtype=I32)], results=[_x(2)]),
    "gelu": (lambda x: jax.nn.gelu(x, approximate=False), X),
    "getitem": node(
        "StridedSlice", [X], (0, 1), (0, 0), (1, 1), 1, 3, 0, 0, 0, results=[_x(2, 2)]
    ),
    "greater": (lax.gt, X, X),
    "greater_equal": (lax.ge, X, X),
    "identity": node("Identity", [X]),
    "isfinite": (lax.is_finite, X),
    "isnan": node("IsNan", [X], results=[B]),
    "layernorm": node(
        "LayerNorm", [X, _x(3), _x(3)], -1, -1, 1e-5, results=[X, _x(2, 1), _x(2, 1)]
    ),
    "less": (lax.lt, X, X),
    "less_equal": (lax.le, X, X),
    "lgamma": (lax.lgamma, X),
    "log": (lax.log, X),
    "log1p": (lax.log1p, X),
    "log_softmax": node("LogSoftmax", [X], -1),
    "logical_and": (lax.bitwise_and, B, B),
    "logical_not": (lax.bitwise_not, B),
    "logical_or": (lax.bitwise_or, B, B),
    "logical_xor": (lax.bitwise_xor, B, B),
    "maximum": (lax.max, X, X),
    "maxpool": (_pool, IMAGE),
    "maxpool3d": (_pool3d, _x(1, 4, 4, 8, 8)),
    "minimum": (lax.min, X, X),
    "mul": (lax.mul, X, X),
    "neg": (lax.neg, X),
    "not_equal": (lax.ne, X, X),
    "one_hot": node(
        "OneHot", [_x(4, dtype=I32)], 5, np.array(1, F32), np.array(0, F32), -1, results=[_x(4, 5)]
    ),
    "pad": (lambda x: jnp.pad(x, ((0, 0), (1, 2)), constant_values=1.5), X),
    "padv3": (lambda x: jnp.pad(x, (1, 2)), _x(3)),
    "pow": (lax.pow, X, X),
    "range": node("Add", [X], np.arange(3, dtype=F32)),
    "real": (lax.real, C),
    "realdiv": (lax.div, X, X),
    "reduce_all": (lambda x: x.all(1), B),
    "reduce_any": (lambda x: x.any(1), B),
    "reduce_max": (lambda x: x.max(1), X),
    "reduce_mean": node("ReduceMean", [X], (1,), False, results=[_x(2)]),
    "reduce_min": (lambda x: x.min(1), X),
    "reduce_prod": (lambda x: x.prod(1), X),
    "reduce_sum": (lambda x: x.sum(1), X),
    "relu": (jax.nn.relu, X),
    "rem_mod": node("Mod", [X, X]),
    "remainder": (jnp.remainder, X, X),
    "reshape": (lambda x: x.reshape(3, 2), X),
    "rint": (jnp.rint, X),
    "round": node("Round", [X], 0),
    "rsqrt": (lax.rsqrt, X),
    "scatter_nd": node("ScatterNd", [*_POINTS[1:]], (2, 3), results=[X]),
    "select": (lax.select, B, X, X),
    "shl": (lax.shift_left, N, N),
    "sigmoid": (jax.nn.sigmoid, X),
    "sign": (lax.sign, X),
    "silu": (jax.nn.silu, X),
    "sin": (lax.sin, X),
    "sinh": (lax.sinh, X),
    "slice": (lambda x: lax.slice(x, (0, 1), (2, 3)), X),
    "softmax": node("Softmax", [X], -1),
    "sort": node("Sort", [X], axis=1, descending=False, results=[X, N]),
    "split": (lambda x: jnp.split(x, 2), X),
    "sqrt": (lax.sqrt, X),
    "square": (lax.square, X),
    "squeeze": (lambda x: x[0], _x(1, 3)),
    "stack": node("Stack", [(X, X)], axis=0, results=[_x(2, 2, 3)]),
    "stopgrad": (lambda x: lax.stop_gradient(x + 1), X),
    "strided_slice": (lambda x: x[:, ::2], X),
    "sub": (lax.sub, X, X),
    "tan": (lax.tan, X),
    "tanh": (lax.tanh, X),
    "tensor_scatter_add": node("TensorScatterAdd", _POINTS),
    "tensor_scatter_elements": node(
        "TensorScatterElements", [X, _x(2, 2, dtype=I32), _x(2, 2)], 1, "none", results=[X]
    ),
    "tensor_scatter_update": node("TensorScatterUpdate", _POINTS),
    "tile": (lambda x: jnp.tile(x, (2, 1)), X),
    "topk": (lambda x: lax.top_k(x, 2), X),
    "transpose": (lambda x: x.T, X),
    "trunc": node("Trunc", [X]),
    "truncmod": (lax.rem, X, X),
    "where": (jnp.where, B, X, X),
    "zeros_like": (jnp.zeros_like, X),
}  # fmt: skip

#: Networks that we write otherwise, and why.
DIFFERENCES: dict[str, str] = {
    "Pad": "PadV3 for all values, where Pad knows zeros only",
    "addn": "N is how many there are, which the prototype demands; MindSpore leaves it out",
    "avg_pool2d": "its ops.avg_pool2d pools a volume of depth 1; JAX's sum of windows is AvgPool",
    "batchnorm": "the last result, which nobody uses, is described with the shape that GE gives it",
    "concat": "ConcatV2 takes the axis as int64, too, and N is how many there are, not 1",
    "conv2d_same": "the same paddings in numbers; GE's Conv2D has no attribute 'padding'",
    "conv2d_t": "JAX's transposed convolution is a convolution of a spread tensor",
    "div": "Div leaves open how integers are divided: RealDiv, TruncateDiv",
    "gelu": "its ops.gelu has erf, JAX's has erfc",
    "layernorm": "MindSpore's LayerNorm, its nn.LayerNorm is the operator LayerNormExt",
    "lgamma": "Lgamma is GE's own, CustLgamma is of a package of MindSpore's",
    "logical_xor": "NotEqual is GE's own, CustLogicalXor is of a package of MindSpore's",
    "maxpool3d": "windows of three axes are maxima of slices",
    "pad": "paddings of all axes, without which GE's infer-shape refuses it",
    "real": "Real is GE's own, CustReal is of a package of MindSpore's",
    "rem_mod": "TruncateMod is certain to have the sign of the dividend",
    "remainder": "JAX's remainder corrects the sign of rem; x - floor(x / y) * y rounds otherwise",
    "select": "SelectV2 broadcasts the condition",
    "sort": "JAX's sort is stable",
    "stack": "N is how many there are, not 1",
    "topk": "of equal elements the first, as in JAX: a stable Sort and its begin",
    "where": "SelectV2 broadcasts the condition",
}

"""Rows of :mod:`msckpt_jax.air.rows` for matrices and Fourier transforms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from msckpt_jax.air.rows.row import PROTOTYPE, Adapt, Arg, Attr, Row, given, row
from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Tensor, Value


def _triangular_solve(emit: Any, node: Node) -> None:
    if given(node, 2) and np.issubdtype(emit.type(node.inputs[0]).dtype, np.complexfloating):
        raise emit.refuse(node, "transposes complex matrices")
    attributes = {"lower": given(node, 3), "adjoint": bool(given(node, 2))}
    matrix, right = node.inputs[:2]
    if given(node, 4):  # a unit diagonal, whatever is there
        dtype, shape = emit.type(matrix)
        if not isinstance(shape[-1], int):
            raise emit.refuse(node, "takes matrices of a dynamic size")
        ones = [np.eye(shape[-1], dtype=bool), np.ones((), dtype)]
        matrix = emit.value("SelectV2", [*ones, matrix], dtype, shape)
    emit("MatrixTriangularSolve", [matrix, right], node.outputs, attributes)


def _cholesky(emit: Any, node: Node) -> None:
    if given(node, 1):
        raise emit.refuse(node, "gives the upper triangle")
    emit("Cholesky", [node.inputs[0]], node.outputs)


def _fft(kind: str) -> Adapt:
    """Transform the axes one after the other, each as the last: GE transforms no other axis."""
    whole = {"RFFT": "FFT", "IRFFT": "IFFT"}.get(kind, kind)

    def adapt(emit: Any, node: Node) -> None:
        lengths, axes, norm = (given(node, at) for at in (1, 2, 3))
        if not lengths or not axes or norm is not None:
            raise emit.refuse(node, "has no lengths and axes, or has a norm")
        *rest, last = zip(axes, lengths, strict=True)
        steps = [(whole, *step) for step in rest]
        steps.insert(len(steps) if kind == "IRFFT" else 0, (kind, *last))
        out = node.inputs[0]
        for step in steps:
            out = _transformed(emit, node, out, *step)
        emit.becomes(node.outputs[0], out)

    return adapt


def _transformed(emit: Any, node: Node, x: Any, kind: str, axis: int, length: int) -> Any:
    """``x`` transformed along one axis."""
    dtype, shape = emit.type(x)
    size = length // 2 + 1 if kind == "IRFFT" else length
    if shape[axis] != size:
        raise emit.refuse(node, f"has length {length} over {shape[axis]} elements")
    turn = [*range(len(shape))]
    turn[axis], turn[-1] = turn[-1], turn[axis]
    x = emit.transpose(x, turn)
    whole = [*emit.type(x).shape[:-1], length // 2 + 1 if kind == "RFFT" else length]
    kinds = {"RFFT": np.result_type(dtype, np.complex64), "IRFFT": np.empty(0, dtype).real.dtype}
    operands = [x, *([np.array([length], np.int32)] if kind in kinds else [])]
    out = emit.value(kind, operands, kinds.get(kind, dtype), whole)
    return emit.transpose(out, turn)


def _svd(emit: Any, node: Node) -> None:
    """GE gives one dtype to all results, of complex matrices complex singular values."""
    values, *vectors = node.outputs
    dtype = emit.type(node.inputs[0]).dtype
    flags = {"full_matrices": given(node, 1), "compute_uv": given(node, 2)}
    if values.type.dtype == dtype:
        emit("Svd", [node.inputs[0]], node.outputs, flags)
        return
    sigma = Value(Tensor(dtype, values.type.shape))
    turned = [Value(Tensor(dtype, vector.type.shape)) for vector in vectors]
    emit("Svd", [node.inputs[0]], [sigma, *turned], flags)
    emit("Real", [sigma], [values], {"Tout": values.type.dtype})
    for vector, value in zip(vectors, turned, strict=True):
        emit.becomes(vector, value)


def _lu(emit: Any, node: Node) -> None:
    """GE gives the permutation as a vector, MindSpore as a matrix with ones in its columns."""
    packed, pivots, matrix = node.outputs
    size, whole = matrix.type.shape[-1], matrix.type.dtype
    if not isinstance(size, int):
        raise emit.refuse(node, "takes matrices of a dynamic size")
    order = Value(Tensor(np.dtype(np.int32), matrix.type.shape[:-1]))
    emit("Lu", [node.inputs[0]], [packed, order], {"output_idx_type": np.dtype(np.int32)})
    ones = [np.array(size, np.int32), np.array(1, whole), np.array(0, whole)]
    emit("OneHot", [order, *ones], [matrix], {"axis": len(order.type.shape) - 1})
    if pivots in emit.used:
        shape = tuple(dim for dim in pivots.type.shape if isinstance(dim, int))
        if len(shape) < len(pivots.type.shape):
            raise emit.refuse(node, "has dynamic sizes, and its pivots are used")
        _pivots(emit, order, pivots, shape)


def _pivots(emit: Any, order: Value, pivots: Value, shape: tuple[int, ...]) -> None:
    """Emit the exchanges, one row after the other, that lead from 0, 1, 2, ... to an order.

    A row is exchanged with the place where its number is at that time.
    """
    dtype, column, flags = order.type.dtype, (*shape[:-1], 1), np.dtype(bool)
    last = np.array(-1, np.int64)
    rows = np.arange(shape[-1], dtype=dtype)
    now: Any = np.broadcast_to(rows, shape)
    exchanges = []
    for step in range(shape[-1]):
        where = [np.array([step], np.int64), last]
        wanted = emit.value("GatherV2", [order, *where], dtype, column, batch_dims=0)
        here = emit.value("GatherV2", [now, *where], dtype, column, batch_dims=0)
        there = emit.value("Equal", [now, wanted], flags, shape)
        place = emit.value("SelectV2", [there, rows, np.array(0, dtype)], dtype, shape)
        along = [place, last[None]]
        exchanges.append(emit.value("ReduceSum", along, dtype, column, keep_dims=True))
        now = emit.value("SelectV2", [there, here, now], dtype, shape)
        now = emit.value("SelectV2", [rows == step, wanted, now], dtype, shape)
    emit("ConcatV2", [exchanges, last.astype(np.int32)], [pivots], {"N": len(exchanges)})


#: MindSpore's operator -> its row.
LINEAR_ALGEBRA: Mapping[str, Row] = {
    "Cholesky": Row(_cholesky, ("Cholesky",), PROTOTYPE),
    **{f"{k}N": Row(_fft(k), (k,), PROTOTYPE) for k in ("FFT", "IFFT", "RFFT", "IRFFT")},
    "LU": Row(_lu, ("Lu", "OneHot", "GatherV2", "Equal", "SelectV2", "ReduceSum", "ConcatV2"),
              PROTOTYPE),
    "MatrixDeterminant": row("MatrixDeterminant"),
    "MatrixInverse": row("MatrixInverse", adjoint=Attr("adjoint", default=False)),
    "Qr": row("Qr", 0, full_matrices=Arg(1)),
    "SelfAdjointEig": row("SelfAdjointEig", 0, compute_v=Attr("compute_v", default=True),
                          evidence=PROTOTYPE),
    "SolveTriangular": Row(
        _triangular_solve, ("MatrixTriangularSolve", "SelectV2"), PROTOTYPE
    ),
    "Svd": Row(_svd, ("Svd",), attributes={"full_matrices": Arg(1), "compute_uv": Arg(2)}),
}  # fmt: skip

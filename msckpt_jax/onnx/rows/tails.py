"""Functions whose point is a small result: spelt so that nothing cancels.

onnxruntime's Sigmoid is the same below -18, and 1 - Erf is 0 from 6 on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Tensor, Value
from msckpt_jax.lowering.algorithms.elementary import complement
from msckpt_jax.onnx.builder import Builder
from msckpt_jax.onnx.rows.operands import BOOL, Row, scalar, type_of, widened


def _rsqrt(b: Builder, node: Node) -> Value:
    root = b("Sqrt", node.inputs[0], type=type_of(node))
    return b("Reciprocal", root, type=type_of(node))


def _expm1(b: Builder, node: Node) -> Value:
    """tanh(x/2) (exp(x) + 1), which keeps the digits that exp(x) - 1 cancels."""
    t, x = type_of(node), node.inputs[0]
    half = b("Tanh", b("Mul", x, scalar(0.5, t.dtype), type=t), type=t)
    return b("Mul", half, b("Add", b("Exp", x, type=t), scalar(1, t.dtype), type=t), type=t)


def _log1p(b: Builder, node: Node) -> Value:
    """log(u) x / (u - 1) with u = 1 + x rounded, which corrects the rounding.

    The operand passes through no Where, which makes 0 of -0 in onnxruntime; samplers divide by it.
    """
    t, x = type_of(node), node.inputs[0]
    unit, most = scalar(1, t.dtype), scalar(jnp.finfo(t.dtype).max, t.dtype)
    u = b("Add", x, unit, type=t)
    tiny = b("Equal", u, unit, type=Tensor(BOOL, t.shape))
    log = b("Where", tiny, unit, b("Log", u, type=t), type=t)
    rest = b("Where", tiny, unit, b("Sub", u, unit, type=t), type=t)
    finite = [b("Min", part, most, type=t) for part in (x, rest)]  # infinity by infinity is NaN
    return b("Mul", log, b("Div", *finite, type=t), type=t)


def _one_and_exp(b: Builder, t: Tensor, x: Any) -> Value:
    """1 + exp(-x)."""
    return b("Add", b("Exp", b("Neg", x, type=t), type=t), scalar(1, t.dtype), type=t)


def _sigmoid(b: Builder, node: Node) -> Value:
    t, x = type_of(node), node.inputs[0]
    return b("Reciprocal", _one_and_exp(b, t, x), type=t)


def _silu(b: Builder, node: Node) -> Value:
    t, x = type_of(node), node.inputs[0]
    return b("Div", x, _one_and_exp(b, t, x), type=t)


#: The degree of the polynomial for erfc in float32; float64 has a rewrite of its own.
_DEGREE = 16


def _erfc(b: Builder, node: Node) -> Value:
    """T exp(p(t) - x²) with t = 2 / (2 + |x|), and 1 - erf(x) near 0."""
    t, x = type_of(node), node.inputs[0]
    unit, two = scalar(1, t.dtype), scalar(2, t.dtype)

    def f(op: str, *operands: Any) -> Value:
        return b(op, *operands, type=t)

    def where(chosen: Value, then: Any, otherwise: Any) -> Value:
        return b("Where", chosen, then, otherwise, type=t)

    def less(left: Any, right: Any) -> Value:
        return b("Less", left, right, type=Tensor(BOOL, t.shape))

    size = f("Min", f("Abs", x), scalar(1e3, t.dtype))
    place = f("Div", two, f("Add", size, two))
    power = _chebyshev(f, complement(_DEGREE), f("Sub", f("Mul", place, two), unit), t.dtype)
    far = f("Mul", place, f("Exp", f("Sub", power, f("Mul", size, size))))
    far = where(less(x, scalar(0, t.dtype)), f("Sub", two, far), far)
    return where(less(size, scalar(0.5, t.dtype)), f("Sub", unit, f("Erf", x)), far)


def _chebyshev(f: Any, coefficients: np.ndarray, at: Value, dtype: np.dtype) -> Value:
    """The sum of Chebyshev's polynomials, by Clenshaw's recurrence."""
    twice = f("Mul", at, scalar(2, dtype))
    lowest, *rest = (dtype.type(c) for c in coefficients)
    last, before = rest[-1], rest[-2]
    first, second = f("Add", f("Mul", twice, scalar(last, dtype)), scalar(before, dtype)), None
    for c in rest[-3::-1]:
        # The step of two known numbers is known: a node would be said to give an array.
        known = scalar(c - last if second is None else c, dtype)
        step = known if second is None else f("Sub", known, second)
        first, second = f("Add", f("Mul", twice, first), step), first
    assert second is not None
    return f("Add", f("Mul", at, first), f("Sub", scalar(lowest, dtype), second))


_EXPANDED: Mapping[str, Row] = {
    "Erfc": _erfc,
    "Expm1": _expm1,
    "Log1p": _log1p,
    "Rsqrt": _rsqrt,
    "SiLU": _silu,
    "Sigmoid": _sigmoid,
}
ROWS: Mapping[str, Row] = {name: widened(row) for name, row in _EXPANDED.items()}

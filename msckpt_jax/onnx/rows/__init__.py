"""MindSpore's operators as ONNX's: one row each.

A row is a function ``row(b, node)``: it adds ONNX nodes by calling the builder and returns the
node's results. Operands go by their position in MindSpore's definition. Where ONNX has no operator
(Expm1, Rsqrt, cumulative products, arithmetic shifts, …) a row adds a few operators that it has.
"""

from __future__ import annotations

from collections.abc import Mapping

from msckpt_jax.onnx.rows import indices, networks, numbers, reductions, shapes, tails
from msckpt_jax.onnx.rows.operands import Row

#: MindSpore's operator -> its row. Control flow is in ``adapt``.
ROWS: Mapping[str, Row] = {
    **numbers.ROWS,
    **reductions.ROWS,
    **shapes.ROWS,
    **indices.ROWS,
    **networks.ROWS,
    **tails.ROWS,
}

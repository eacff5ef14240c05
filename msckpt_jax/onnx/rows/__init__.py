"""MindSpore's operators as ONNX's: one rule each.

A rule is ``rule(b, node)``: it adds ONNX nodes by calling the builder and returns the node's
results. Operands are meant by their position in MindSpore's definition. Where ONNX has no operator
(Expm1, Rsqrt, cumulative products, arithmetic shifts, …) the rule is a few that are there.
"""

from __future__ import annotations

from collections.abc import Mapping

from msckpt_jax.onnx.rows import indices, networks, numbers, reductions, shapes
from msckpt_jax.onnx.rows.operands import Rule

#: MindSpore's operator -> its rule. Control flow is in ``adapt``.
ADAPTERS: Mapping[str, Rule] = {
    **numbers.RULES,
    **reductions.RULES,
    **shapes.RULES,
    **indices.RULES,
    **networks.RULES,
}

"""The nodes that made the values of a graph, by which rules see what their operands are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Const, Parameter, Value

#: Operators whose results are parts of their operands, in order.
_PARTS = ("Slice", "Reshape")


class Made:
    """The nodes of a graph under construction, by their results."""

    def __init__(self) -> None:
        self._nodes: dict[Value, Node] = {}

    def note(self, outputs: Sequence[Value], node: Node) -> None:
        self._nodes.update(dict.fromkeys(outputs, node))

    def untransposed(self, x: Any) -> Value | None:
        """The weight, or the part of one, of whose matrices ``x`` has the transposes, or None."""
        node, source = self._maker(x)
        if node is None or node.op != "Transpose":
            return None
        whole = source
        while (part := self._maker(whole))[0] is not None and part[0].op in _PARTS:
            whole = part[1]
        if not isinstance(whole, Parameter):
            return None
        rank = len(x.type.shape)
        swap = (*range(rank - 2), rank - 1, rank - 2)
        return source if node.inputs[1] == tuple(map(Const, swap)) else None

    def _maker(self, x: Any) -> tuple[Node | None, Any]:
        """The node that made a value, and its first operand, without the casts of a kernel."""
        node, source = self._node(x)
        if node is None or node.op != "Cast" or not isinstance(source, Value):
            return node, source
        inner, operand = self._node(source)
        before, operand = self._node(operand)
        if before is None or before.op != "Cast" or operand.type.dtype != x.type.dtype:
            return node, source
        wide = source.type.dtype == jnp.promote_types(x.type.dtype, source.type.dtype)
        return (inner, operand) if wide else (node, source)

    def _node(self, x: Any) -> tuple[Node | None, Any]:
        """The node that made a value, and its first operand."""
        node = self._nodes.get(x) if isinstance(x, Value) else None
        return node, None if node is None else node.inputs[0]

"""Facts about the nodes of a graph, for what looks for operators in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from msckpt_jax.onnx.tidy import uses


class Facts(NamedTuple):
    """Facts about nodes: the maker of a name, how often it is taken, its shape, constants."""

    made: Mapping[str, NodeProto]
    taken: Counter[str]
    shapes: Mapping[str, Sequence[Any]]
    constants: Mapping[str, TensorProto]

    @classmethod
    def of(
        cls,
        nodes: Sequence[NodeProto],
        shapes: Mapping[str, Sequence[Any]],
        constants: Sequence[TensorProto],
    ) -> Facts:
        made = {name: node for node in nodes for name in node.output}
        return cls(made, uses(nodes), shapes, {tensor.name: tensor for tensor in constants})

    def maker(self, name: str, op: str) -> NodeProto | None:
        """The node of kind ``op`` that computes a name for a single taker, or None."""
        node = self.made.get(name)
        return node if node is not None and node.op_type == op and self.taken[name] == 1 else None

    def before_reshape(self, name: str) -> str:
        node = self.maker(name, "Reshape")
        if node is None or not self.alike(node.input[0], name):
            return name
        return self.before_reshape(node.input[0])

    def alike(self, left: str, right: str) -> bool:
        """Tell whether shapes are known and equal, apart from axes of size 1."""
        return self.long(left) == self.long(right) and None not in self.long(left)

    def long(self, name: str) -> list[Any]:
        return [n for n in self.shapes.get(name, ()) if n != 1]

    def constant(self, name: str) -> np.ndarray | None:
        """A constant before it is expanded or reshaped, or None."""
        node = self.made.get(name)
        if node is not None and node.op_type in ("Expand", "Reshape"):
            return self.constant(node.input[0])
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def number(self, name: str) -> float | None:
        """The number that a constant repeats, or None."""
        values = np.unique(array) if (array := self.constant(name)) is not None else ()
        return float(values[0]) if len(values) == 1 else None

    def chooses(self, name: str) -> bool:
        """Tell whether a mask is known to choose at least one score of each row."""
        mask = self.constant(name)
        if mask is None or mask.shape[-1:] != tuple(self.shapes[name][-1:]):
            return False
        return bool(mask.any(-1).all())

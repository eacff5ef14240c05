"""ONNX's Attention in the place of the nodes that compute the same, where the opset has it.

    s = MatMul(q, Transpose(k)); t = Softmax(Where(mask, Mul(s, scale), lowest)); y = MatMul(t, v)
    y = Attention[scale](q, k, v, Where(mask, 0, lowest))

A score is lost in the sum with the lowest number: masked scores are that number in both, and a row
that is masked altogether is uniform in both. Reshapes may add and drop axes of size 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import helper, numpy_helper

from msckpt_jax.onnx.tidy import uses

#: The first opset that has it.
OPSET = 23
#: Scores are lost in a sum with such a number.
_LOW = -1e38


class _Graph(NamedTuple):
    """What is known of the nodes: who computes a name, how often it is taken, shapes, constants."""

    made: Mapping[str, Any]
    taken: Counter[str]
    shapes: Mapping[str, Sequence[Any]]
    constants: Mapping[str, Any]

    def maker(self, name: str, op: str) -> Any:
        """The node of that kind that computes a name for one other alone, or None."""
        node = self.made.get(name)
        return node if node is not None and node.op_type == op and self.taken[name] == 1 else None

    def before_reshape(self, name: str) -> str:
        node = self.maker(name, "Reshape")
        if node is None or self.long(node.input[0]) != self.long(name):
            return name
        return self.before_reshape(node.input[0])

    def long(self, name: str) -> list[Any]:
        return [n for n in self.shapes.get(name, ()) if n != 1]

    def number(self, name: str) -> float | None:
        """The one number of a constant, also of one that is expanded."""
        node = self.made.get(name)
        if node is not None and node.op_type in ("Expand", "Reshape"):
            return self.number(node.input[0])
        tensor = self.constants.get(name)
        values = None if tensor is None else np.unique(numpy_helper.to_array(tensor))
        return float(values[0]) if values is not None and values.size == 1 else None


class _Found(NamedTuple):
    """``where`` chooses between ``lowest`` and the scores, ``added`` is added to them."""

    operands: list[str]
    scale: float
    where: str = ""
    lowest: float = 0.0
    added: str = ""


def attentions(
    nodes: list[Any],
    shapes: Mapping[str, Sequence[Any]],
    single: Collection[str],
    constants: Sequence[Any],
    constant: Callable[[Any], str],
    new: Callable[[str], str],
) -> list[Any]:
    """The nodes with Attention; what it replaces is left, for others may take it.

    Args:
        nodes: of a graph, in order.
        shapes: by name.
        single: names of what is float32.
        constants: the initializers that are known.
        constant: gives the name of a constant.
        new: gives a new name.
    """
    made = {name: node for node in nodes for name in node.output}
    graph = _Graph(made, uses(nodes), shapes, {tensor.name: tensor for tensor in constants})
    done = []
    for node in nodes:
        product = node.op_type == "MatMul" and node.output[0] in single
        found = _found(graph, node) if product else None
        if found is None:
            done.append(node)
            continue
        name, operands = node.output[0], found.operands
        sizes = [*shapes[operands[0]][:3], shapes[operands[2]][2]]
        mask = new(f"{name}_mask") if found.where or found.added else ""
        if found.where:
            added, shape = new(f"{name}_added"), constant(np.array(sizes, np.int64))
            numbers = [constant(np.array(n, np.float32)) for n in (0, found.lowest)]
            done.append(helper.make_node("Where", [found.where, *numbers], [added], name=added))
            done.append(helper.make_node("Reshape", [added, shape], [mask], name=mask))
        elif found.added:  # onnxruntime repeats a mask along the first two axes only
            shape = constant(np.array([1, 1, *sizes[2:]], np.int64))
            done.append(helper.make_node("Expand", [found.added, shape], [mask], name=mask))
        operands = [*operands, mask] if mask else operands
        done.append(helper.make_node("Attention", operands, [name], name=name, scale=found.scale))
    return done


def _found(graph: _Graph, node: Any) -> _Found | None:
    softmax = graph.maker(graph.before_reshape(node.input[0]), "Softmax")
    shape = graph.shapes.get(node.output[0], ())
    if softmax is None or len(shape) != 4 or not all(isinstance(n, int) for n in shape):
        return None
    scores = softmax.input[0]
    if helper.get_node_attr_value(softmax, "axis") not in (-1, len(graph.shapes[scores]) - 1):
        return None
    found = _masked(graph, graph.before_reshape(scores))
    if found is None:
        return None
    name, mask = found
    name, scale = _scaled(graph, graph.before_reshape(name))
    product = graph.maker(name, "MatMul")
    if product is None or scale is None or len(graph.shapes[name]) != 4:
        return None
    turned = graph.maker(product.input[1], "Transpose")
    if turned is None or list(turned.attribute[0].ints) != [0, 1, 3, 2]:
        return None
    if graph.shapes[name][-1] != graph.shapes[scores][-1]:
        return None
    return _Found([product.input[0], turned.input[0], node.input[1]], scale, **mask)


def _masked(graph: _Graph, name: str) -> tuple[str, dict[str, Any]] | None:
    """The scores, and how they are masked; None if not as Attention can."""
    where, add = graph.maker(name, "Where"), graph.maker(name, "Add")
    if where is not None:
        lowest = graph.number(where.input[2])
        if graph.long(where.input[0]) != graph.long(name) or lowest is None or lowest > _LOW:
            return None
        return where.input[1], {"where": where.input[0], "lowest": lowest}
    if add is not None:
        if any(len(graph.shapes.get(operand, ())) != 4 for operand in add.input):
            return None
        return add.input[0], {"added": add.input[1]}
    return name, {}


def _scaled(graph: _Graph, name: str) -> tuple[str, float | None]:
    """The product of query and key, and by what it is multiplied."""
    times, over = graph.maker(name, "Mul"), graph.maker(name, "Div")
    if times is not None:
        return graph.before_reshape(times.input[0]), graph.number(times.input[1])
    if over is not None:
        number = graph.number(over.input[1])
        return graph.before_reshape(over.input[0]), 1 / number if number else None
    return name, 1.0

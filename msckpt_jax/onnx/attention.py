"""ONNX's Attention in the place of the nodes that compute the same, where the opset has it.

    s = MatMul(q, Transpose(k)); t = Softmax(Where(mask, Mul(s, scale), lowest)); y = MatMul(t, v)
    y = Attention[scale](q, k, v, Where(mask, 0, lowest))

A score is lost in the sum with a very low number: masked scores weigh nothing in both forms, and a
row that is masked altogether is uniform in both. onnxruntime leaves out scores that are -inf or the
lowest float32, and gives 0 for a row of such scores: no mask that is added is as low. Reshapes may
add and drop axes of size 1. Sizes may be dynamic.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto, helper

from msckpt_jax.onnx.facts import Facts

#: The first opset that has Attention.
OPSET = 23
#: A number that weighs nothing in the place of a score.
_LOW = -1e9
#: The number that is added to a score to mask it; the score is lost in the sum.
_LOWEST = np.float32(-0.7) * np.finfo(np.float32).max


class _Match(NamedTuple):
    """The operands of an Attention; ``mask`` is added to scores, or ``chooses`` them by bools."""

    operands: list[str]
    scale: float
    mask: str = ""
    #: The sizes of the mask along the four axes of the scores, 1 where it is repeated.
    sizes: Sequence[Any] = ()
    chooses: bool = False


class _Nodes:
    """Nodes in the place of matches.

    Args:
        shapes: the shapes of values by name.
        constant: gives the name of a constant.
        new: gives a new name.
    """

    def __init__(
        self,
        shapes: Mapping[str, Sequence[Any]],
        constant: Callable[[np.ndarray], str],
        new: Callable[[str], str],
    ):
        self.shapes, self.constant, self.new = shapes, constant, new
        self.nodes: list[NodeProto] = []

    def attention(self, name: str, match: _Match) -> None:
        operands = list(match.operands)
        if match.mask:
            operands.append(self._mask(f"{name}_mask", match))
        self.nodes.append(
            helper.make_node("Attention", operands, [name], name=name, scale=match.scale)
        )

    def _mask(self, hint: str, match: _Match) -> str:
        """The mask of four axes that is added to the scores."""
        zero, lowest = (self.constant(np.array(n, np.float32)) for n in (0, _LOWEST))
        mask = (
            self._node("Where", hint, [match.mask, zero, lowest])
            if match.chooses
            else self._node("Max", hint, [match.mask, lowest])
        )
        query, _, value = match.operands
        places = {self.shapes[value][2]: (value, 2)}
        places |= {size: (query, axis) for axis, size in enumerate(self.shapes[query][:3])}
        if list(self.shapes[match.mask]) != list(match.sizes):
            mask = self._node("Reshape", hint, [mask, self._vector(hint, match.sizes, places)])
        scores = self.shapes[query][2], self.shapes[value][2]
        if tuple(match.sizes[2:]) != scores:  # onnxruntime repeats it along the first axes only
            sizes = self._vector(hint, (1, 1, *scores), places)
            mask = self._node("Expand", hint, [mask, sizes])
        return mask

    def _vector(self, hint: str, sizes: Sequence[Any], places: Mapping[Any, Any]) -> str:
        """Sizes as a tensor; dynamic sizes are read from operands."""
        if all(isinstance(size, int) for size in sizes):
            return self.constant(np.array(sizes, np.int64))
        parts = [
            self.constant(np.array([size], np.int64)) if isinstance(size, int)
            else self._node("Shape", f"{hint}_size", [places[size][0]],
                            start=places[size][1], end=places[size][1] + 1)
            for size in sizes
        ]  # fmt: skip
        return self._node("Concat", f"{hint}_sizes", parts, axis=0)

    def _node(self, op: str, hint: str, operands: Sequence[str], **attributes: Any) -> str:
        name = self.new(hint)
        self.nodes.append(helper.make_node(op, operands, [name], name=name, **attributes))
        return name


def attentions(
    nodes: list[NodeProto],
    shapes: Mapping[str, Sequence[Any]],
    single: Collection[str],
    constants: Sequence[TensorProto],
    constant: Callable[[np.ndarray], str],
    new: Callable[[str], str],
) -> list[NodeProto]:
    """The nodes with Attention; nodes that it replaces stay, as other nodes may take their results.

    Args:
        nodes: the nodes of a graph, in order.
        shapes: the shapes of values by name.
        single: the names of values that are float32.
        constants: the initializers that are known.
        constant: gives the name of a constant.
        new: gives a new name.
    """
    graph = Facts.of(nodes, shapes, constants)
    done = _Nodes(shapes, constant, new)
    for node in nodes:
        product = node.op_type == "MatMul" and node.output[0] in single
        match = _matched(graph, node) if product else None
        if match is None:
            done.nodes.append(node)
        else:
            done.attention(node.output[0], match)
    return done.nodes


def _matched(graph: Facts, node: NodeProto) -> _Match | None:
    softmax = graph.maker(graph.before_reshape(node.input[0]), "Softmax")
    shape = graph.shapes.get(node.output[0], ())
    if softmax is None or len(shape) != 4 or None in shape:
        return None
    scores = softmax.input[0]
    if helper.get_node_attr_value(softmax, "axis") not in (-1, len(graph.shapes[scores]) - 1):
        return None
    candidates = (
        _attention(graph, node, scores, *masked)
        for masked in _masked(graph, graph.before_reshape(scores))
    )
    return next(filter(None, candidates), None)


def _attention(
    graph: Facts, node: NodeProto, scores: str, name: str, mask: str = "", chooses: bool = False
) -> _Match | None:
    """The match, or None; ``name`` names the scores that are not masked yet."""
    whole = graph.shapes.get(name, ())
    name, scale = _scaled(graph, graph.before_reshape(name))
    product = graph.maker(name, "MatMul")
    if product is None or scale is None or len(graph.shapes[name]) != 4:
        return None
    turned = graph.maker(product.input[1], "Transpose")
    if turned is None or list(turned.attribute[0].ints) != [0, 1, 3, 2]:
        return None
    if not graph.alike(name, scores) or graph.shapes[name][-1] != graph.shapes[scores][-1]:
        return None
    operands = [product.input[0], turned.input[0], node.input[1]]
    if any(len(graph.shapes.get(operand, ())) != 4 for operand in operands[::2]):
        return None
    if not mask:
        return _Match(operands, scale)
    given = graph.shapes.get(mask)
    if given is None or None in given or len(given) > len(whole):
        return None
    given = [1] * (len(whole) - len(given)) + list(given)
    rest = iter([size for size, full in zip(given, whole, strict=True) if full != 1])
    sizes = [1 if full == 1 else next(rest) for full in graph.shapes[name]]
    return _Match(operands, scale, mask, sizes, chooses)


def _masked(graph: Facts, name: str) -> Iterator[tuple[Any, ...]]:
    """Candidates for the scores, and how they are masked, if Attention can mask them so."""
    where, add = graph.maker(name, "Where"), graph.maker(name, "Add")
    if where is not None:
        mask, scores, fill = where.input
        lowest = graph.number(fill)
        low = lowest is not None and lowest <= _LOW
        if low and (lowest != -np.inf or graph.chooses(mask)) and graph.alike(scores, name):
            yield scores, mask, True
    elif add is not None:
        for scores, added in (add.input, add.input[::-1]):
            if graph.alike(scores, name):
                yield scores, added
    else:
        yield (name,)


def _scaled(graph: Facts, name: str) -> tuple[str, float | None]:
    """The product of query and key, and the factor by which it is multiplied."""
    times, over = graph.maker(name, "Mul"), graph.maker(name, "Div")
    if times is not None:
        return graph.before_reshape(times.input[0]), graph.number(times.input[1])
    if over is not None:
        number = graph.number(over.input[1])
        return graph.before_reshape(over.input[0]), 1 / number if number else None
    return name, 1.0

"""Norms by the root mean square as one operator, in the place of the nodes that compute the same.

    m = Div(Reshape(ReduceSum(Mul(x, x), -1), [..., 1]), n); r = Reciprocal(Sqrt(Add(m, epsilon)))
    y = Mul(Mul(x, r), scale)        (or y = Div(Mul(scale, x), Sqrt(Add(m, epsilon))))

becomes ``RMSNormalization[epsilon](x, scale)`` where the opset has it. onnxruntime has an operator
of its own, in any opset, for ``x = Add(a, b)`` and the norm of it:

    y, _, _, x = com.microsoft.SkipSimplifiedLayerNormalization[epsilon](a, b, scale)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from onnx import NodeProto, helper

from msckpt_jax.onnx.facts import Facts

#: The first opset that has RMSNormalization.
OPSET = 23
#: The domain of onnxruntime's own operators.
DOMAIN = "com.microsoft"


class _Match(NamedTuple):
    x: str
    scale: str  # a vector
    epsilon: float


def norms(
    nodes: list[NodeProto],
    facts: Facts,
    opset: int,
    single: Collection[str],
    contributed: bool,
) -> list[NodeProto]:
    """The nodes with norms; nodes that these replace stay, as other nodes may take their results.

    Args:
        nodes: the nodes of a graph, in order.
        facts: facts about them.
        opset: the version of ONNX's operators.
        single: the names of values that are float32.
        contributed: take onnxruntime's own operator where it fits.
    """
    matches = {
        node.output[0]: match
        for node in nodes
        if node.output[0] in single and (match := _matched(facts, node))
    }
    skips = {match.x: name for name, match in matches.items() if _skips(facts, match)}
    skips = skips if contributed else {}
    computed = set(skips.values())
    done = []
    for node in nodes:
        name = node.output[0]
        if name in skips:
            done.append(_contributed(node, skips[name], matches[skips[name]]))
        elif name in matches and name not in computed and opset >= OPSET:
            done.append(_standard(name, matches[name]))
        elif name not in computed:
            done.append(node)
    return done


def _standard(name: str, match: _Match) -> NodeProto:
    operands, op = [match.x, match.scale], "RMSNormalization"
    return helper.make_node(op, operands, [name], name=name, axis=-1, epsilon=match.epsilon)


def _contributed(total: NodeProto, name: str, match: _Match) -> NodeProto:
    """The node of a sum and its norm."""
    op, results = "SkipSimplifiedLayerNormalization", [name, "", "", match.x]
    operands = [*total.input, match.scale]
    return helper.make_node(op, operands, results, name=name, domain=DOMAIN, epsilon=match.epsilon)


def _matched(facts: Facts, node: NodeProto) -> _Match | None:
    """The norm that a node ends, or None."""
    return next(filter(None, (_norm(facts, *parts) for parts in _parts(facts, node))), None)


def _parts(facts: Facts, node: NodeProto) -> Iterator[tuple[str, str, str, NodeProto]]:
    """What may be x and the scale, the root or its inverse by name, and the node of the root."""
    for normed, scale in _orders(node, "Mul"):
        product = facts.maker(normed, "Mul")
        for x, inverse in _orders(product, "Mul"):
            over = facts.maker(facts.before_reshape(inverse), "Reciprocal")
            if over is not None and (root := facts.maker(over.input[0], "Sqrt")) is not None:
                yield x, scale, inverse, root
    if node.op_type == "Div":
        divisor, product = node.input[1], facts.maker(node.input[0], "Mul")
        root = facts.maker(facts.before_reshape(divisor), "Sqrt")
        for x, scale in _orders(product, "Mul"):
            if root is not None:
                yield x, scale, divisor, root


def _orders(node: NodeProto | None, op: str) -> list[tuple[str, str]]:
    """Both orders of the operands of a node of kind ``op``."""
    if node is None or node.op_type != op:
        return []
    left, right = node.input
    return [(left, right), (right, left)]


def _norm(facts: Facts, x: str, scale: str, size: str, root: NodeProto) -> _Match | None:
    """The match, or None; ``size`` names the root or its inverse in the shape that x meets."""
    shape = list(facts.shapes.get(x, ()))
    if not shape or not isinstance(shape[-1], int) or shape[-1] == 1:
        return None
    if list(facts.shapes.get(size, ())) != [*shape[:-1], 1]:
        return None
    vector = _vector(facts, scale, shape[-1])
    for mean, number in _orders(facts.maker(root.input[0], "Add"), "Add"):
        epsilon = facts.number(number)
        if epsilon is None or epsilon < 0:  # runtimes take no negative ones
            continue
        if vector is not None and _is_mean(facts, mean, x):
            return _Match(x, vector, epsilon)
    return None


def _is_mean(facts: Facts, name: str, x: str) -> bool:
    """Tell whether a value is the mean of the squares of ``x`` along its last axis."""
    mean = facts.maker(name, "Div")
    if mean is None or facts.number(mean.input[1]) != facts.shapes[x][-1]:
        return False
    total = facts.maker(facts.before_reshape(mean.input[0]), "ReduceSum")
    if total is None or len(total.input) < 2:
        return False
    axes = facts.constant(total.input[1])
    if axes is None or axes.tolist() not in ([-1], [len(facts.shapes[x]) - 1]):
        return False
    square = facts.maker(total.input[0], "Mul")
    return square is not None and list(square.input) == [x, x]


def _vector(facts: Facts, scale: str, size: int) -> str | None:
    """The name of a scale as a vector, if it is one that is given along the last axis, or None."""
    maker = facts.made.get(scale)
    if maker is not None and maker.op_type == "Reshape":
        shape = facts.shapes.get(scale, (None,))
        if shape[-1] != size or any(n != 1 for n in shape[:-1]):
            return None
        scale = maker.input[0]
    return scale if list(facts.shapes.get(scale, ())) == [size] else None


def _skips(facts: Facts, match: _Match) -> bool:
    """Tell whether a norm is of a sum that onnxruntime computes along: two values of one shape."""
    total = facts.made.get(match.x)
    if total is None or total.op_type != "Add" or match.scale in facts.made:
        return False
    shapes = [facts.shapes.get(name) for name in (*total.input, match.x)]
    rank = len(facts.shapes[match.x])
    return rank in (2, 3) and shapes.count(shapes[0]) == 3 and None not in (shapes[0] or (None,))

"""Nodes of a finished graph in a form that runtimes know well, and none too many.

A bias is added to the product before the product gets its shape: runtimes make one operator (Gemm)
of the two. Of several reshapes in a row only the last stays.

    b = MatMul(a, w); c = Reshape(b, s); d = Add(c, Reshape(bias, [1, 1, n]))
    b = MatMul(a, w); c = Add(b, Reshape(bias, [n])); d = Reshape(c, s)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, helper

_Nodes = list[NodeProto]
_Shapes = Mapping[str, Sequence[Any]]
_Arrays = Mapping[str, np.ndarray]
#: Gives the name of a constant, and a new name.
_Constant = Callable[[np.ndarray], str]
_New = Callable[[str], str]


def biases_first(nodes: _Nodes, shapes: _Shapes, constant: _Constant, new: _New) -> _Nodes:
    """The nodes, with vectors added before the reshapes of their products."""
    made = {name: node for node in nodes for name in node.output}
    count = uses(nodes)
    done = []
    for node in nodes:
        late = None
        if node.op_type == "Add":
            for product, bias in (node.input, node.input[::-1]):
                late = late or _biased(node, product, bias, made, count, shapes)
        if late is None:
            done.append(node)
            continue
        reshape, vector, size = late
        flat, total = new(f"{node.output[0]}_bias"), new(f"{node.output[0]}_product")
        done += [
            helper.make_node("Reshape", [vector, constant(np.array([size]))], [flat], name=flat),
            helper.make_node("Add", [reshape.input[0], flat], [total], name=total),
            helper.make_node("Reshape", [total, reshape.input[1]], node.output, name=node.name),
        ]
    return done


def _biased(
    node: NodeProto,
    product: str,
    bias: str,
    made: Mapping[str, NodeProto],
    count: Counter[str],
    shapes: _Shapes,
) -> tuple[NodeProto, str, int] | None:
    """The reshape that can wait, the vector that is added before it, and the vector's size."""
    reshape = made.get(product)
    if reshape is None or reshape.op_type != "Reshape":
        return None
    matmul = made.get(reshape.input[0])
    if matmul is None or matmul.op_type != "MatMul":
        return None
    if count[product] > 1 or count[matmul.output[0]] > 1:
        return None
    shape, added, plain = shapes.get(product, ()), shapes.get(bias), shapes[matmul.output[0]]
    if added is None or len(plain) != 2 or len(added) != len(shape):
        return None
    long = next((i for i, n in enumerate(added) if n != 1), len(added))
    size = plain[1]
    if list(added[long:]) != list(shape[long:]) or not all(isinstance(n, int) for n in added):
        return None
    if math.prod(added) != size:
        return None
    maker = made.get(bias)
    vector = maker.input[0] if maker is not None and maker.op_type == "Reshape" else bias
    return reshape, vector, size


def reshaped_once(nodes: _Nodes) -> _Nodes:
    """The nodes, with only the last reshape of several in a row."""
    made: dict[str, NodeProto] = {}
    for node in nodes:
        before = made.get(node.input[0]) if node.op_type == "Reshape" else None
        if before is not None:
            node.input[0] = before.input[0]
        if node.op_type == "Reshape" and not node.attribute:  # of elements that are there
            made[node.output[0]] = node
    return nodes


def matrices_last(nodes: _Nodes, new: _New) -> _Nodes:
    """The nodes, with matrices of products transposed last: runtimes read them transposed.

    b = Transpose[perm=(0, 2, 3, 1)](a); c = MatMul(q, b)
    b = Transpose[perm=(0, 2, 1, 3)](a); d = Transpose[perm=(0, 1, 3, 2)](b); c = MatMul(q, d)
    """
    factors = {name for node in nodes if node.op_type == "MatMul" for name in node.input}
    done = []
    for node in nodes:
        order = list(node.attribute[0].ints) if node.op_type == "Transpose" else []
        if node.output[0] not in factors or len(order) < 3 or order[-2] != len(order) - 1:
            done.append(node)
            continue
        inner = new(f"{node.output[0]}_rows")
        first = [*order[:-2], order[-1], order[-2]]
        swap = [*range(len(order) - 2), len(order) - 1, len(order) - 2]
        if first == sorted(first):
            done.append(node)
            continue
        done += [
            helper.make_node("Transpose", node.input, [inner], name=inner, perm=first),
            helper.make_node("Transpose", [inner], node.output, name=node.name, perm=swap),
        ]
    return done


def nan_computed(
    nodes: _Nodes, shapes: _Shapes, arrays: _Arrays, constant: _Constant, new: _New
) -> _Nodes:
    """The nodes, with NaN computed where it is chosen: quantisers find no scale for a constant NaN.

    y = Where(Expand(a, s), Expand(NaN, s), x)
    y = Mul(x, Sqrt(Where(a, -1, 1)))

    Args:
        nodes: the nodes of a graph, in order.
        shapes: the shapes of values by name.
        arrays: the constants that are known, by name.
        constant: gives the name of a constant.
        new: gives a new name.
    """
    made = {name: node for node in nodes for name in node.output}
    nan = {name: x.dtype for name, x in arrays.items() if _is(np.isnan, x)}
    done = []
    for node in nodes:
        inputs = [_before_expand(made, name) for name in node.input]
        places = [i for i in (1, 2) if node.op_type == "Where" and inputs[i] in nan]
        kept = node.input[3 - places[0]] if places else ""
        if not places or shapes.get(kept) != shapes[node.output[0]]:
            done.append(node)
            continue
        dtype = nan[inputs[places[0]]]
        signs = [constant(np.array(-1 if i in places else 1, dtype)) for i in (1, 2)]
        sign, factor = (new(f"{node.output[0]}_{end}") for end in ("sign", "factor"))
        done += [
            helper.make_node("Where", [inputs[0], *signs], [sign], name=sign),
            helper.make_node("Sqrt", [sign], [factor], name=factor),
            helper.make_node("Mul", [kept, factor], node.output, name=node.name),
        ]
    return done


def pads_pooled(nodes: _Nodes, arrays: _Arrays) -> _Nodes:
    """The nodes, with -inf padded by MaxPool itself: quantisers find no scale for -inf, either."""
    made = {name: node for node in nodes for name in node.output}
    for node in nodes:
        pad = made.get(node.input[0]) if node.op_type == "MaxPool" else None
        if pad is None or pad.op_type != "Pad" or len(pad.input) != 3:
            continue
        pads, value = (arrays.get(name) for name in pad.input[1:])
        how = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if pads is None or value is None or not _is(np.isneginf, value):
            continue
        (low, high), sizes = pads.reshape(2, -1), how["kernel_shape"]
        spatial = [*low[2:], *high[2:]]
        if any((*low[:2], *high[:2])) or how["auto_pad"] != b"VALID":
            continue
        if all(0 <= n < size for n, size in zip(spatial, [*sizes, *sizes], strict=True)):
            del node.attribute[:]
            how |= {"auto_pad": "NOTSET", "pads": spatial}
            node.attribute.extend(helper.make_attribute(*item) for item in how.items())
            node.input[0] = pad.input[0]
    return nodes


def _is(judged: Callable[[np.ndarray], Any], x: np.ndarray) -> bool:
    """Tell whether an array of floats has numbers, and all are such."""
    return x.dtype.kind == "f" and x.size > 0 and bool(judged(x).all())


def _before_expand(made: Mapping[str, NodeProto], name: str) -> str:
    node = made.get(name)
    return node.input[0] if node is not None and node.op_type == "Expand" else name


def living(nodes: _Nodes, results: Iterable[str]) -> _Nodes:
    """The nodes whose results are taken; bodies see the values around them."""
    wanted, kept = set(results), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(_operands(node))
    return kept[::-1]


def uses(nodes: Iterable[NodeProto]) -> Counter[str]:
    """The number of times that each name is taken."""
    return Counter(name for node in nodes for name in _operands(node))


def domains(nodes: Iterable[NodeProto]) -> set[str]:
    """The domains of operators beside ONNX's own, those in bodies too."""
    others = {node.domain for node in nodes if node.domain}
    for node in nodes:
        for attribute in node.attribute:
            others |= domains(attribute.g.node)
    return others


def _operands(node: NodeProto) -> Collection[str]:
    """The names that a node takes, those in its bodies too."""
    names = list(node.input)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            names += _operands(inner)
        names += [value.name for value in attribute.g.output]
    return names

"""Operators that repeat their operands themselves, and products with matrices of any rank.

    b = Expand(mask, s); c = Where(b, x, Expand(0, s))              c = Where(mask, x, 0)
    b = Reshape(x, [-1, k]); c = MatMul(b, w); d = Reshape(c, s)    d = Reshape(MatMul(x, w), s)

The last reshape leaves, too, if its shape is that of the product.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from onnx import NodeProto, helper

from msckpt_jax.onnx.tidy import uses

_Nodes = list[NodeProto]
_Shapes = Mapping[str, Sequence[Any]]

#: Operators that repeat operands along axes of size 1.
_REPEATING = frozenset(
    {"Add", "Sub", "Mul", "Div", "Where", "Max", "Min", "Equal", "And", "Or", "Xor"}
    | {"Less", "LessOrEqual", "Greater", "GreaterOrEqual"}
)


def unexpanded(nodes: _Nodes, shapes: _Shapes, apart: Collection[str] = ()) -> _Nodes:
    """The nodes, whose operands are not expanded where the operator does it by itself.

    Operators ``apart`` do not.
    """
    made = {name: node for node in nodes for name in node.output}
    for node in nodes:
        repeats = node.op_type in _REPEATING and node.op_type not in apart
        if repeats and node.output[0] in shapes:
            _repeat(node, made, shapes)
    return nodes


def _repeat(node: NodeProto, made: Mapping[str, NodeProto], shapes: _Shapes) -> None:
    wanted = list(shapes[node.output[0]])
    for place, name in enumerate(node.input):
        maker = made.get(name)
        if maker is None or maker.op_type != "Expand":
            continue
        operands = [*node.input]
        operands[place] = maker.input[0]
        if _together([shapes.get(operand) for operand in operands]) == wanted:
            node.input[place] = maker.input[0]


def _together(shapes: Sequence[Sequence[Any] | None]) -> list[Any] | None:
    """The shape of the result of operands of these shapes, None where it is not certain."""
    if any(shape is None or None in shape for shape in shapes):
        return None
    rank = max(len(shape) for shape in shapes if shape is not None)
    sizes = [[1] * (rank - len(shape)) + list(shape) for shape in shapes if shape is not None]
    axes = [{size for size in axis if size != 1} for axis in zip(*sizes, strict=True)]
    if any(len(axis) > 1 for axis in axes):
        return None
    return [next(iter(axis), 1) for axis in axes]


def products_of_any_rank(nodes: _Nodes, shapes: _Shapes, new: Callable[[str], str]) -> _Nodes:
    """The nodes, whose products with matrices are not reshaped before, and after if not needed."""
    made = {name: node for node in nodes for name in node.output}
    takers: dict[str, _Nodes] = {}
    for node in nodes:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    count = uses(nodes)
    wholes: dict[str, str] = {}  # the products as they are now
    left_out: set[str] = set()
    done = []
    for node in nodes:
        product = node.output[0]
        after = takers.get(product, [])
        whole = _whole(node, made, shapes) if node.op_type == "MatMul" else None
        if node.op_type == "Reshape" and node.input[0] in wholes:
            node.input[0] = wholes[node.input[0]]
        elif (
            whole is not None
            and count[product] == len(after)  # no body takes it
            and all(taker.op_type == "Reshape" and not taker.attribute for taker in after)
        ):
            wholes[product] = new(f"{product}_whole")
            if len(after) == 1 and list(shapes[after[0].output[0]]) == whole:
                wholes[product] = after[0].output[0]
                left_out.add(wholes[product])
            operands = [made[node.input[0]].input[0], node.input[1]]
            name = wholes[product]
            done.append(helper.make_node("MatMul", operands, [name], name=name))
            continue
        if node.op_type != "Reshape" or product not in left_out:
            done.append(node)
    return done


def _whole(node: NodeProto, made: Mapping[str, NodeProto], shapes: _Shapes) -> list[Any] | None:
    """The shape of a product with a matrix if all rows of its other operand are not one axis.

    None where they are not made one axis, or shapes are not certain.
    """
    rows, matrix = (shapes.get(name) for name in node.input)
    before = made.get(node.input[0])
    if before is None or before.op_type != "Reshape" or rows is None or matrix is None:
        return None
    whole = shapes.get(before.input[0])
    if whole is None or len(whole) < 3 or len(rows) != 2 or len(matrix) != 2:
        return None
    if None in (*whole, *rows, *matrix) or not whole[-1] == rows[-1] == matrix[0]:
        return None
    return [*whole[:-1], matrix[1]]

"""Weights that a graph multiplies by: which matrix of a weight each product takes.

A product takes a weight itself, or what moves and casts make of it, also of one layer of a stack:

    a = Transpose(w, (1, 0, 2)); b = Reshape(a, (32, 64)); c = MatMul(x, b)
    a = Slice(w, (i, 0, 0), (1, 32, 64)); b = Squeeze(a, 0); c = MatMul(x, b)
    a = Gather(w, i, 0); c = MatMul(x, a)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import Const, Operand, Parameter, Tensor, Value, values_of

#: A way to move elements: an operator and its arguments.
Step = tuple[str, tuple[Any, ...]]
#: A place where a value is used: the node and the position of the operand.
Use = tuple[int, int]


class View(NamedTuple):
    """The matrix of a weight that a product takes.

    Attributes:
        graph, node, side: the product, and which operand of it the matrix is.
        axis: the axis of the matrix that is summed over, from the end.
        parameter: the weight.
        steps: the moves that make the matrix of the weight, or of a layer.
        casts: the dtypes that it gets on the way.
        layer: the node that takes a layer of the weight, or None.
        nodes: all nodes on the way.
        uses: those of the weight and of the values on the way.
    """

    graph: Graph
    node: Node
    side: int
    axis: int
    parameter: Parameter
    steps: tuple[Step, ...]
    casts: tuple[np.dtype, ...]
    layer: Node | None
    nodes: tuple[Node, ...]
    uses: frozenset[Use]

    @property
    def type(self) -> Tensor:
        """The type of the matrix, before casts."""
        operand = self.node.inputs[self.side]
        assert isinstance(operand, Value)
        return Tensor(self.parameter.type.dtype, operand.type.shape)

    @property
    def key(self) -> Any:
        """A key that is equal for equal matrices."""
        return self.parameter, self.steps, self.axis, self.layer is not None

    def matrix(self, array: np.ndarray) -> np.ndarray:
        """The matrix, given the weight or a layer of it, or another array in its place."""
        for op, arguments in self.steps:
            array = _MOVES[op](array, *arguments)
        return array


def _sliced(x: np.ndarray, begin: Sequence[int], size: Sequence[int]) -> np.ndarray:
    return x[tuple(slice(a, a + n) for a, n in zip(begin, size, strict=True))]


_MOVES: Mapping[str, Callable[..., np.ndarray]] = {
    "Reshape": lambda x, shape: x.reshape(shape),
    "Slice": _sliced,
    "Transpose": lambda x, order: x.transpose(order),
}


def views(graph: Graph) -> list[View]:
    """Return the matrices of weights in the products of a graph and of its bodies."""
    return [view for inner in graph.graphs() for view in _views(inner)]


def others(graph: Graph, known: Sequence[View]) -> set[Parameter]:
    """Return the weights that are used in further ways than these."""
    uses = _uses(graph)
    on_the_way = {id(node): node for view in known for node in view.nodes}
    covered = frozenset[Use]().union(*(view.uses for view in known))

    def elsewhere(value: Value) -> bool:
        for use in uses[value]:
            if use not in covered:
                return True
            node = on_the_way.get(use[0])
            if node is not None and any(map(elsewhere, node.outputs)):
                return True
        return False

    return {view.parameter for view in known if elsewhere(view.parameter)}


def _uses(graph: Graph) -> Mapping[Value, list[Use]]:
    uses: dict[Value, list[Use]] = defaultdict(list)
    for inner in graph.graphs():
        for node in inner.nodes:
            for position, operand in enumerate(node.inputs):
                for value in values_of(operand):
                    uses[value].append((id(node), position))
        for position, value in enumerate(inner.outputs):
            if isinstance(value, Value):
                uses[value].append((id(inner), position))
    return uses


def _views(graph: Graph) -> Iterator[View]:
    makers = {value: node for node in graph.nodes for value in node.outputs}
    for node in graph.nodes:
        for side, axis in _operands(node):
            view = _view(graph, node, side, axis, makers)
            if view is not None:
                yield view


def _operands(node: Node) -> Iterator[tuple[int, int]]:
    """The operands of a product that are matrices, and the axis that each is summed over."""
    if node.op in ("MatMul", "BatchMatMul") and len(node.inputs) == 4:
        turned = [bool(getattr(flag, "value", False)) for flag in node.inputs[2:4]]
        yield 0, -2 if turned[0] else -1
        yield 1, -1 if turned[1] else -2
    elif node.op == "Dense":
        yield 1, -1


def _view(
    graph: Graph, product: Node, side: int, axis: int, makers: Mapping[Value, Node]
) -> View | None:
    operand = product.inputs[side]
    if not isinstance(operand, Value) or len(operand.type.shape) < 2:
        return None
    steps: list[Step] = []
    casts: list[np.dtype] = []
    nodes: list[Node] = []
    uses = {(id(product), side)}
    layer = None
    while not isinstance(operand, Parameter):
        node = makers.get(operand)
        if node is None or layer is not None:
            return None
        step = _step(node, operand)
        if node.op == "Cast":
            casts.append(node.outputs[0].type.dtype)
        elif step is not None:
            steps.append(step)
        elif node.op in _LAYERS and _LAYERS[node.op](node):
            layer = node
            if node.op == "Gather":  # the axis of layers is gone
                steps.append(("Reshape", (node.outputs[0].type.shape,)))
        else:
            return None
        nodes.append(node)
        uses.add((id(node), 0))
        operand = node.inputs[0]
        assert isinstance(operand, Value)
    return View(
        graph, product, side, axis, operand, tuple(steps[::-1]),
        _needed(operand.type.dtype, casts[::-1]), layer, tuple(nodes), frozenset(uses),
    )  # fmt: skip


def _step(node: Node, result: Value) -> Step | None:
    """The move that gives a result of a node, or None."""
    if node.op in ("Reshape", "Squeeze", "ExpandDims"):
        return "Reshape", (result.type.shape,)
    if node.op == "Split":
        axis = (_ints(node.inputs[1]) or (0,))[0]
        at = node.outputs.index(result) * int(result.type.shape[axis])
        begin = [0] * len(result.type.shape)
        begin[axis] = at
        return "Slice", (tuple(begin), result.type.shape)
    arguments = [_ints(operand) for operand in node.inputs[1:]]
    if node.op not in _MOVES or any(argument is None for argument in arguments):
        return None
    return node.op, tuple(arguments)


def _ints(operand: Operand) -> tuple[int, ...] | None:
    """The numbers of a constant operand; None for other operands."""
    if isinstance(operand, Const):
        value = np.asarray(operand.value)
        return tuple(map(int, np.ravel(value))) if value.dtype.kind in "iu" else None
    if isinstance(operand, tuple) and all(isinstance(part, Const) for part in operand):
        return tuple(int(part.value) for part in operand)  # type: ignore[union-attr]
    return None


def _slices_layer(node: Node) -> bool:
    """Tell whether a Slice takes one layer, of a number that is computed, of a stack."""
    stack, begin, size = node.inputs[:3]
    vector = isinstance(begin, Value) and len(begin.type.shape) == 1
    return vector and isinstance(stack, Parameter) and _ints(size) == (1, *stack.type.shape[1:])


def _gathers_layer(node: Node) -> bool:
    """Tell whether a Gather does."""
    stack, number, *where = node.inputs
    scalar = isinstance(number, Value) and not number.type.shape
    return scalar and isinstance(stack, Parameter) and [*map(_ints, where)] == [(0,), (0,)]


#: Operators that take a layer of a stack, by the test whether a node does.
_LAYERS: Mapping[str, Callable[[Node], bool]] = {"Slice": _slices_layer, "Gather": _gathers_layer}


def _needed(dtype: np.dtype, casts: Sequence[np.dtype]) -> tuple[np.dtype, ...]:
    """The casts without those to a wider dtype and back."""
    kept = [dtype]
    for cast in casts:
        back = kept.index(cast) if cast in kept else None
        if back is not None and all(_holds(cast, wider) for wider in kept[back:]):
            del kept[back + 1 :]
        else:
            kept.append(cast)
    return tuple(kept[1:])


def _holds(narrow: np.dtype, wide: np.dtype) -> bool:
    try:
        return np.can_cast(narrow, wide, "safe")
    except TypeError:
        return False

"""The ranges of whole numbers in loops of known length, by which clamps that change nothing go.

What a loop counts is between its first and its last number, and so are the places computed of it:
the row of a scan needs no clamping, nor a choice between an index and one from the end.

    place = 59 - i; row = x[Minimum(Maximum(place, 0), 59)]  ->  row = x[place]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from msckpt_jax.graph import trips
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import Const, Operand, Tensor, Value

#: Elements of the largest arrays whose ranges are known: places have as many as axes.
_MOST = 32
#: The largest number of a range: no sum of two overflows int64.
_LARGEST = (1 << 62) - 1


class Range(NamedTuple):
    """The least and the greatest number that each element of an array can be, as int64."""

    low: np.ndarray
    high: np.ndarray


_Ranges: TypeAlias = dict[Value, Range]


def unclamp(graph: Graph) -> None:
    """Make loops of known length read the operands of clamps and choices that change nothing.

    The nodes that nothing reads any more stay.
    """
    _walk(graph, {}, {})


def _walk(graph: Graph, ranges: _Ranges, sources: dict[Value, Operand]) -> None:
    """Go through the nodes of a graph; ``sources`` are the values that were reshaped."""
    same: dict[Value, Operand] = {}
    for node in graph.nodes:
        node.inputs = tuple(_replaced(operand, same) for operand in node.inputs)
        if node.bodies:
            _enter(node, ranges)
            for body in node.bodies:
                _walk(body, ranges, sources)
            continue
        operands = _operands(node)
        known = [_of(operand, ranges) for operand in operands]
        if None in known or all(isinstance(operand, Const) for operand in operands):
            continue
        (result,) = node.outputs
        kept = _kept(node.op, operands, known)
        if node.op in _SHAPES:
            kept = sources[result] = sources.get(kept, kept)  # type: ignore[arg-type]
        if kept is not None and _type(kept) == result.type:
            same[result] = kept
        if (made := _fitting(_FUNCTIONS[node.op](*known), result.type)) is not None:
            ranges[result] = made
    graph.outputs = [_replaced(value, same) for value in graph.outputs]  # type: ignore[misc]


def _replaced(operand: Operand, same: Mapping[Value, Operand]) -> Operand:
    if isinstance(operand, Value):
        return same.get(operand, operand)
    if type(operand) is tuple:
        return tuple(_replaced(part, same) for part in operand)
    return operand


def _type(operand: Any) -> Tensor:
    if isinstance(operand, Const):
        return Tensor(operand.value.dtype, operand.value.shape)
    return operand.type


def _enter(node: Node, ranges: _Ranges) -> None:
    """Note the ranges of what bodies are given, and of what a loop counts."""
    branches, last = node.op == "If", node.bodies[-1]
    operands = node.inputs[1:] if branches else node.inputs
    for body in node.bodies:
        for i, (operand, value) in enumerate(zip(operands, body.inputs, strict=True)):
            given = _of(operand, ranges)
            if given and (branches or last.outputs[i] is last.inputs[i]):
                ranges[value] = given
    if branches:
        return
    starts = [x.value if isinstance(x, Const) else None for x in node.inputs]
    rounds = trips.count(node, starts, lambda start: start is not None)
    for i, value in enumerate(last.inputs if rounds else ()):
        start, by = starts[i], trips.increment(last, i)
        if start is not None and by is not None and np.size(start) == np.size(by) == 1:
            counted = _counted(np.asarray(start), np.asarray(by), rounds or 0)
            if counted and (made := _fitting(counted, value.type)):
                ranges[value] = made


def _counted(start: np.ndarray, by: np.ndarray, rounds: int) -> Range | None:
    """The range of what begins with a number, to which each round adds another."""
    if start.dtype.kind not in "iu" or by.dtype.kind not in "iu":
        return None
    first, last = int(start.item()), int(start.item()) + int(by.item()) * (rounds - 1)
    if max(abs(first), abs(last)) > _LARGEST:
        return None
    return Range(np.array(min(first, last)), np.array(max(first, last)))


def _operands(node: Node) -> tuple[Operand, ...]:
    """The operands of a node whose ranges tell that of its result; none of other nodes."""
    if node.op not in _FUNCTIONS:
        return ()
    if node.op == "Concat":
        parts, axis = node.inputs
        return parts if axis == Const(0) else ()  # type: ignore[return-value]
    return node.inputs[:1] if node.op in _OF_ONE else node.inputs


def _of(operand: Operand, ranges: _Ranges) -> Range | None:
    """The range of an operand, which for a constant is the constant."""
    if isinstance(operand, Value):
        return ranges.get(operand)
    array = operand.value if isinstance(operand, Const) else None
    if not isinstance(array, np.ndarray) or array.size > _MOST:
        return None
    return _fitting(Range(array, array), Tensor(array.dtype, array.shape))


def _fitting(made: Range, type_: Tensor) -> Range | None:
    """The range of an array of a type; None if a number of it may overflow, or be no integer."""
    dtype, shape = type_
    if dtype.kind not in "iub" or not all(isinstance(n, int) for n in shape):
        return None
    least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    least, most = max(least, -_LARGEST), min(most, _LARGEST)
    low, high = map(np.asarray, made)
    if (low < least).any() or (high > most).any():
        return None
    return Range(*(_shaped(x.astype(np.int64), shape) for x in (low, high)))  # type: ignore[arg-type]


def _shaped(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return x.reshape(shape) if x.size == np.prod(shape) else np.broadcast_to(x, shape)


def _kept(op: str, operands: tuple[Operand, ...], known: list[Any]) -> Operand | None:
    """The operand that is the result in each round, but for its shape; None where none is."""
    tests = _TESTS[op](*known) if op in _TESTS else ()
    return next((x for x, test in zip(operands, tests, strict=False) if np.all(test)), None)


#: The ranges of results by those of operands.
_FUNCTIONS: Mapping[str, Callable[..., Range]] = {
    "Add": lambda x, y: Range(x.low + y.low, x.high + y.high),
    "Cast": lambda x: x,
    "Concat": lambda *xs: Range(*map(np.concatenate, zip(*xs, strict=True))),
    "Less": lambda x, y: Range(x.high < y.low, x.low < y.high),
    "Maximum": lambda x, y: Range(*map(np.maximum, x, y)),
    "Minimum": lambda x, y: Range(*map(np.minimum, x, y)),
    "Neg": lambda x: Range(-x.high, -x.low),
    "Reshape": lambda x: x,
    "Select": lambda _, x, y: Range(np.minimum(x.low, y.low), np.maximum(x.high, y.high)),
    "Squeeze": lambda x: x,
    "Sub": lambda x, y: Range(x.low - y.high, x.high - y.low),
}
#: Which of the operands is the result, by their ranges.
_TESTS: Mapping[str, Callable[..., tuple[Any, ...]]] = {
    "Maximum": lambda x, y: (x.low >= y.high, y.low >= x.high),
    "Minimum": lambda x, y: (x.high <= y.low, y.high <= x.low),
    "Reshape": lambda x: (True,),
    "Select": lambda which, x, y: (False, which.low, which.high == 0),
    "Squeeze": lambda x: (True,),
}
_SHAPES = frozenset({"Reshape", "Squeeze"})
_OF_ONE = frozenset({*_SHAPES, "Cast"})

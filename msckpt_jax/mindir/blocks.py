"""Graphs while they are made: the values that a body takes from around it, and dead nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard, TypeVar

import numpy as np

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import (
    ABSENT,
    Const,
    Operand,
    Parameter,
    Size,
    Tensor,
    Value,
    values_of,
)
from msckpt_jax.mindir.attributes import MONAD, Monad, pack


@dataclass(frozen=True)
class Closure:
    """A function of the file and its first arguments."""

    function: str
    args: tuple[Binding, ...] = ()


@dataclass(frozen=True)
class Choice:
    """The result of Switch: one of two closures."""

    condition: Binding
    then: Closure | Choice
    otherwise: Closure | Choice


#: The value of a name while a graph is made.
Binding: TypeAlias = "Operand | Monad | Closure | Choice | tuple[Binding, ...]"


_T = TypeVar("_T")


class TooLargeError(MindIRError):
    """A file that asks for more work than its budget."""


class Budget:
    """The work that a file may ask for, in proportion to its nodes.

    A few lines of calls, tuples and loops can stand for more than memory holds. The unit is a step
    from a function to one that it calls: about a microsecond.
    """

    def __init__(self, nodes: int, least: int = 50_000):
        self._most = self._left = NODE * (least + 20 * nodes)

    def spend(self, units: int) -> None:
        self._left -= units
        if self._left < 0:
            raise TooLargeError(
                "inlining the functions gives too many nodes, or tuples of too many parts, for an "
                f"honest file (more than {self._most // NODE:,} nodes)"
            )


#: The units of a budget that a node costs, and a part of a tuple.
NODE, _PART = 100, 3


class Block:
    """The nodes of a graph while they are made.

    ``imports``: values of the graph around that the nodes use, to their counterparts in this graph.
    """

    def __init__(self, budget: Budget, outer: Block | None = None):
        self.budget, self.outer = budget, outer
        self.nodes: list[Node] = []
        self.own: set[Value] = set()
        self.imports: dict[Value, Value] = {}

    def fresh(self, type: Tensor, name: str = "") -> Value:
        value = Value(type, name)
        self.own.add(value)
        return value

    def value(self, value: Value) -> Value:
        """The value in this block that stands for ``value``, which may belong to a block around."""
        if isinstance(value, Parameter) or value in self.own:
            return value
        if self.outer is None:
            raise MindIRError(f"the value {value.name!r} is used where it is not computed")
        outer = self.outer.value(value)
        if outer not in self.imports:
            self.imports[outer] = self.fresh(outer.type, outer.name)
        return self.imports[outer]

    def operand(self, binding: Binding) -> Operand:
        if isinstance(binding, Const):
            return binding
        if isinstance(binding, Value):
            return self.value(binding)
        if isinstance(binding, Size):
            return Size(self.value(binding.of), binding.axis)
        if isinstance(binding, tuple):
            return pack(tuple(self.operand(part) for part in binding if part is not MONAD))
        raise MindIRError(f"a function is used as data: {_function(binding)}")

    def output(self, binding: Binding) -> Value | Const:
        """The binding as a result of the graph."""
        operand = self.operand(binding)
        if isinstance(operand, Size):
            return self.add("ScalarToTensor", (operand, Const(np.dtype(np.int64))), _SCALAR)
        assert isinstance(operand, Value | Const)
        return operand

    def add(self, op: str, inputs: tuple[Operand, ...], type: Tensor) -> Value:
        """Append a node and return its only result."""
        out = self.fresh(type)
        self.nodes.append(Node(op, inputs, (out,)))
        return out


def _function(binding: Any) -> str:
    """The name of a function that is none of the tensors that an operator takes."""
    while isinstance(binding, Choice):
        binding = binding.then
    return repr(binding.function if isinstance(binding, Closure) else type(binding).__name__)


_SCALAR = Tensor(np.dtype(np.int64), ())


def leaves(binding: Binding) -> Iterator[Any]:
    """Yield the parts of tuples, and of the arguments that closures hold."""
    if isinstance(binding, Closure):
        binding = binding.args
    if is_tuple(binding):
        for part in binding:
            yield from leaves(part)
    else:
        yield binding


def measured(binding: _T, budget: Budget) -> _T:
    """Return the binding; refuse it if it has more parts than a file could hold.

    A part counts as often as the binding has it: few names stand for many.
    """
    count = 0
    todo: list[tuple[Any, int]] = [(binding, 0)]
    while todo:
        part, depth = todo.pop()
        count += 1
        if count > _PARTS or depth > _DEPTH:
            raise MindIRError(
                f"the file has tuples of more than {_PARTS} parts, or nested deeper than {_DEPTH}"
            )
        if isinstance(part, Closure):
            part = part.args
        elif isinstance(part, Choice):
            part = (part.then, part.otherwise)
        if is_tuple(part):
            todo += [(inner, depth + 1) for inner in part]
    budget.spend(_PART * count)
    return binding


_PARTS, _DEPTH = 20_000, 60


def rebuilt(binding: Binding, parts: Iterator[Any]) -> Any:
    """The structure of ``binding`` with ``parts`` as its leaves."""
    if isinstance(binding, Closure):
        return Closure(binding.function, tuple(rebuilt(part, parts) for part in binding.args))
    if is_tuple(binding):
        return tuple(rebuilt(part, parts) for part in binding)
    return next(parts)


def structure(binding: Binding) -> Any:
    """The structure of a binding: equal for two bindings whose leaves correspond."""
    if isinstance(binding, Closure):
        return binding.function, tuple(map(structure, binding.args))
    return tuple(map(structure, binding)) if is_tuple(binding) else None


def merged(
    condition: Binding, then: Binding, otherwise: Binding, leaf: Callable[[Any, Any], Binding]
) -> Any:
    """The binding that stands for one of two: ``leaf`` makes its leaves, from those of both.

    Functions that differ, such as the gradients of two branches, stay a choice. What one of them
    holds has no counterpart: the other leaf is ``ABSENT``.

    Raises:
        MindIRError: the two have different structure.
    """
    sides = (then, otherwise)
    if all(map(is_tuple, sides)) and len(then) == len(otherwise):  # type: ignore[arg-type]
        parts = zip(then, otherwise, strict=True)  # type: ignore[arg-type]
        return tuple(merged(condition, a, b, leaf) for a, b in parts)
    if all(isinstance(side, Closure) for side in sides) and structure(then) == structure(otherwise):
        return Closure(then.function, merged(condition, then.args, otherwise.args, leaf))  # type: ignore[union-attr]
    if all(isinstance(side, Closure | Choice) for side in sides):
        first = _each_leaf(then, lambda part: leaf(part, ABSENT))
        return Choice(condition, first, _each_leaf(otherwise, lambda part: leaf(ABSENT, part)))
    if any(is_tuple(side) or isinstance(side, Closure | Choice) for side in sides):
        raise MindIRError("the branches of a Switch give results of different structure")
    return leaf(then, otherwise)


def _each_leaf(binding: Any, leaf: Callable[[Any], Binding]) -> Any:
    if isinstance(binding, Closure):
        return Closure(binding.function, _each_leaf(binding.args, leaf))
    if isinstance(binding, Choice):
        parts = (_each_leaf(part, leaf) for part in (binding.then, binding.otherwise))
        return Choice(leaf(binding.condition), *parts)
    if is_tuple(binding):
        return tuple(_each_leaf(part, leaf) for part in binding)
    return leaf(binding)


def is_tuple(binding: Binding) -> TypeGuard[tuple[Binding, ...]]:
    return isinstance(binding, tuple) and not isinstance(binding, Const | Size)


def same(a: Binding, b: Binding) -> bool:
    """Tell whether two leaves are the same value whatever the inputs are."""
    if a is b:
        return True
    if isinstance(a, Const) and isinstance(b, Const):
        x, y = a.value, b.value
        if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
            return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        return type(x) is type(y) and not isinstance(x, np.ndarray) and x == y
    return isinstance(a, Size) and isinstance(b, Size) and a == b


def prune(graph: Graph) -> None:
    """Drop nodes, and results and operands of control flow, that the outputs do not need."""
    needed = {value for value in graph.outputs if isinstance(value, Value)}
    kept = []
    for node in reversed(graph.nodes):
        if needed.isdisjoint(node.outputs):
            continue
        if node.op == "If":
            _prune_if(node, needed)
        elif node.op == "While":
            _prune_while(node, needed)
        needed.update(value for operand in node.inputs for value in values_of(operand))
        kept.append(node)
    graph.nodes = kept[::-1]


def _used(graph: Graph) -> set[int]:
    """The positions of the inputs that a body reads."""
    used = {value for value in graph.outputs if isinstance(value, Value)}
    for node in graph.nodes:
        used.update(value for operand in node.inputs for value in values_of(operand))
    return {k for k, value in enumerate(graph.inputs) if value in used}


def _select(items: Any, kept: list[int]) -> Any:
    return type(items)(items[k] for k in kept)


def _prune_if(node: Node, needed: set[Value]) -> None:
    results = [k for k, value in enumerate(node.outputs) if value in needed]
    node.outputs = _select(node.outputs, results)
    for body in node.bodies:
        body.outputs = _select(body.outputs, results)
        prune(body)
    kept = sorted(set().union(*map(_used, node.bodies)))
    node.inputs = (node.inputs[0], *(node.inputs[k + 1] for k in kept))
    for body in node.bodies:
        body.inputs = _select(body.inputs, kept)


def _prune_while(node: Node, needed: set[Value]) -> None:
    condition, step = node.bodies
    prune(condition)
    prune(step)
    kept = _used(condition) | {k for k, value in enumerate(node.outputs) if value in needed}
    sources = _sources(step)
    todo = list(kept)
    while todo:
        for k in sources(todo.pop()) - kept:
            kept.add(k)
            todo.append(k)
    order = sorted(kept)
    node.inputs, node.outputs = _select(node.inputs, order), _select(node.outputs, order)
    step.outputs = _select(step.outputs, order)
    for body in node.bodies:
        body.inputs = _select(body.inputs, order)
    prune(step)


def _sources(step: Graph) -> Callable[[int], set[int]]:
    """A function from an output's position to the positions of the inputs that it depends on."""
    made = {value: node for node in step.nodes for value in node.outputs}
    position = {value: k for k, value in enumerate(step.inputs)}

    def sources(output: int) -> set[int]:
        inputs, seen, todo = set(), set(), [step.outputs[output]]
        while todo:
            value = todo.pop()
            if not isinstance(value, Value) or value in seen:
                continue
            seen.add(value)
            if value in position:
                inputs.add(position[value])
            elif value in made:
                todo += [v for operand in made[value].inputs for v in values_of(operand)]
        return inputs

    return sources

"""Show a graph: one line a node, as text and as HTML that folds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from msckpt_jax import display, dtypes, visible
from msckpt_jax.display import Html
from msckpt_jax.graph.values import UNKNOWN, Const, Operand, Parameter, Size, Tensor, Value


class Graph(Protocol):
    """A graph as far as it is shown; the class is in :mod:`msckpt_jax.graph.graph`.

    A node has ``op``, ``inputs``, ``outputs``, ``attrs``, ``bodies`` and ``source``.
    """

    inputs: list[Value]
    nodes: list[Any]
    outputs: list[Value | Const]
    parameters: dict[str, Parameter]
    state: list[str]

    def walk(self) -> Iterator[Any]: ...


#: Lines of a text, and of a page.
_LINES, _HTML_LINES = 60, 600


def text(title: str, graph: Graph) -> str:
    """The graph with a line for each node: ``%3: f32[2,10] = MatMul(%1, weight, False, True)``."""
    lines = list(_Names(graph).graph(graph))
    if len(lines) > _LINES:
        half = _LINES // 2
        lines[half:-half] = [f"  ... {len(lines) - _LINES} more"]
    return visible.lines([f"<{title}", *lines, ">"])


def html(graph: Graph) -> list[Html]:
    """Tables of parameters and operators, and the graph; bodies of control flow unfold."""
    parameters = graph.parameters.values()
    rows = [
        (p.name, show(p.type), display.Size(_nbytes(p)), display.sharding_of(p.data))
        for p in parameters
    ]
    total = display.size(sum(map(_nbytes, parameters)))
    ops = Counter(node.op for node in graph.walk()).most_common()
    weights = display.fold(
        f"{display.counted(len(rows), 'parameter')}, {total}",
        display.table(["name", "type", "size", "sharding"], rows),
    )
    return [
        *([weights] if rows else []),
        display.fold(
            display.counted(sum(dict(ops).values()), "operator"),
            display.table(["name", "count"], ops),
        ),
        display.fold("graph", _Names(graph).html(graph), unfolded=True),
    ]


def _nbytes(parameter: Parameter) -> int:
    return parameter.type.dtype.itemsize * math.prod(map(int, parameter.type.shape))


def _code(lines: list[str]) -> Html:
    return display.lines(lines, most=None)  # they are counted already


class _Names:
    """Numbers for values, in the order in which they are computed."""

    def __init__(self, graph: Graph):
        self.numbers: dict[Value, str] = {}
        self._numbered: set[int] = set()
        self._left = _HTML_LINES
        self.number(graph)

    def number(self, graph: Graph) -> None:
        if id(graph) in self._numbered:  # the body of several nodes
            return
        self._numbered.add(id(graph))
        for value in graph.inputs:
            self.numbers[value] = f"%{len(self.numbers)}"
        for node in graph.nodes:
            for body in node.bodies:
                self.number(body)
            for value in node.outputs:
                self.numbers[value] = f"%{len(self.numbers)}"

    def graph(self, graph: Graph, indent: str = "  ") -> Iterator[str]:
        for value in graph.inputs:
            yield indent + self.input(value)
        for node in graph.nodes:
            yield indent + self.node(node)
            for body in node.bodies:
                yield f"{indent}  {body.name}:"
                yield from self.graph(body, indent + "    ")
        yield indent + self.results(graph)

    def html(self, graph: Graph) -> Html:
        parts: list[Html] = []
        lines = [self.input(value) for value in graph.inputs[: self._left]]
        self._left -= len(lines)
        if len(lines) < len(graph.inputs):
            lines.append(f"... {len(graph.inputs) - len(lines):,} more inputs")
        for number, node in enumerate(graph.nodes):
            if self._left <= 0:
                lines.append(f"... {len(graph.nodes) - number:,} more")
                break
            self._left -= 1
            lines.append(self.node(node))
            if node.bodies:
                parts.append(_code(lines))
                parts += [display.fold(body.name, self.html(body)) for body in node.bodies]
                lines = []
        return Html("".join([*parts, _code([*lines, self.results(graph)])]))

    def input(self, value: Value) -> str:
        name = f"  # {value.name}" if value.name else ""
        return f"{self.numbers[value]}: {show(value.type)} = input{name}"

    def results(self, graph: Graph) -> str:
        outputs = [*map(self.operand, graph.outputs)]
        first = len(outputs) - len(graph.state)
        new = [f"{name}: {out}" for name, out in zip(graph.state, outputs[first:], strict=True)]
        changed = f"  # new parameters {', '.join(new)}" if new else ""
        return f"return {', '.join(outputs[:first])}{changed}"

    def node(self, node: Any) -> str:
        results = ", ".join(f"{self.numbers[v]}: {show(v.type)}" for v in node.outputs)
        args = [self.operand(operand) for operand in node.inputs]
        args += [f"{name}={_constant(value)}" for name, value in node.attrs.items()]
        source = f"  # {node.source}" if node.source else ""
        return f"{results} = {node.op}({', '.join(args)}){source}"

    def operand(self, operand: Operand) -> str:
        if isinstance(operand, Parameter):
            return operand.name
        if isinstance(operand, Value):
            return self.numbers[operand]
        if isinstance(operand, Size):
            return f"{self.numbers[operand.of]}.shape[{operand.axis}]"
        if isinstance(operand, Const):
            return _constant(operand.value)
        return f"({', '.join(map(self.operand, operand))}{',' * (len(operand) == 1)})"


def show(type: Tensor) -> str:
    """The type as text, such as ``f32[2,10]``."""
    if type is UNKNOWN:
        return "?"
    row = dtypes.of_array(type.dtype)
    name = type.dtype.name if row is None else row.short
    return f"{name}[{','.join(map(str, type.shape))}]"


def _constant(value: Any) -> str:
    if isinstance(value, np.ndarray):
        kind = show(Tensor(value.dtype.newbyteorder("="), value.shape))
        return f"{kind}({value.item()})" if value.ndim == 0 else f"const {kind}"
    if isinstance(value, np.dtype):
        row = dtypes.of_array(value)
        return value.name if row is None else row.short
    if isinstance(value, float):
        return f"{value:.7g}"
    return repr(value)[:200]

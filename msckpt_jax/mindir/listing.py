"""A graph to read: one line a node, as text and as HTML."""

from __future__ import annotations

import html as markup
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from msckpt_jax import dtypes
from msckpt_jax.lowering.graph import Const, Graph, Node, Operand, Parameter, Size, Tensor, Value
from msckpt_jax.mindir.nodes import UNKNOWN
from msckpt_jax.mindir.reader import Program

_LINES = 200
_STYLE = (
    "<style>.msckpt-graph summary{cursor:pointer}.msckpt-graph pre{margin:0 0 0 1em}"
    ".msckpt-graph details details{margin-left:1em}</style>"
)


def text(program: Program) -> str:
    """``%3: f32[2,10] = MatMul(%1, weight, False, True)``, a line for each node."""
    lines = list(_Names(program.graph).graph(program.graph))
    if len(lines) > _LINES:
        half = _LINES // 2
        lines[half:-half] = [f"  ... {len(lines) - _LINES} more"]
    return "\n".join([f"<MindIRFunction of {program.source.path}", *lines, ">"])


def html(program: Program) -> str:
    """The same with parameters and bodies of control flow to be unfolded; no scripts."""
    graph = program.graph
    names = _Names(graph)
    ops = Counter(node.op for node in graph.walk())
    size = sum(p.data.nbytes for p in graph.parameters.values())
    facts = f"{len(graph.parameters)} parameters, {size:,} bytes"
    rows = "\n".join(f"{p.name}: {show(p.type)}" for p in graph.parameters.values())
    counts = "\n".join(f"{op}: {count}" for op, count in ops.most_common())
    return (
        f'{_STYLE}<div class="msckpt-graph"><b>{_escaped(program.source.path)}</b>'
        f"{_details(facts, _pre(rows))}{_details(f'{sum(ops.values())} operators', _pre(counts))}"
        f"{_details('graph', names.html(graph), open=True)}</div>"
    )


class _Names:
    """Numbers for values, in the order in which they are computed."""

    def __init__(self, graph: Graph):
        self.numbers: dict[Value, str] = {}
        self.number(graph)

    def number(self, graph: Graph) -> None:
        for value in graph.inputs:
            self.numbers[value] = f"%{len(self.numbers)}"
        for node in graph.nodes:
            for body in node.bodies:
                self.number(body)
            for value in node.outputs:
                self.numbers[value] = f"%{len(self.numbers)}"

    def graph(self, graph: Graph, indent: str = "  ") -> Iterator[str]:
        for value in graph.inputs:
            name = f"  # {value.name}" if value.name else ""
            yield f"{indent}{self.numbers[value]}: {show(value.type)} = input{name}"
        for node in graph.nodes:
            yield indent + self.node(node)
            for body in node.bodies:
                yield f"{indent}  {body.name}:"
                yield from self.graph(body, indent + "    ")
        yield f"{indent}return {', '.join(map(self.operand, graph.outputs))}"

    def html(self, graph: Graph) -> str:
        parts: list[str] = []
        lines: list[str] = []
        flat = Graph(graph.name, graph.inputs, [], graph.outputs)
        *inputs, last = self.graph(flat, "")
        lines += inputs
        for node in graph.nodes:
            lines.append(self.node(node))
            if node.bodies:
                parts.append(_pre("\n".join(lines)))
                parts += [_details(body.name, self.html(body)) for body in node.bodies]
                lines = []
        parts.append(_pre("\n".join([*lines, last])))
        return "".join(parts)

    def node(self, node: Node) -> str:
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
    """``f32[2,10]``."""
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


def _details(summary: str, inner: str, open: bool = False) -> str:
    attribute = " open" if open else ""
    return f"<details{attribute}><summary>{_escaped(summary)}</summary>{inner}</details>"


def _pre(lines: str) -> str:
    return f"<pre>{_escaped(lines)}</pre>"


def _escaped(line: str) -> str:
    return markup.escape(line)

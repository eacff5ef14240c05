"""The step from a canonical jaxpr to a Graph: one equation, one rule, mostly one operator.

Rules are in flat tables by the name of a primitive (``lowering.rules``); a caller may pass more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msckpt_jax import _compat
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import Parameter, Value, values_of
from msckpt_jax.lowering import ranges
from msckpt_jax.lowering.context import Array, Context, Options, Root, tensor_of
from msckpt_jax.names import Unique


def lower(
    jaxpr: _compat.ClosedJaxpr,
    parameters: Mapping[str, Any],
    inputs: Sequence[str],
    options: Options,
) -> Graph:
    """The graph of a canonical jaxpr.

    Args:
        jaxpr: its arguments are the weights, then the inputs.
        parameters: the array of each weight by name, in the order of the arguments.
        inputs: names of the inputs.
        options: rules, and how exact they are.

    Raises:
        UnsupportedError: equations cannot be lowered: all of them, each with its source line.
    """
    graph = Graph("main")
    root = Root(options, graph, unique=Unique([*parameters, *inputs]))
    context = Context(root, graph)
    weights = jaxpr.in_avals[: len(parameters)]
    arguments: list[Array] = [
        Parameter(tensor_of(aval), name, data)
        for aval, (name, data) in zip(weights, parameters.items(), strict=True)
    ]
    for aval, text in zip(jaxpr.in_avals[len(parameters) :], inputs, strict=True):
        graph.inputs.append(Value(tensor_of(aval), text))
    results = context.run(jaxpr, [*arguments, *graph.inputs])
    root.problems.refuse()
    graph.outputs = list(results)
    ranges.unclamp(graph)
    for each in _graphs(graph):
        each.nodes[:] = _living(each)
    used = {v for node in graph.walk() for operand in node.inputs for v in values_of(operand)}
    used |= {v for g in _graphs(graph) for v in g.outputs if isinstance(v, Value)}
    kept = [a for a in [*arguments, *root.constants.values()] if a in used]
    graph.parameters = {p.name: p for p in kept if isinstance(p, Parameter)}
    return graph


def _living(graph: Graph) -> list[Node]:
    """The nodes whose results are taken: products read weights before they are transposed."""
    used = {value for value in graph.outputs if isinstance(value, Value)}
    kept = []
    for node in reversed(graph.nodes):
        if not used.isdisjoint(node.outputs):
            kept.append(node)
            used.update(v for operand in node.inputs for v in values_of(operand))
    return kept[::-1]


def _graphs(graph: Graph) -> list[Graph]:
    return [graph, *(body for node in graph.walk() for body in node.bodies)]

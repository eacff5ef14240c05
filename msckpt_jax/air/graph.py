"""The graph of an AIR file to read, as MindIR files have one: GE's operators in our nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from msckpt_jax.air.wiring import DATA, Source, arguments, results, sources
from msckpt_jax.dtypes import BY_GE
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import UNKNOWN, Const, Parameter, Tensor, Value

#: GE's numbers for a size, and for all sizes of a shape, that the file leaves open.
_OPEN, _ANY = -1, -2


def graph_of(
    message: Any,
    order: Callable[[Any], Sequence[Any]],
    bodies: Mapping[str, Any],
    constant: Callable[[Any], np.ndarray],
    attributes: Callable[[Any], Mapping[str, Any]],
) -> Graph:
    """One graph of a file.

    Args:
        message: the ``GraphDef``.
        order: gives the operators of a graph in an order in which they can be computed.
        bodies: the file's graphs by name, for control flow.
        constant: the value of a Const.
        attributes: those that an operator has.
    """
    parts = order, bodies, constant, attributes
    out = Graph(message.name)
    values: dict[tuple[str, int], Value] = {}

    def value(source: Source | None) -> Value | Const:
        return Const(None) if source is None else values[source.name, source.index]

    for op in order(message):
        made = [Value(_type(described), op.name) for described in op.output_desc]
        if op.type in ("Const", "Constant"):
            data = constant(op)
            made = [Parameter(Tensor(data.dtype, data.shape), op.name, data)]
            out.parameters[op.name] = made[0]
        elif op.type not in DATA and op.type != "NetOutput":
            inner = tuple(graph_of(bodies[name], *parts) for name in op.subgraph_name)
            operands = tuple(map(value, sources(op)))
            out.nodes.append(Node(op.type, operands, tuple(made), attributes(op), inner))
        values |= {(op.name, index): one for index, one in enumerate(made)}
    out.inputs = [values[op.name, 0] for op in arguments(message)]
    out.outputs = [values[source.name, source.index] for source in results(message)]
    return out


def _type(described: Any) -> Tensor:
    row = BY_GE.get(described.dtype)
    dims = list(described.shape.dim)
    if row is None or _ANY in dims:
        return UNKNOWN
    return Tensor(row.array, tuple("?" if dim == _OPEN else dim for dim in dims))

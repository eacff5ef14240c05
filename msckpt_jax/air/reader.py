"""An AIR file, of GE, MindSpore or ours, to a Graph of GE's operators.

An operator's inputs come in the order of its prototype: None for an optional one that is not fed, a
tuple for a dynamic one. Its attributes are the file's over the prototype's defaults.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from math import prod
from typing import Any

import jax
import numpy as np

from msckpt_jax.air import check, file, notes
from msckpt_jax.air.attributes import attributes, written
from msckpt_jax.air.described import fits, in_order, type_of
from msckpt_jax.air.meaning import POSITIONS
from msckpt_jax.air.prototypes import prototypes
from msckpt_jax.air.wiring import (
    CONSTANTS,
    DATA,
    arguments,
    end,
    result_names,
    results,
    sources,
)
from msckpt_jax.dtypes import BY_GE
from msckpt_jax.errors import AirError
from msckpt_jax.graph import nesting
from msckpt_jax.graph.evaluate import FLOW
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.program import Program
from msckpt_jax.graph.values import UNKNOWN, Const, Operand, Parameter, Tensor, Value

#: NumPy's limit.
_MAXIMUM_RANK = 64
#: An optional input that is not fed.
_MISSING = Const(None)


def read(file_name: str | os.PathLike[str]) -> Program:
    """Read an AIR file.

    Raises:
        AirError: it is no AIR file, damaged, or refers to what is not in it.
        FileNotFoundError: there is no such file.
    """
    path = os.fspath(file_name)
    model = file.read(path)
    if faults := check.references(model):
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        text = f"{faults[0].where}: {faults[0].problem}{more}; msckpt verify lists all"
        raise AirError(text, file=path)
    graph = _Reader(model, path).main()
    graph.results, graph.nesting = result_names(model.graph[0]), notes.nesting(model)
    try:
        arguments, result = nesting.nested(graph.nesting, graph.inputs, graph.outputs)
    except ValueError as error:
        raise AirError(str(error), file=path) from None
    return Program(path, "AirFunction", graph, arguments, result, AirError)


def weights(file_name: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The weights of an AIR file by name, views of its bytes.

    Raises:
        AirError: as :func:`read`, but for faults of other operators.
    """
    path = os.fspath(file_name)
    model = file.read(path)
    reader, graph = _Reader(model, path), Graph("")
    for op in model.graph[0].op:
        if op.type in CONSTANTS:
            reader.constant(graph, op, weights=True)
    return {name: parameter.data for name, parameter in graph.parameters.items()}


class _Reader:
    """Reads each graph of a file once, however many operators it is the body of."""

    def __init__(self, model: Any, path: str):
        self.path = path
        self._messages = {message.name: message for message in model.graph}
        self._main = model.graph[0]
        self._weights = notes.weights(model)
        self._bodies: dict[str, Graph] = {}

    def main(self) -> Graph:
        return self._graph(self._main, weights=True)

    def _body(self, name: str) -> Graph:
        if name not in self._messages:
            raise AirError(f"the graph {name!r} is run, but is not there", file=self.path)
        if name not in self._bodies:
            self._bodies[name] = self._graph(self._messages[name], weights=False)
        return self._bodies[name]

    def _graph(self, message: Any, weights: bool) -> Graph:
        graph = Graph(message.name)
        values: dict[str, list[Any]] = {}
        for op in self._ordered(message):
            if op.type in CONSTANTS:
                values[op.name] = [self.constant(graph, op, weights)]
                continue
            values[op.name] = [Value(type_of(described), op.name) for described in op.output_desc]
            if op.type not in DATA and op.type != "NetOutput":
                graph.nodes.append(self._node(op, values))
        graph.inputs = [self._argument(op, values[op.name][0]) for op in arguments(message)]
        graph.outputs = [values[source.name][source.index] for source in results(message)]
        return graph

    def _ordered(self, message: Any) -> list[Any]:
        """The operators of a graph such that each comes after its sources."""
        by_name = {op.name: op for op in message.op}
        edges = {
            op.name: [source.name for source in map(end, op.input) if source] for op in message.op
        }
        try:
            return [by_name[name] for name in TopologicalSorter(edges).static_order()]
        except CycleError as error:
            cycle = " -> ".join(error.args[1])
            text = f"graph {message.name!r} has a cycle: {cycle}"
            raise AirError(text, file=self.path) from None

    def constant(self, graph: Graph, op: Any, weights: bool) -> Const | Parameter:
        """A weight of the main graph, or a constant of the program."""
        data = self._data(op)
        is_own = op.name in self._weights or not notes.looks_constant(op.name, data.dtype)
        if not weights or not is_own:
            return Const(data)
        graph.parameters[op.name] = Parameter(Tensor(data.dtype, data.shape), op.name, data)
        return graph.parameters[op.name]

    def _data(self, op: Any) -> np.ndarray:
        """The numbers of a Const, a view of the message's bytes."""
        tensor = op.attr["value"].t
        shape, dtype = tuple(tensor.desc.shape.dim), self._dtype(tensor.desc)
        if len(shape) > _MAXIMUM_RANK:
            raise AirError(
                f"the constant {op.name!r} has too many dimensions",
                file=self.path,
                expected=f"at most {_MAXIMUM_RANK}",
                found=len(shape),
            )
        wanted = prod(shape) * dtype.itemsize
        if any(dim < 0 for dim in shape) or len(tensor.data) != wanted:
            raise AirError(
                f"the constant {op.name!r} of shape {shape} does not fit its bytes",
                file=self.path,
                expected=wanted,
                found=len(tensor.data),
            )
        try:
            return np.frombuffer(tensor.data, dtype).reshape(shape)
        except ValueError:  # no elements, and sizes whose product overflows, or too many
            raise AirError(
                f"NumPy cannot hold the shape of the constant {op.name!r}",
                file=self.path,
                found=shape,
            ) from None

    def _argument(self, op: Any, value: Value) -> Value:
        self._dtype(op.output_desc[0])  # refuses what JAX lacks
        return value

    def _node(self, op: Any, values: Mapping[str, list[Any]]) -> Node:
        operands: list[Operand] = [
            _MISSING if source is None else values[source.name][source.index]
            for source in sources(op)
        ]
        bodies = tuple(map(self._body, op.subgraph_name))
        outputs = tuple(values[op.name])
        kind = op.type.removeprefix("Stateless")
        if kind in FLOW:
            self._check_flow(op, kind, operands, bodies)
            return Node(kind, tuple(operands), outputs, {}, bodies)
        prototype = prototypes().get(op.type)
        if prototype is None:  # the meaning, if there is one, is the user's
            return Node(op.type, tuple(operands), outputs, written(op))
        inputs = in_order(operands, op, prototype, _MISSING)
        at = POSITIONS.get(op.type)
        if at is not None:
            if at >= len(op.output_desc):
                text = f"{op.name!r} ({op.type}) has too few results"
                raise AirError(text, file=self.path, expected=at + 1, found=len(op.output_desc))
            self._dtype(op.output_desc[at])
        return Node(op.type, inputs, outputs, attributes(op, prototype))

    def _check_flow(
        self, op: Any, kind: str, operands: list[Operand], bodies: tuple[Graph, ...]
    ) -> None:
        """Refuse an operator whose bodies do not take what it gives them, or give other results."""
        given = len(operands) - (kind in ("If", "Case"))
        outputs = len(op.output_desc)
        wanted = [(given, outputs)] * max(1, len(bodies))
        if kind == "While":
            wanted = [(given, 1), (given, given)]
        if kind == "If":
            wanted = [(given, outputs)] * 2
        sizes = [(len(body.inputs), len(body.outputs)) for body in bodies]
        if sizes != wanted:
            raise AirError(
                f"the bodies of {op.name!r} ({op.type}) take and give other numbers of values",
                file=self.path,
                expected=wanted,
                found=sizes,
            )

    def _dtype(self, described: Any) -> np.dtype:
        row = BY_GE.get(described.dtype)
        if row is None:
            raise AirError("a dtype that JAX does not have", file=self.path, found=described.dtype)
        return row.array


def as_described(node: Node, values: Any) -> None:
    """Refuse results that have other dtypes and shapes than the file says.

    Raises:
        AirError: with the operator, and both sides.
    """
    for index, (output, value) in enumerate(zip(node.outputs, values, strict=False)):
        if value is None or output.type is UNKNOWN:
            continue
        dtype = jax.dtypes.canonicalize_dtype(output.type.dtype)
        shape = np.shape(value)
        if jax.numpy.result_type(value) != dtype or not fits(output.type.shape, shape):
            raise AirError(
                f"output {index} of {output.name!r} ({node.op}) is not what the file says",
                expected=f"{dtype}{list(output.type.shape)}",
                found=f"{jax.numpy.result_type(value)}{list(shape)}",
            )

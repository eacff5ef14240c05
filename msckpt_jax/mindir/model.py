"""Make the messages of a MindIR file from a Graph, weights left out.

MindSpore's loader demands (measured with MindSpore 2.10.0): nodes in topological order and
constants before their use; one name space for nodes, constants, primitives and graphs; all
arguments of an operator, defaults too; in bodies of control flow no reference to anything outside
except parameters and constants. Files are equal byte for byte from run to run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from msckpt_jax._protos.mind_ir_pb2 import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    PrimitiveProto,
    TensorProto,
)
from msckpt_jax.graph import operators
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import Const, Operand, Scalar, Size, Tensor, Value
from msckpt_jax.mindir import values
from msckpt_jax.mindir.source import PRODUCER
from msckpt_jax.mindir.values import Abstract

#: The MindSpore whose files ours look like.
MINDSPORE = "2.10.0"


def of_graph(graph: Graph, user_info: Mapping[str, str] | None = None) -> ModelProto:
    """The model; its parameters have neither ``raw_data`` nor ``external_data`` yet."""
    model = ModelProto(
        ir_version="1.1", producer_name=PRODUCER, model_version=MINDSPORE,
        little_endian=True, mind_ir_version=3,
    )  # fmt: skip
    if graph.nesting:
        model.doc_string = graph.nesting
    for key, value in (user_info or {}).items():
        model.user_info[key] = value
    _Builder(model, graph)
    return model


class _Builder:
    """The names of all values, and the tables that all graphs of a model share."""

    def __init__(self, model: ModelProto, graph: Graph):
        self.model = model
        self.names: dict[Value, str] = {}
        self.constants: dict[Any, str] = {}
        self.literals: list[NodeProto] = []
        self.primitives: dict[Any, str] = {}
        self.count = itertools.count(1)
        #: The names of the nodes that compute results with names, which nothing else takes.
        self.results = _result_names(graph)
        self.kept = frozenset(self.results.values())
        root = model.graph
        root.name = graph.name
        for parameter in graph.parameters.values():
            proto = values.tensor(parameter.type)
            proto.name = self.names[parameter] = f"{root.name}:{parameter.name}"
            proto.ref_key = parameter.name
            proto.compression_type = TensorProto.NO_COMPRESSION
            root.parameter.append(proto)
        for number, value in enumerate(graph.inputs):
            name = self.names[value] = f"{root.name}:{value.name or f'x{number}'}"
            root.input.add(name=name).tensor.append(values.tensor(value.type))
        writer = _GraphWriter(self, root)
        writer.nodes(graph.nodes)
        writer.finish(graph.outputs, graph.results)
        nodes = list(root.node)  # constants serve all graphs: they come first
        del root.node[:]
        root.node.extend(self.literals + nodes)

    def fresh(self, stem: str) -> str:
        names = (f"{stem}_{number}" for number in self.count)
        return next(name for name in names if name not in self.kept)

    def constant(self, value: Any) -> str:
        key = _key(value)
        if key not in self.constants:
            name = self.constants[key] = self.fresh("constant")
            node = NodeProto(op_type="Constant", name=name, output=[name])
            node.attribute.append(values.attribute("value", value))
            self.literals.append(node)
        return self.constants[key]

    def primitive(self, op: str, attrs: Mapping[str, Any]) -> str:
        key = op, tuple((name, _key(value)) for name, value in attrs.items())
        if key not in self.primitives:
            name = self.primitives[key] = f"{op}:{next(self.count)}"
            function = operators.definition(op) is not None
            kind = PrimitiveProto.PRIMITIVE_FUNCTION if function else PrimitiveProto.PRIMITIVE
            primitive = self.model.primitives.add(
                name=name, op_type=op, instance_name="", prim_type=kind
            )
            primitive.attribute.extend(values.attribute(n, v) for n, v in attrs.items())
        return self.primitives[key]


class _GraphWriter:
    """The writer of a graph's nodes."""

    def __init__(self, builder: _Builder, proto: GraphProto):
        self.builder = builder
        self.proto = proto
        self.sizes: dict[tuple[Value, int | None], str] = {}

    def nodes(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            {"If": self._if, "While": self._while}.get(node.op, self._operator)(node)

    def finish(self, outputs: Sequence[Value | Const], names: Sequence[str]) -> None:
        """Set the graph's result: its only output, or a tuple of all outputs, with their names."""
        single = len(outputs) == 1
        result = self.proto.output.add(
            name=self._name(outputs[0]) if single else self._tuple(outputs)
        )
        types = (v.type if isinstance(v, Value) else Tensor(v.array.dtype, v.array.shape)
                 for v in outputs)  # fmt: skip
        result.tensor.extend(map(values.tensor, types, names))

    def _operator(self, node: Node) -> None:
        inputs = [self._name(operand) for operand in node.inputs]
        types = tuple(map(_abstract, node.outputs))
        if _gives_tuple(node):
            self._unpack(self._node(node.op, inputs, types, node.attrs), node.outputs)
        else:
            name = self.builder.results.get(node.outputs[0])
            name = self._node(node.op, inputs, types[0], node.attrs, name)
            self.builder.names[node.outputs[0]] = name

    def _if(self, node: Node) -> None:
        predicate, *operands = node.inputs
        inputs = [self._name(operand) for operand in operands]
        branches = []
        for side, body in zip(("then", "else"), node.bodies, strict=True):
            writer = self._function(self.builder.fresh(side), body.inputs)
            writer.nodes(body.nodes)
            writer.proto.output.add(name=writer._tuple(body.outputs))
            branches.append(self._partial(writer.proto.name, inputs))
        self._unpack(self._switch(self._name(predicate), branches, node.outputs), node.outputs)

    def _while(self, node: Node) -> None:
        """Write a loop: its header calls ``body``, which ends with a call of it, or ``after``."""
        condition, step = node.bodies
        header = self._function(self.builder.fresh("while"), condition.inputs)
        body = self._function(self.builder.fresh("body"), step.inputs)
        carry = [Value(v.type) for v in step.inputs]
        after = self._function(self.builder.fresh("after"), carry)
        after.proto.output.add(name=after._tuple(carry))

        header.nodes(condition.nodes)
        inputs = [header._name(value) for value in condition.inputs]
        branches = [header._partial(writer.proto.name, inputs) for writer in (body, after)]
        chosen = header._switch(header._name(condition.outputs[0]), branches, node.outputs)
        header.proto.output.add(name=chosen)

        body.nodes(step.nodes)
        again = [body._name(value) for value in step.outputs]
        types = tuple(value.type for value in node.outputs)
        body.proto.output.add(name=body._call(header.proto.name, again, types))

        begin = [self._name(operand) for operand in node.inputs]
        self._unpack(self._call(header.proto.name, begin, types), node.outputs)

    def _function(self, name: str, inputs: Sequence[Value]) -> _GraphWriter:
        proto = self.builder.model.functions.add(name=name)
        for number, value in enumerate(inputs):
            self.builder.names[value] = f"{name}:x{number}"
            proto.input.add(name=f"{name}:x{number}").tensor.append(values.tensor(value.type))
        return _GraphWriter(self.builder, proto)

    def _partial(self, function: str, inputs: Sequence[str]) -> str:
        name = self._node("Partial", [function, *inputs], None)
        self.proto.node[-1].attribute.append(values.closure(AttributeProto.PARTIALCLOSURE, [name]))
        return name

    def _switch(self, predicate: str, branches: Sequence[str], outputs: Sequence[Value]) -> str:
        """The result of the branch that ``predicate`` chooses."""
        chosen = self._node("Switch", [predicate, *branches], None)
        union = values.closure(AttributeProto.UNIONFUNCCLOSURE, branches)
        self.proto.node[-1].attribute.append(union)
        return self._call(chosen, [], tuple(value.type for value in outputs))

    def _call(self, function: str, inputs: Sequence[str], results: Abstract) -> str:
        return self._put(f"REF::{function}", "call", inputs, results)

    def _node(
        self,
        op: str,
        inputs: Sequence[str],
        results: Abstract | None,
        attrs: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> str:
        kind = f"REF::{self.builder.primitive(op, attrs or {})}"
        return self._put(kind, op, inputs, results, name)

    def _put(
        self,
        kind: str,
        stem: str,
        inputs: Sequence[str],
        results: Abstract | None,
        name: str | None = None,
    ) -> str:
        name = f"{self.proto.name}:{name or self.builder.fresh(stem)}"
        node = self.proto.node.add(
            input=inputs, output=[name], name=name, op_type=kind,
            domain=f"Default/{name.partition(':')[2]}",
        )  # fmt: skip
        if results is not None:
            node.attribute.append(values.abstract(results))
        return name

    def _unpack(self, result: str, outputs: Sequence[Value]) -> None:
        for number, value in enumerate(outputs):
            item = [result, self.builder.constant(number)]
            name = self.builder.results.get(value)
            self.builder.names[value] = self._node("TupleGetItem", item, value.type, None, name)

    def _tuple(self, operands: Sequence[Operand]) -> str:
        types = tuple(_abstract(operand) for operand in operands)
        return self._node("MakeTuple", [self._name(operand) for operand in operands], types)

    def _name(self, operand: Operand) -> str:
        """The name of the operand; the nodes that compute it are written first."""
        if isinstance(operand, Value):
            return self.builder.names[operand]
        if isinstance(operand, Const):
            return self.builder.constant(operand.value)
        if isinstance(operand, Size):
            return self._size(operand)
        if all(isinstance(o, Const) and not isinstance(o.value, np.ndarray) for o in operand):
            return self.builder.constant(tuple(o.value for o in operand))  # type: ignore[union-attr]
        return self._tuple(operand)

    def _size(self, size: Size) -> str:
        whole, entry = (size.of, None), (size.of, size.axis)
        if whole not in self.sizes:
            scalars = (np.int64,) * len(size.of.type.shape)
            self.sizes[whole] = self._node("Shape", [self._name(size.of)], scalars)
        if entry not in self.sizes:
            item = [self.sizes[whole], self.builder.constant(size.axis)]
            self.sizes[entry] = self._node("TupleGetItem", item, np.int64)
        return self.sizes[entry]


def _result_names(graph: Graph) -> dict[Value, str]:
    """The names of results that may be those of the nodes that compute them."""
    taken = {value.name for value in (*graph.inputs, *graph.parameters.values())}
    out: dict[Value, str] = {}
    for value, name in zip(graph.outputs, graph.results, strict=False):
        if isinstance(value, Value) and name and name not in taken:
            out.setdefault(value, name)
    return out


def _gives_tuple(node: Node) -> bool:
    """Tell whether MindSpore's operator gives a tuple, even of a single part."""
    if len(node.outputs) > 1:
        return True
    definition = operators.definition(node.op)
    return definition is not None and definition.results[0].kind == "T_TENSOR"


def _abstract(operand: Operand) -> Abstract:
    if isinstance(operand, Scalar):
        return np.int64
    if isinstance(operand, Value):
        return operand.type
    if isinstance(operand, Const) and isinstance(operand.value, np.ndarray):
        return Tensor(operand.value.dtype, operand.value.shape)
    if isinstance(operand, tuple) and not isinstance(operand, Const | Size):
        return tuple(_abstract(part) for part in operand)
    return np.int64


def _key(value: Any) -> Any:
    """The key of a constant, equal for equal constants; ``1``, ``1.0`` and ``True`` are three."""
    if isinstance(value, np.ndarray):
        return value.dtype.name, value.shape, value.tobytes()
    if isinstance(value, tuple | list):
        return type(value), tuple(map(_key, value))
    return type(value), repr(value) if isinstance(value, float) else value

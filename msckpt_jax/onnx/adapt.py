"""A Graph of MindSpore's operators as an ONNX model: by its rows, control flow, names."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import Const, Parameter, Tensor, Value
from msckpt_jax.lowering.problems import PASSING, Problems
from msckpt_jax.onnx import (
    attention,
    lite,
    loops,
    norms,
    opsets,
    packages,
    quantised,
    ranks,
    tidy,
)
from msckpt_jax.onnx.builder import Builder, Names, dims_of, info, initializer, number
from msckpt_jax.onnx.facts import Facts
from msckpt_jax.onnx.rows import ROWS
from msckpt_jax.onnx.rows.quantised import ROWS as QUANTISED

_FLOAT = TensorProto.FLOAT
_BOOL, _I64 = np.dtype(bool), np.dtype(np.int64)


@dataclass(slots=True)
class Adapted:
    """A ``ModelProto`` whose weights have no data yet, and the weights by name."""

    model: ModelProto
    weights: dict[str, Parameter]


def adapt(graph: Graph, *, opset: int | None = None, target: str | None = None) -> Adapted:
    """The ONNX model of a Graph.

    Args:
        graph: has MindSpore's operators.
        opset: the version of ONNX's operators, which gives each its form; by default the lowest
            that the graph needs.
        target: "onnxruntime" takes operators of its own, too; "lite" forms that MindSpore Lite's
            converter reads right.

    Raises:
        UnsupportedError: operators have no row, no form in the opset, no kernel in onnxruntime, or
            are misread by MindSpore Lite: all of them, each with the user's source line.
    """
    opsets.check(opset)
    contributed, for_lite = target == packages.RUNTIME, target == packages.LITE
    if opset is None:
        return opsets.lowest(
            lambda opset, later: _adapted(graph, Names(opset, later, for_lite), contributed)
        )
    return _adapted(graph, Names(opset, (), for_lite), contributed)


def _adapted(graph: Graph, names: Names, contributed: bool) -> Adapted:
    adapting = _Adapting(names)
    adapting.dtypes("input", ((value.name, value.type) for value in graph.inputs))
    adapting.dtypes("weight", ((name, p.type) for name, p in graph.parameters.items()))
    adapting.problems.refuse()
    builder = Builder(names)
    # Names of inputs and weights come first: nothing else may take them.
    inputs = [info(builder.define(value, "x"), value.type) for value in graph.inputs]
    weights = {builder.define(p, p.name): quantised.stored(p) for p in graph.parameters.values()}
    hints = [names.unique(name) if name else "" for name in graph.results]
    adapting.nodes(builder, graph.nodes)
    types = map(builder.type, graph.outputs)
    adapting.dtypes("result", ((str(i), type_) for i, type_ in enumerate(types)))
    adapting.problems.refuse()
    results = adapting.results(builder, graph.outputs, "output", hints)
    made = _tidied(graph.name, builder, inputs, results, weights, contributed)
    own = [helper.make_opsetid("", names.opset)]
    further = [helper.make_opsetid(domain, 1) for domain in sorted(tidy.domains(made.node))]
    model = helper.make_model(
        made,
        producer_name="msckpt_jax",
        opset_imports=[*own, *further],
        ir_version=helper.find_min_ir_version_for(own, True),
    )
    for problem in lite.problems(model) if names.lite else ():
        adapting.problems.note("", problem, "row", UnsupportedError(lite.SOURCE))
    adapting.problems.refuse()
    return Adapted(model, weights)


def _tidied(
    name: str,
    builder: Builder,
    inputs: list[ValueInfoProto],
    results: list[ValueInfoProto],
    weights: Mapping[str, Parameter],
    contributed: bool,
) -> GraphProto:
    """The ``GraphProto``, tidy; ``contributed``: with onnxruntime's own operators."""
    shapes = {info.name: dims_of(info) for info in (*inputs, *builder.infos)}
    shapes |= {name: weight.type.shape for name, weight in weights.items()}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in builder.names.initializers}
    single = {i.name for i in builder.infos if i.type.tensor_type.elem_type == _FLOAT}
    ends = [value.name for value in results]
    nodes = _fused(builder, builder.nodes, ends, shapes, single, contributed)
    names = builder.names
    used = tidy.uses(nodes)
    constants = [tensor for tensor in names.initializers if used[tensor.name]]
    infos = [info for info in builder.infos if used[info.name]]
    initializers = [*constants, *(initializer(name, p) for name, p in weights.items())]
    return helper.make_graph(nodes, name, inputs, results, initializers, value_info=infos)


def _fused(
    builder: Builder,
    nodes: list[NodeProto],
    results: Sequence[str],
    shapes: Mapping[str, Sequence[Any]],
    single: Set[str],
    contributed: bool,
) -> list[NodeProto]:
    """The nodes in the form that runtimes know best, those in bodies too.

    Args:
        builder: gives names and constants.
        nodes: the nodes of a graph, in order.
        results: the names of its results.
        shapes: the shapes of values by name, of those around the graph too.
        single: the names of values that are float32.
        contributed: with onnxruntime's own operators.
    """
    names = builder.names
    for body in (a.g for node in nodes for a in node.attribute if a.HasField("g")):
        infos = [*body.input, *body.value_info]
        inner = {info.name: dims_of(info) for info in infos}
        floats = {i.name for i in infos if i.type.tensor_type.elem_type == _FLOAT}
        ends = [value.name for value in body.output]
        kept = _fused(
            builder, list(body.node), ends, {**shapes, **inner}, single | floats, contributed
        )
        used = tidy.uses(kept)
        seen = [info for info in body.value_info if used[info.name]]
        del body.node[:], body.value_info[:]
        body.node.extend(kept)
        body.value_info.extend(seen)
    nodes = tidy.reshaped_once(nodes)
    nodes = tidy.biases_first(nodes, shapes, builder.name, names.unique)
    nodes = ranks.unexpanded(nodes, shapes, ("Where",) if names.lite else ())
    nodes = ranks.products_of_any_rank(nodes, shapes, names.unique)
    nodes = tidy.matrices_last(nodes, names.unique)
    arrays = names.arrays()
    if not names.lite:  # whose Sqrt refuses negative numbers
        nodes = tidy.nan_computed(nodes, shapes, arrays, builder.name, names.unique)
    nodes = tidy.pads_pooled(nodes, arrays)
    known = list(names.initializers)
    nodes = norms.norms(nodes, Facts.of(nodes, shapes, known), names.opset, single, contributed)
    if names.opset >= attention.OPSET:
        nodes = attention.attentions(nodes, shapes, single, known, builder.name, names.unique)
    return tidy.living(nodes, results)


class _Adapting:
    def __init__(self, names: Names) -> None:
        self.names, self.problems = names, Problems()

    def dtypes(self, what: str, types: Iterable[tuple[str | None, Tensor]]) -> None:
        """Note the inputs, weights or results whose dtypes ONNX files lack."""
        for name, type_ in types:
            try:
                number(type_.dtype)
                opsets.first(self.names.opset, self.names.later,
                             partial(opsets.check_dtype, type_.dtype))  # fmt: skip
                if self.names.lite and (reason := lite.of_dtype(type_.dtype, end=True)):
                    raise UnsupportedError(f"{reason}, {lite.SOURCE}")
            except UnsupportedError as error:
                self.problems.note("", f"the {what} {name}", "row", error)

    def nodes(self, builder: Builder, nodes: Sequence[Node]) -> None:
        for node in nodes:
            try:
                results = self._node(builder, node)
            except (*PASSING, opsets.TooEarlyError):
                raise
            except Exception as error:
                self.problems.note(node.source, node.op, "row", error)
                for value in node.outputs:  # so that later nodes are looked at, too
                    builder.define(value, node.op)
                continue
            values = [results] if isinstance(results, Value) else list(results)
            for value, computed in zip(node.outputs, values, strict=False):
                builder.same(value, computed)

    def results(
        self, builder: Builder, outputs: Sequence[Any], hint: str, given: Sequence[str] = ()
    ) -> list[ValueInfoProto]:
        """The results of a graph under names of their own, as some may be inputs or constants.

        Args:
            builder: builds the graph.
            outputs: what the results are.
            hint: the name of those without one.
            given: names that are kept for the results, empty where there is none.
        """
        infos = []
        for name, output in itertools.zip_longest(given, outputs, fillvalue=""):
            type_ = builder.type(output)
            value = Value(type_, hint)
            if name:
                builder.keep(value, name)
            builder.node("Identity", [builder.name(output)], [value], {})
            builder.infos.pop()
            infos.append(info(builder.name(value), type_))
        return infos

    def _node(self, builder: Builder, node: Node) -> Any:
        if node.op == "If":
            return self._if(builder, node)
        if node.op == "While":
            counter = None if self.names.lite else loops.counter(node)  # it has no Scan
            return self._scan(builder, node, counter) if counter else self._while(builder, node)
        row = ROWS.get(node.op) or QUANTISED.get(node.op)
        if row is None:
            raise UnsupportedError("has no row in onnx/rows")
        return row(builder, node)

    def _if(self, builder: Builder, node: Node) -> list[Value]:
        """Add an If, whose branches see the values around them, so that no operands are passed."""
        predicate, *operands = node.inputs
        if self.names.lite:  # bodies take no inputs of the graph around them there
            operands = [self._passed(builder, operand) for operand in operands]
        then, otherwise = (
            self._body(builder, body, operands, kind)
            for body, kind in zip(node.bodies, ("then", "else"), strict=True)
        )
        results = [Value(value.type) for value in node.outputs]
        branches = {"then_branch": then, "else_branch": otherwise}
        builder.node("If", [builder.name(predicate)], results, branches)
        return results

    @staticmethod
    def _passed(builder: Builder, operand: Any) -> Any:
        """The operand as the result of a node."""
        if not isinstance(operand, Value):
            return operand
        return builder("Identity", operand, type=operand.type)

    def _body(
        self, builder: Builder, body: Graph, operands: Sequence[Any], kind: str
    ) -> GraphProto:
        inner = Builder(builder.names, builder)
        for value, operand in zip(body.inputs, operands, strict=True):
            inner.same(value, operand)
        self.nodes(inner, body.nodes)
        results = self.results(inner, body.outputs, kind)
        return helper.make_graph(inner.nodes, kind, [], results, value_info=inner.infos)

    def _scan(self, builder: Builder, node: Node, counter: loops.Counter) -> list[Any]:
        """Add a Scan, whose body is given what is carried but for the counter, and the counter."""
        _, step = node.bodies
        place, numbers = counter
        end = Const(np.array(numbers[-1] + 1, numbers.dtype))
        if len(step.inputs) == 1:
            return [end]
        inner = Builder(builder.names, builder)
        last = step.inputs[place]
        given = [*(value for value in step.inputs if value is not last), last]
        carry = [Value(value.type, "carry") for value in given]
        inputs = [info(inner.define(value, "carry"), value.type) for value in carry]
        for value, taken in zip(given, carry, strict=True):
            inner.same(value, taken)
        self.nodes(inner, step.nodes)
        state = [value for i, value in enumerate(step.outputs) if i != place]
        results = self.results(inner, state, "next")
        body = helper.make_graph(inner.nodes, "step", inputs, results, value_info=inner.infos)
        operands = [x for i, x in enumerate(node.inputs) if i != place]
        values = [Value(value.type) for i, value in enumerate(node.outputs) if i != place]
        names = [*map(builder.name, operands), builder.name(numbers)]
        builder.node("Scan", names, values, {"body": body, "num_scan_inputs": 1})
        return [*values[:place], end, *values[place:]]

    def _while(self, builder: Builder, node: Node) -> list[Value]:
        """Add a Loop, which asks after each step whether to go on: the condition is there twice."""
        test, step = node.bodies
        first = self._condition(builder, test, node.inputs)
        inner = Builder(builder.names, builder)
        count, going = Value(Tensor(_I64, ()), "step"), Value(Tensor(_BOOL, ()), "going")
        carry = [Value(value.type, "carry") for value in step.inputs]
        inputs = [
            info(inner.define(value, "carry"), value.type) for value in (count, going, *carry)
        ]
        for value, given in zip(step.inputs, carry, strict=True):
            inner.same(value, given)
        self.nodes(inner, step.nodes)
        again = self._condition(inner, test, step.outputs)
        results = self.results(inner, [again, *step.outputs], "next")
        body = helper.make_graph(inner.nodes, "step", inputs, results, value_info=inner.infos)
        values = [Value(value.type) for value in node.outputs]
        most = builder.name(np.array(lite.MOST_STEPS, np.int64)) if self.names.lite else ""
        operands = [most, builder.name(first), *map(builder.name, node.inputs)]
        builder.node("Loop", operands, values, {"body": body})
        return values

    def _condition(self, builder: Builder, test: Graph, operands: Sequence[Any]) -> Any:
        for value, operand in zip(test.inputs, operands, strict=True):
            builder.same(value, operand)
        self.nodes(builder, test.nodes)
        (answer,) = test.outputs
        return answer

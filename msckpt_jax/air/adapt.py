"""GE's graphs of a Graph of MindSpore's operators: rows, control flow, dynamic sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from msckpt_jax._protos.ge_ir_pb2 import ModelDef
from msckpt_jax.air import dtype_table, notes
from msckpt_jax.air.builder import Builder
from msckpt_jax.air.narrowing import NARROW
from msckpt_jax.air.rows import ROWS
from msckpt_jax.air.rows.row import Ints, product
from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import Const, Operand, Parameter, Size, Tensor, Value, values_of
from msckpt_jax.lowering.problems import PASSING, Problems

#: Operators whose operands MindSpore promotes.
_PROMOTED = frozenset(
    {"Add", "Atan2", "Div", "FloorDiv", "FloorMod", "Maximum", "Minimum", "Mul", "Pow", "RealDiv"}
    | {"Sub", "TruncateDiv", "TruncateMod", "Equal", "NotEqual", "Greater", "GreaterEqual", "Less"}
    | {"LessEqual"}
)

#: Operators whose low bits depend on the low bits of their operands only.
_MODULAR = frozenset({"Mul", "Pow"})


@dataclass(slots=True)
class Adapted:
    """A ``ModelDef`` with its graphs, the main graph first, and the main graph's weights."""

    model: Any = field(default_factory=ModelDef)
    weights: dict[str, Parameter] = field(default_factory=dict)


def adapt(graph: Graph, *, narrow: bool = False) -> Adapted:
    """GE's graphs of a Graph.

    Args:
        graph: a graph of MindSpore's operators.
        narrow: whether dtypes of 64 bits become those of 32, in arguments and weights too.

    Raises:
        UnsupportedError: if operators have no row; it names all, each with the user's source line.
    """
    adapting = _Adapting(NARROW if narrow else {})
    adapting.main(graph)
    adapting.problems.refuse()
    return adapting.out


class _Adapting:
    def __init__(self, dtypes: Mapping[np.dtype, np.dtype]):
        self.dtypes = dtypes
        self.out = Adapted()
        self.problems = Problems()
        self._bodies = 0

    def main(self, graph: Graph) -> None:
        message = self.out.model.graph.add(name=graph.name)
        builder = Builder(message, self.dtypes, graph.parameters)
        for value in graph.inputs:
            self._try(builder, f"the input {value.name!r}", [value], builder.argument, value)
        for name, parameter in graph.parameters.items():
            self._try(builder, f"the weight {name!r}", [parameter], builder.parameter, parameter)
        self._fill(builder, graph.nodes, graph.outputs, graph.results)
        self.out.weights = builder.weights
        types = {name: weight.type.dtype for name, weight in builder.weights.items()}
        alike = [name for name, dtype in types.items() if notes.looks_constant(name, dtype)]
        notes.add(self.out.model, graph.nesting, alike)

    def body(self, graph: Graph, inputs: Sequence[Value], results: Sequence[Any], kind: str) -> str:
        """Add a graph of control flow; return its name."""
        name = f"{kind}_{self._bodies}"
        self._bodies += 1
        builder = Builder(self.out.model.graph.add(name=name), self.dtypes)
        for value in inputs:
            builder.argument(value)
        self._fill(builder, graph.nodes, results)
        return name

    def _fill(
        self,
        builder: Builder,
        nodes: Sequence[Node],
        results: Sequence[Any],
        names: Sequence[str] = (),
    ) -> None:
        operands = [operand for node in nodes for operand in node.inputs]
        emit = Emit(
            builder,
            frozenset(v for o in (*operands, *results) for v in values_of(o)),
            {value: node for node in nodes for value in node.outputs},
        )
        for node in nodes:
            emit.node = node
            self._try(builder, node.source, node.outputs, self._node, emit, node)
        values = [r.array if isinstance(r, Const) else r for r in results]
        self._try(builder, f"the results of the graph {builder.message.name!r}", [],
                  builder.results, values, names)  # fmt: skip
        if builder.has_unused:
            builder.prune()

    def _try(
        self, builder: Builder, where: str, results: Sequence[Value], step: Any, *arguments: Any
    ) -> None:
        """Run a step; note its problem and take its results for made, so that others follow."""
        try:
            step(*arguments)
        except UnsupportedError as error:
            text = str(error)
            known = not where or text.startswith(f"{where}: ")
            self.problems[text if known else f"{where}: {text}"] = None
        except PASSING:
            raise
        except Exception as error:
            op = next((each.op for each in arguments if isinstance(each, Node)), "the graph")
            self.problems.note(where, op, "row", error)
        else:
            return
        for value in results:
            builder.missing(value)

    def _node(self, emit: Emit, node: Node) -> None:
        if node.op in _FLOW:
            _FLOW[node.op](self, emit, node)
        elif node.op in ROWS:
            ROWS[node.op].adapt(emit, node)
        else:
            raise emit.refuse(node, "has no counterpart among the operators of GE")


class Emit:
    """The function that a row emits operators with: ``emit(kind, inputs, results, attributes)``.

    ``used`` are the values that the graph needs, ``makers`` the nodes that give values.
    """

    def __init__(self, builder: Builder, used: frozenset[Value], makers: Mapping[Value, Node]):
        self.used, self.makers = used, makers
        self._builder = builder
        self.node: Node | None = None

    def __call__(
        self,
        kind: str,
        inputs: Sequence[Any],
        results: Sequence[Value],
        attributes: Mapping[str, Any] | None = None,
        subgraphs: Sequence[str] = (),
    ) -> None:
        operands = [self._input(operand) for operand in inputs]
        if kind in _PROMOTED:
            operands = self._promoted(operands, results)
        if kind in _MODULAR and not self._taken(kind, results[0]):
            self._modular(kind, operands, results[0], attributes)
            return
        self._builder.operator(kind, operands, results, attributes, subgraphs)

    def operand(self, node: Node, wanted: Any) -> Any:
        """An input of a row: an operand by its position, integers, or nothing."""
        if wanted is None:
            return None
        if not isinstance(wanted, Ints):
            return node.inputs[wanted]
        given = node.inputs[wanted.position]
        parts = given if isinstance(given, tuple) and not isinstance(given, Const | Size) else None
        if parts is not None and any(isinstance(part, Size | Value) for part in parts):
            return self._packed(parts, wanted.dtype)
        if isinstance(given, Size):
            return self.scalar(given, wanted.dtype)
        if isinstance(given, Value):
            return given
        numbers = np.array(_numbers(given), wanted.dtype)
        return numbers if wanted.rank is None else np.atleast_1d(numbers)

    def type(self, operand: Any) -> Tensor:
        """The type of a tensor operand."""
        operand = self._input(operand)
        if isinstance(operand, np.ndarray):
            return Tensor(operand.dtype, operand.shape)
        return operand.type

    def value(
        self, kind: str, inputs: Sequence[Any], result: Any, shape: Any, **attributes: Any
    ) -> Value:
        """The result, of a dtype and shape, of an operator that has a single result."""
        out = Value(Tensor(np.dtype(result), tuple(shape)))
        self(kind, inputs, [out], attributes)
        return out

    def reshape(
        self, operand: Any, shape: tuple[Any, ...], known: tuple[Any, ...] | None = None
    ) -> Value:
        """The operand in another shape, of numbers, or of sizes whose dims are ``known``."""
        dtype, old = self.type(operand)
        if known is not None:
            return self.value("Reshape", [operand, self._packed(shape, np.int64)], dtype, known)
        known = tuple(product(old) if size == -1 else size for size in shape)
        return self.value("Reshape", [operand, np.array(shape, np.int64)], dtype, known)

    def transpose(self, operand: Any, order: Sequence[int]) -> Any:
        """The operand itself where its axes are in order."""
        dtype, shape = self.type(operand)
        if list(order) == list(range(len(shape))):
            return operand
        shape = [shape[axis] for axis in order]
        return self.value("Transpose", [operand, np.array(order, np.int64)], dtype, shape)

    def becomes(self, result: Value, value: Value) -> None:
        """Make a result of the node a value that is there already."""
        self._builder.same(result, value)

    def same(self, result: Value, operand: Any) -> None:
        """Make a result of the node an operand, which may be a constant."""
        operand = self._input(operand)
        if isinstance(operand, np.ndarray):
            operand = self._builder.constant(operand)
        self.becomes(result, operand)

    def cast(self, operand: Any, dtype: Any) -> Any:
        if isinstance(operand, Const):
            operand = self._tensor(operand)
        if isinstance(operand, np.ndarray):
            return operand.astype(dtype)
        shape = self.type(operand).shape
        return self.value("Cast", [operand], dtype, shape, dst_type=np.dtype(dtype))

    def all(self, node: Node, count: int) -> list[Value]:
        """The node's results, and as many that nobody uses as make ``count`` of them."""
        rest = [Value(node.outputs[0].type) for _ in range(count - len(node.outputs))]
        return [*node.outputs, *rest]

    def row(self, node: Node) -> None:
        """Emit a node by its row."""
        ROWS[node.op].adapt(self, node)

    def written(self, dtype: np.dtype) -> np.dtype:
        """The dtype that stands in the file for a dtype of the graph."""
        return self._builder.dtypes.get(dtype, dtype)

    def leave(self) -> None:
        """Note that operators that are there already may have no user."""
        self._builder.has_unused = True

    def _taken(self, kind: str, result: Value) -> bool:
        return dtype_table.takes(kind, "x1", self.written(result.type.dtype))

    def _modular(self, kind: str, operands: list[Any], result: Value, attributes: Any) -> None:
        """Compute in a dtype that GE takes and that has the same low bits."""
        dtype, shape = result.type
        work = np.dtype(np.int64 if dtype.itemsize == 8 else np.int32)
        if self.written(work).itemsize < dtype.itemsize:
            assert self.node is not None
            raise self.refuse(
                self.node,
                f"of {dtype.name} is computed as {work.name}, which narrow=True excludes; "
                "cast the operands to uint32",
            )
        wide = Value(Tensor(work, shape))
        operands = [self.cast(operand, work) for operand in operands]
        self._builder.operator(kind, operands, [wide], attributes)
        self._builder.operator("Cast", [wide], [result], {"dst_type": dtype})

    def _promoted(self, operands: list[Any], results: Sequence[Value]) -> list[Any]:
        """Operands of one dtype: MindSpore promotes, GE does not."""
        dtypes = [self.type(operand).dtype for operand in operands]
        wanted = results[0].type.dtype
        if wanted.kind == "b":
            wanted = np.result_type(*dtypes)
        return [
            x if d == wanted else self.cast(x, wanted)
            for x, d in zip(operands, dtypes, strict=True)
        ]

    def refuse(self, node: Node, problem: str) -> UnsupportedError:
        where = f"{node.source}: " if node.source else ""
        return UnsupportedError(f"{where}{node.op} {problem}")

    def _input(self, operand: Any) -> Any:
        if isinstance(operand, Const):
            return self._tensor(operand)
        if isinstance(operand, list | tuple):
            return [self._input(part) for part in operand]
        return operand

    def _tensor(self, operand: Const) -> np.ndarray:
        try:
            return operand.array
        except TypeError as error:
            assert self.node is not None
            raise self.refuse(self.node, f"where {error}") from None

    def _packed(self, parts: Sequence[Any], dtype: Any) -> Value:
        """A tensor of the parts of a shape with dynamic sizes."""
        pieces = []
        for part in parts:
            if isinstance(part, Const):
                pieces.append(np.array([part.value], dtype))
            else:
                pieces.append(self.reshape(self.scalar(part, dtype), (1,)))
        if len(pieces) == 1:  # which GE does not join
            return pieces[0]
        axis = np.array(0, np.int32)
        return self.value("ConcatV2", [pieces, axis], dtype, (len(parts),), N=len(pieces))

    def scalar(self, part: Any, dtype: Any) -> Value:
        """A size as a tensor of rank 0; a value that is one stays."""
        if not isinstance(part, Size):
            return part
        rank = len(part.of.type.shape)
        shape = self.value("Shape", [part.of], dtype, (rank,), dtype=np.dtype(dtype))
        where = np.array(part.axis, np.int64), np.array(0, np.int64)
        return self.value("GatherV2", [shape, *where], dtype, (), batch_dims=0)


def _numbers(operand: Operand) -> Any:
    if isinstance(operand, tuple) and not isinstance(operand, Const | Size):
        return [_numbers(part) for part in operand]
    assert isinstance(operand, Const)
    return operand.value


def _captured(bodies: Sequence[Graph]) -> list[Parameter]:
    """Weights that bodies refer to, which GE does not allow: they become arguments."""
    weights: dict[Parameter, None] = {}
    for body in bodies:
        used: Iterator[Any] = (
            v for node in body.walk() for operand in node.inputs for v in values_of(operand)
        )
        weights |= dict.fromkeys(v for v in used if isinstance(v, Parameter))
        weights |= dict.fromkeys(v for v in body.outputs if isinstance(v, Parameter))
        for node in body.walk():
            for inner in node.bodies:
                weights |= dict.fromkeys(v for v in inner.outputs if isinstance(v, Parameter))
    return list(weights)


def _if(adapting: _Adapting, emit: Emit, node: Node) -> None:
    predicate, *operands = node.inputs
    extra = _captured(node.bodies)
    names = [
        adapting.body(body, [*body.inputs, *extra], body.outputs, kind)
        for body, kind in zip(node.bodies, ("then", "else"), strict=True)
    ]
    emit("If", [predicate, [*operands, *extra]], node.outputs, {}, names)


def _while(adapting: _Adapting, emit: Emit, node: Node) -> None:
    extra = _captured(node.bodies)
    test, step = node.bodies
    names = [
        adapting.body(test, [*test.inputs, *extra], test.outputs, "cond"),
        adapting.body(step, [*step.inputs, *extra], [*step.outputs, *extra], "body"),
    ]
    rest = [Value(parameter.type) for parameter in extra]
    carry, results = [*node.inputs, *extra], [*node.outputs, *rest]
    emit("While", [carry], results, {"parallel_iterations": 10}, names)


_FLOW = {"If": _if, "While": _while}

"""Compare what a file says of each operator's results with what the operator gives.

GE infers dtypes and shapes itself and believes no file, so a description that is not what GE finds
describes another network: axes, attributes or inputs are not what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from graphlib import CycleError, TopologicalSorter
from math import prod
from typing import Any

import jax
import numpy as np

from msckpt_jax import dtypes
from msckpt_jax.air.attributes import attributes, unheeded
from msckpt_jax.air.described import dtype_name, fits, in_order, type_of
from msckpt_jax.air.meaning import MEANINGS
from msckpt_jax.air.prototypes import prototypes
from msckpt_jax.air.results import SMALL, UnfitError, computed, is_type, results
from msckpt_jax.air.wiring import CONSTANTS, DATA, Problem, arguments, end, ports, sources
from msckpt_jax.air.wiring import results as ends
from msckpt_jax.graph.evaluate import FLOW
from msckpt_jax.graph.values import UNKNOWN, Tensor


def result_problems(model: Any) -> Iterator[tuple[Any, Any, Problem]]:
    """Yield the graph, the operator and the problem, of a model whose references are sound."""
    graphs = {graph.name: graph for graph in model.graph}
    with jax.enable_x64(True):
        for graph in model.graph:
            looking = _Graph(graph)
            for op in looking.ordered():
                for problem in (*looking.problems(op), *_flow_problems(op, looking, graphs)):
                    yield graph, op, problem


class _Graph:
    """A graph while its results are compared.

    Attributes:
        known: results that are known, such as constants and shapes, by operator and number.
        believed: types that results have although their descriptions say nothing.
        makers: functions that compute those that known operands give.
    """

    def __init__(self, graph: Any):
        self.by_name = {op.name: op for op in graph.op}
        self.known: dict[tuple[str, int], np.ndarray] = {}
        self.believed: dict[tuple[str, int], Tensor] = {}
        self.makers: dict[tuple[str, int], Callable[[], np.ndarray]] = {}

    def ends(self, graph: Any) -> list[Tensor]:
        """The types of the graph's results."""
        return [type_of(self.by_name[e.name].output_desc[e.index]) for e in ends(graph)]

    def ordered(self) -> list[Any]:
        edges = {
            name: [source.name for source in map(end, op.input) if source]
            for name, op in self.by_name.items()
        }
        try:
            return [self.by_name[name] for name in TopologicalSorter(edges).static_order()]
        except CycleError:
            return []  # another check tells it

    def problems(self, op: Any) -> Iterator[Problem]:
        yield from self._inputs_as_sources(op)
        if op.type in CONSTANTS:
            self._note_constant(op)
        elif op.type in DATA:
            yield from _compared("its value", type_of(op.output_desc[0]), type_of(op.input_desc[0]))
        elif op.type in MEANINGS and op.type in prototypes():
            yield from self._results(op)

    def types(self, op: Any) -> list[Tensor | None]:
        """The types of what comes in, as the operators that give it describe it."""
        return [
            None if source is None else self._type_of(source.name, source.index)
            for source in sources(op)
        ]

    def _type_of(self, name: str, index: int) -> Tensor:
        described = type_of(self.by_name[name].output_desc[index])
        return self.believed.get((name, index), described)

    def _inputs_as_sources(self, op: Any) -> Iterator[Problem]:
        tuples = _tuple_inputs(op)
        for position, given in enumerate(self.types(op)):
            described = type_of(op.input_desc[position])
            silent = not described.shape and position in tuples
            if given is None or silent or UNKNOWN in (given, described):
                continue
            if not fits(described.shape, given.shape):
                what = f"input {position} is described as {_text(described)}"
                yield Problem(f"{what}, its source gives {_text(given)}")

    def _note_constant(self, op: Any) -> None:
        tensor = op.attr["value"].t
        type_ = type_of(tensor.desc)
        if type_ is UNKNOWN or any(isinstance(dim, str) or dim < 0 for dim in type_.shape):
            return
        size = int(prod(type_.shape))  # type: ignore[arg-type]
        if size <= SMALL and len(tensor.data) == size * type_.dtype.itemsize:
            array = np.frombuffer(tensor.data, type_.dtype).reshape(type_.shape)  # type: ignore[arg-type]
            self.known[op.name, 0] = array

    def _results(self, op: Any) -> Iterator[Problem]:
        prototype = prototypes()[op.type]
        attrs = attributes(op, prototype)
        if aside := unheeded(op.type, attrs):
            pairs = ", ".join(f"{name}={value!r}" for name, value in aside.items())
            yield Problem(f"its results are not compared: {pairs} is not run in JAX", fault=False)
            return
        parts = attrs.get("num_split", attrs.get("num"))
        if parts is not None and parts != len(op.output_desc):
            yield Problem(f"gives {parts} parts, there are {len(op.output_desc)} outputs")
            return
        given = in_order(self._values(op), op, prototype, None)
        try:
            out = results(op.type, given, attrs)
            if out is None and self._compute(op):
                given = in_order(self._values(op), op, prototype, None)
                out = results(op.type, given, attrs)
        except UnfitError as error:
            yield Problem(f"its operands do not go together: {error}")
            return
        for index, (described, result) in enumerate(zip(op.output_desc, out or (), strict=False)):
            if result is None:
                continue
            type_ = type_of(described)
            if not type_.shape and prototype.outputs[-1].dynamic:
                self.believed[op.name, index] = _type(result)
            else:
                yield from _compared(f"output {index}", type_, _type(result))
            if isinstance(result, np.ndarray):
                self.known[op.name, index] = result
            elif _is_known(given) and _is_small(result):
                self.makers[op.name, index] = partial(computed, op.type, given, attrs, index)

    def _values(self, op: Any) -> list[Any]:
        """The values that come in: arrays where they are known, else types."""
        keys = [None if source is None else (source.name, source.index) for source in sources(op)]
        types = self.types(op)
        return [self.known.get(key, type_) for key, type_ in zip(keys, types, strict=True)]  # type: ignore[call-overload]

    def _compute(self, op: Any) -> bool:
        """Compute what comes in from known operands only; tell whether there was any."""
        keys = [(source.name, source.index) for source in sources(op) if source is not None]
        new = [key for key in keys if key in self.makers and key not in self.known]
        for key in new:
            self.known[key] = self.makers[key]()
        return bool(new)


def _tuple_inputs(op: Any) -> set[int]:
    """The inputs that belong to a dynamic port, of which MindSpore describes none."""
    prototype = prototypes().get(op.type)
    if prototype is None:
        return set(range(len(op.input_desc))) if op.type == "NetOutput" else set()
    dynamic = {port.name for port in prototype.inputs if port.dynamic}
    where = ports(op, prototype)
    return {at for name, at in where.items() if name.rstrip("0123456789") in dynamic}


def _type(result: Any) -> Tensor:
    if isinstance(result, np.ndarray):
        return Tensor(result.dtype, result.shape)
    return result


def _is_known(given: Any) -> bool:
    return all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(given, is_leaf=is_type))


def _is_small(type_: Tensor) -> bool:
    sizes = [dim for dim in type_.shape if isinstance(dim, int)]
    return len(sizes) == len(type_.shape) and prod(sizes) <= SMALL


def _compared(what: str, described: Tensor, made: Tensor) -> Iterator[Problem]:
    if UNKNOWN in (described, made):
        return
    if described.dtype != made.dtype or not fits(described.shape, made.shape):
        yield Problem(f"{what} is described as {_text(described)}, it is {_text(made)}")


def _text(type_: Tensor) -> str:
    row = dtypes.of_array(type_.dtype)
    name = type_.dtype.name if row is None or row.ge is None else dtype_name(row.ge)
    return f"{name}[{', '.join(map(str, type_.shape))}]"


def _flow_problems(op: Any, inside: _Graph, graphs: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems of control flow: what bodies take and give is what the operator does."""
    kind = op.type.removeprefix("Stateless")
    if kind not in FLOW:
        return
    given = inside.types(op)[kind in ("If", "Case") :]
    gives = [type_of(described) for described in op.output_desc]
    bodies = [graphs[name] for name in op.subgraph_name if name in graphs]
    wanted = [gives] * len(bodies)
    if kind == "While":
        wanted = [[Tensor(np.dtype(bool), ())], given]
        yield from _each("output", gives, given, "its input gives")
    for body, results_ in zip(bodies, wanted, strict=False):
        takes = [type_of(argument.output_desc[0]) for argument in arguments(body)]
        ends_ = _Graph(body).ends(body)
        name = f"graph {body.name!r}"
        yield from _each(f"{name}: argument", takes, given, "it is given")
        yield from _each(f"{name}: result", ends_, results_, "the operator has")


def _each(
    what: str, there: Sequence[Tensor | None], wanted: Sequence[Tensor | None], who: str
) -> Iterator[Problem]:
    if len(there) != len(wanted):
        yield Problem(f"{what}s: there are {len(there)}, {who} {len(wanted)}")
    for index, (have, want) in enumerate(zip(there, wanted, strict=False)):
        if have is None or want is None or UNKNOWN in (have, want):
            continue
        if have.dtype != want.dtype or not fits(have.shape, want.shape):
            yield Problem(f"{what} {index} is {_text(have)}, {who} {_text(want)}")

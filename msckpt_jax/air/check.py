"""Check whether GE's loader and its compiler's front accept an AIR file.

The checks are those of GE's ``model_serialize.cc``, and those that ``atc`` makes before it compiles
(kernels are its own business). A check is a small generator of problems; there are
checks of the model, of a graph, and (in ``check_operator``) of an operator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from msckpt_jax import display
from msckpt_jax.air import chips
from msckpt_jax.air.check_operator import operator_problems, reference_problems
from msckpt_jax.air.check_results import result_problems
from msckpt_jax.air.wiring import DATA, GraphView, Problem, Source, end
from msckpt_jax.visible import visible

#: protobuf's limit on a message, hence GE's on a file.
MAXIMUM_BYTES = 2**31 - 1


class Finding(NamedTuple):
    """A problem; ``fault``: GE refuses the file, or reads something else than is meant."""

    fault: bool
    where: str
    problem: str

    def __str__(self) -> str:
        return visible(f"{'fault' if self.fault else 'note'}: {self.where}: {self.problem}")


def check(model: Any, *, soc: str | None = None) -> list[Finding]:
    """Problems of a ``ModelDef``; empty when it has none.

    Args:
        model: a ``ge_ir_pb2.ModelDef``.
        soc: the name of a chip, with whose kernels the operators are compared where a table of
            these is known; otherwise a note says so.
    """
    chip = None if soc is None else chips.named(soc)
    engine = None if chip is None else chip.kernels
    findings = [] if chip is None or engine else [_no_table(chip)]
    findings += _findings(
        model,
        (_model, _graphs_are_unique, _nesting),
        _GRAPH_CHECKS,
        lambda operator, view, graphs: operator_problems(operator, view, graphs, engine),
    )
    sound = not any(finding.fault for finding in findings) or not references(model)
    if sound:  # else results cannot be told
        findings += [
            Finding(problem.fault, _place(graph, operator), problem.text)
            for graph, operator, problem in result_problems(model)
        ]
    return findings


def _no_table(chip: chips.Chip) -> Finding:
    near = f"; did you mean {chip.near}?" if chip.near else ""
    problem = f"no kernel table for {chip.version}: operators were not compared{near}"
    return Finding(False, "model", problem)


def references(model: Any) -> list[Finding]:
    """References to things that are not there: the file cannot be read as a graph."""
    checks = (_names_are_unique, _edges_exist, _arguments_are_numbered, _indices_are_unique)
    model_checks = (_graphs_are_unique, _nesting)
    findings = _findings(model, model_checks, checks, reference_problems)
    return [finding for finding in findings if finding.fault]


def _findings(
    model: Any,
    model_checks: Sequence[Callable[[Any], Iterator[Problem]]],
    graph_checks: Sequence[Callable[[GraphView], Iterator[Problem]]],
    operator_check: Callable[[Any, GraphView, frozenset[str]], Iterator[Problem]],
) -> list[Finding]:
    findings = [
        Finding(fault, "model", text) for look in model_checks for text, fault in look(model)
    ]
    names = frozenset(graph.name for graph in model.graph)
    for number, graph in enumerate(model.graph):
        view = GraphView(graph, number == 0)
        where = f"graph {graph.name!r}"
        findings += [
            Finding(fault, where, text) for look in graph_checks for text, fault in look(view)
        ]
        for operator in graph.op:
            for text, fault in operator_check(operator, view, names):
                findings.append(Finding(fault, _place(graph, operator), text))
    return findings


def _place(graph: Any, operator: Any) -> str:
    return f"graph {graph.name!r}, operator {operator.name!r} ({operator.type})"


#: Limits of graphs within graphs. An operator counts as often as its graph is run from; each of the
#: file pays for so many, and any file for the first.
_NESTED_PER_OPERATOR, _NESTED_ALWAYS = 50, 50_000
_MAXIMUM_DEPTH = 100


def _nesting(model: Any) -> Iterator[Problem]:
    """Refuse graphs that contain themselves, or so many others that they cannot be run."""
    inner = {
        graph.name: [name for operator in graph.op for name in operator.subgraph_name]
        for graph in model.graph
    }
    own = {graph.name: len(graph.op) for graph in model.graph}
    most = _NESTED_ALWAYS + _NESTED_PER_OPERATOR * sum(own.values())
    sizes: dict[str, tuple[int, int]] = {}
    try:
        for name in TopologicalSorter(inner).static_order():
            below = [sizes[part] for part in inner.get(name, ())]
            count = 1 + own.get(name, 0) + sum(count for count, _ in below)
            sizes[name] = count, 1 + max((depth for _, depth in below), default=0)
            if count > most or sizes[name][1] > _MAXIMUM_DEPTH:
                yield Problem(
                    f"graph {name!r} has graphs within graphs beyond all bounds: {count:,} "
                    f"operators (at most {most:,} for a file of this size), "
                    f"{sizes[name][1]} levels (at most {_MAXIMUM_DEPTH})"
                )
                return
    except CycleError as error:
        yield Problem(f"graphs contain themselves: {' -> '.join(error.args[1])}")


def _model(model: Any) -> Iterator[Problem]:
    if not model.graph:
        yield Problem("has no graph")
    used = {
        name for graph in model.graph for operator in graph.op for name in operator.subgraph_name
    }
    for graph in model.graph[1:]:
        if graph.name not in used:
            yield Problem(f"graph {graph.name!r} is used by no operator", fault=False)


def _graphs_are_unique(model: Any) -> Iterator[Problem]:
    for name, count in Counter(graph.name for graph in model.graph).items():
        if count > 1:
            yield Problem(f"graph {name!r} is there {count} times")


# Checks of a graph.


def _has_operators(view: GraphView) -> Iterator[Problem]:
    if not view.graph.op:
        yield Problem("has no operator")


def _names_are_unique(view: GraphView) -> Iterator[Problem]:
    for name, count in Counter(operator.name for operator in view.graph.op).items():
        if count > 1:
            yield Problem(f"operator {name!r} is there {count} times; GE keeps the last")


def _edges_exist(view: GraphView) -> Iterator[Problem]:
    ends = [("input", text) for text in view.graph.input]
    ends += [("output", text) for text in view.graph.output]
    for kind, text in ends:
        source = end(text) or Source(text, 0)
        operator = view.by_name.get(source.name)
        if operator is None:
            yield Problem(f"{kind} {text!r}: no such operator")
        elif kind == "output" and not 0 <= source.index < len(operator.output_desc):
            yield Problem(
                f"output {text!r}: it has {display.counted(len(operator.output_desc), 'output')}"
            )


def _outputs_are_kept(view: GraphView) -> Iterator[Problem]:
    ends = sum(operator.type == "NetOutput" for operator in view.graph.op)
    if ends > 1:
        yield Problem(f"has {ends} NetOutput operators")
    if not ends and not view.graph.output:
        yield Problem("has neither an output nor a NetOutput", fault=False)
    if not ends and len(set(view.graph.output)) < len(view.graph.output):
        yield Problem("gives a value twice, GE keeps one of them; add a NetOutput")


def _arguments_are_numbered(view: GraphView) -> Iterator[Problem]:
    data = [operator for operator in view.graph.op if operator.type in DATA]
    numbers = [operator.attr["index"].i if "index" in operator.attr else -1 for operator in data]
    if sorted(numbers) != list(range(len(data))):
        text = f"the indices of its Data are {numbers}, not 0 to {len(data) - 1}"
        yield Problem(text, fault=not view.root)


def _indices_are_unique(view: GraphView) -> Iterator[Problem]:
    data = [operator for operator in view.graph.op if operator.type in DATA]
    indices = Counter(operator.attr["index"].i for operator in data if "index" in operator.attr)
    for index, count in indices.items():
        if count > 1:
            yield Problem(f"{count} Data have the index {index}; GE numbers them as they come")


def _is_acyclic(view: GraphView) -> Iterator[Problem]:
    edges = {
        operator.name: {text.rpartition(":")[0] for text in operator.input if ":" in text}
        for operator in view.graph.op
    }
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        yield Problem(f"has a cycle: {' -> '.join(error.args[1])}")


_GRAPH_CHECKS: tuple[Callable[[GraphView], Iterator[Problem]], ...] = (
    _has_operators,
    _names_are_unique,
    _edges_exist,
    _outputs_are_kept,
    _arguments_are_numbered,
    _indices_are_unique,
    _is_acyclic,
)

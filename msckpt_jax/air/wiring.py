"""The operators of one graph with their edges resolved, as GE's loader resolves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msckpt_jax.air.prototypes import Prototype

#: Types through which a graph receives its arguments.
DATA = frozenset({"Data", "RefData", "AnnData", "AippData"})
#: Types of constants, weights among them.
CONSTANTS = frozenset({"Const", "Constant"})


class Problem(NamedTuple):
    """A problem; ``fault``: GE refuses it, or reads something else than is meant."""

    text: str
    fault: bool = True


@dataclass(slots=True)
class GraphView:
    """A graph while it is checked; ``outputs`` are the dtypes (numbers) of operators' results."""

    graph: Any
    root: bool
    by_name: Mapping[str, Any] = field(init=False)
    outputs: Mapping[str, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.by_name = {operator.name: operator for operator in self.graph.op}
        self.outputs = {
            name: [described.dtype for described in operator.output_desc]
            for name, operator in self.by_name.items()
        }


@dataclass(slots=True)
class Source:
    """The source of a data input: output ``index`` of the operator ``name``."""

    name: str
    index: int


def end(text: str) -> Source | None:
    """The source in ``name:index``, split at the last colon as GE does; None without an index."""
    name, colon, index = text.rpartition(":")
    digits = index.removeprefix("-")
    sound = colon and digits.isascii() and digits.isdigit() and len(digits) < 10
    return Source(name, int(index)) if sound else None


def sources(operator: Any) -> list[Source | None]:
    """The data inputs by position; None stands for an input that is not fed.

    ``name:-1`` orders execution and takes no position; an input without an index takes a
    position and stays unconnected.
    """
    ends = map(end, operator.input)
    return [source for source in ends if source is None or source.index >= 0]


def arguments(graph: Any) -> list[Any]:
    """The operators that stand for the graph's arguments, in their order.

    Where the indices are not 0, 1, 2 and so on, GE numbers the operators as they come.
    """
    data = [op for op in graph.op if op.type in DATA]
    indices = [op.attr["index"].i if "index" in op.attr else -1 for op in data]
    if sorted(indices) != list(range(len(data))):
        return data
    return sorted(data, key=lambda op: op.attr["index"].i)


def results(graph: Any) -> list[Source]:
    """The graph's results: the inputs of its NetOutput, or without it each output once."""
    ends = [op for op in graph.op if op.type == "NetOutput"]
    if ends:
        return [source for source in sources(ends[0]) if source is not None]
    return [end(text) or Source(text, 0) for text in dict.fromkeys(graph.output)]


def result_names(graph: Any) -> list[str]:
    """The names of the graph's results, which the descriptions of its NetOutput may have."""
    ends = [op for op in graph.op if op.type == "NetOutput"]
    told = [described.name for op in ends[:1] for described in op.input_desc]
    return told if any(told) and len(told) == len(results(graph)) else []


def input_names(operator: Any) -> tuple[list[str], list[int]]:
    """The names of ports and their positions: the bookkeeping attributes that GE reads."""
    keys, values = (
        getattr(operator.attr[key].list, field)[:] if key in operator.attr else []
        for key, field in (("_input_name_key", "s"), ("_input_name_value", "i"))
    )
    return [key.decode("utf-8", "replace") for key in keys], values


def ports(
    operator: Any, prototype: Prototype, named: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Port -> position of its input, in the prototype's order, for the inputs that there are.

    ``named`` are the operator's ``input_names`` as such a mapping, where the caller has it.
    """
    if named is None:
        named = dict(zip(*input_names(operator), strict=False))
    count, positions, at = len(operator.input_desc), {}, 0
    for place, port in enumerate(prototype.inputs):
        if port.dynamic:
            rest = sum(not later.optional for later in prototype.inputs[place + 1 :])
            number = _members(port.name, named) if named else max(0, count - at - rest)
            members = [f"{port.name}{index}" for index in range(number)]
        else:
            members = [port.name]
        for name in members:
            if named and name in named:
                positions[name] = named[name]
            elif not named and at < count:
                positions[name], at = at, at + 1
    return positions


def _members(name: str, named: Mapping[str, int]) -> int:
    number = 0
    while f"{name}{number}" in named:
        number += 1
    return number

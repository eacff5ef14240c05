"""The graph that every export format is written from and every model file is read into.

Its operators are MindSpore's, or GE's where it was read from an AIR file. All values are tensors:
an operator with several results has several outputs, an argument that is a tuple is a Python tuple
of operands, and control flow is structured (``If`` and ``While`` nodes own the graphs of their
bodies). The formats' own ways to say these things (MakeTuple, TupleGetItem, Partial, Switch; GE and
ONNX subgraphs) are the business of their writers and readers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from msckpt_jax import display
from msckpt_jax.graph import listing
from msckpt_jax.graph.values import Const, Operand, Parameter, Value


@dataclass(eq=False, slots=True)
class Node:
    """An operator with its operands and results.

    ``op`` is its name. ``inputs`` are in the order of its definition, all of them, defaults too.
    ``attrs`` are the attributes of operators that take some.

    ``If``: inputs are a bool scalar and the operands; ``bodies`` are (then, else), both take the
    operands. ``While``: inputs are the carry; ``bodies`` are (condition, step), both take it.
    In AIR files there are also ``Case`` (an index and the operands; a body for each index) and
    ``PartitionedCall`` (the operands; one body).

    ``source`` is the user's line that the node comes from, for messages.
    """

    op: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Value, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    bodies: tuple[Graph, ...] = ()
    source: str = ""


@dataclass(eq=False, slots=True, repr=False)
class Graph:
    """Nodes in an order in which they can be computed.

    ``parameters`` are the weights of the root graph; the bodies of control flow may refer to them,
    and to nothing else from outside. ``state`` are the names of those that the model changes: their
    new values are the last outputs. ``results`` are the names of the outputs before, empty where
    these have none, or no names at all. ``nesting`` is the note of how the arguments and the result
    of the function nest inputs and outputs, "" where they are flat (``msckpt_jax.graph.nesting``).
    """

    name: str
    inputs: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    outputs: list[Value | Const] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)
    nesting: str = ""
    state: list[str] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """Yield all nodes, those of bodies after the node that owns them."""
        for node in self.nodes:
            yield node
            for body in node.bodies:
                yield from body.walk()

    def graphs(self) -> Iterator[Graph]:
        """Yield this graph and the bodies in it, each once, however many nodes share it."""
        waiting: list[Graph] = [self]
        seen = {id(self)}
        while waiting:
            graph = waiting.pop()
            yield graph
            for body in (body for node in graph.nodes for body in node.bodies):
                if id(body) not in seen:
                    seen.add(id(body))
                    waiting.append(body)

    def __repr__(self) -> str:
        return listing.text(f"Graph {self.name}", self)

    def _repr_html_(self) -> str:
        return display.page(f"Graph {self.name}", *listing.html(self))

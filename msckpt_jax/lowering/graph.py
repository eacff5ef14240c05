"""The graph that every export format is written from and every model file is read into.

Its vocabulary are MindSpore's operators. All values are tensors: an operator with several results
has several outputs, an argument that is a tuple in MindSpore is a Python tuple of operands, and
control flow is structured (``If`` and ``While`` nodes own the graphs of their bodies). The formats'
own ways to say these things (MakeTuple, TupleGetItem, Partial, Switch; GE and ONNX subgraphs) are
the business of their writers and readers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from msckpt_jax import display

#: A static size, or the name of a dynamic one (``"b"``; names made by readers begin with ``?``).
Dim: TypeAlias = int | str


class Tensor(NamedTuple):
    """What is known of a value before it is computed."""

    dtype: np.dtype
    shape: tuple[Dim, ...]


#: The type of a result of which a file says nothing.
UNKNOWN = Tensor(np.dtype(np.void), ())


@dataclass(eq=False, slots=True)
class Value:
    """A tensor that a graph receives or a node computes. Two values are never equal."""

    type: Tensor
    name: str = ""


@dataclass(eq=False, slots=True)
class Parameter(Value):
    """A weight. ``name`` is its name in the CheckPoint; ``data`` any array, sharded or lazy too."""

    data: Any = None


_SCALARS = {bool: np.bool_, int: np.int64, float: np.float32}


class Const(NamedTuple):
    """A constant argument.

    ``value`` is an ``np.ndarray`` (a tensor, rank 0 included), an ``np.dtype`` (a dtype argument),
    or what MindSpore calls a scalar or sequence: None, bool, int, float, str, tuple of these.
    """

    value: Any

    @property
    def array(self) -> np.ndarray:
        """It as a tensor: MindSpore's scalars are bool, int64 and float32.

        Raises:
            TypeError: it is no number.
        """
        if isinstance(self.value, np.ndarray):
            return self.value
        if type(self.value) not in _SCALARS:
            raise TypeError(f"{self.value!r} is no tensor")
        return np.array(self.value, _SCALARS[type(self.value)])


@dataclass(eq=False, slots=True)
class Scalar(Value):
    """A whole number computed of sizes, by operators of MindSpore's scalars: no tensor."""


class Size(NamedTuple):
    """A scalar argument: the size of a dynamic axis of a value, known when the graph runs."""

    of: Value
    axis: int


#: What a node takes: tensors, constants, sizes, and tuples of them.
Operand: TypeAlias = "Value | Const | Size | tuple[Operand, ...]"


@dataclass(eq=False, slots=True)
class Node:
    """One operator.

    ``op`` is MindSpore's name. ``inputs`` are in the order of MindSpore's definition, all of them,
    defaults too. ``attrs`` are the attributes of operators that take some.

    ``If``: inputs are a bool scalar and the operands; ``bodies`` are (then, else), both take the
    operands. ``While``: inputs are the carry; ``bodies`` are (condition, step), both of the carry.

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

    ``parameters`` are those of the root graph; the bodies of control flow may refer to them, and
    to nothing else from outside.
    """

    name: str
    inputs: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    outputs: list[Value | Const] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)

    def walk(self) -> Iterator[Node]:
        """All nodes, those of bodies after the node that owns them."""
        for node in self.nodes:
            yield node
            for body in node.bodies:
                yield from body.walk()

    def __repr__(self) -> str:
        from msckpt_jax.lowering import listing

        return listing.text(f"Graph {self.name}", self)

    def _repr_html_(self) -> str:
        from msckpt_jax.lowering import listing

        return display.page(f"Graph {self.name}", *listing.html(self))


def values_of(operand: Operand) -> Iterator[Value]:
    """The values that an operand refers to."""
    if isinstance(operand, Value):
        yield operand
    elif isinstance(operand, Size):
        yield operand.of
    elif isinstance(operand, tuple) and not isinstance(operand, Const):
        for part in operand:
            yield from values_of(part)

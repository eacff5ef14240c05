"""The parts of which rows of :mod:`msckpt_jax.air.rows` are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Const, Dim

#: MindSpore has an adapter to this GE operator; " of X" follows where it is another operator's.
ADAPTER = "MindSpore's adapter"
#: MindSpore 2.10 wrote this GE operator in a file, though it has another adapter or none.
WRITTEN = "a file that MindSpore wrote"
#: GE's prototype has the definition that is needed; MindSpore has no fitting adapter.
PROTOTYPE = "GE's prototype"

#: ``adapt(emit, node)``: emit GE operators for a node. ``emit(kind, inputs, results, attributes)``.
Adapt = Callable[[Any, Node], None]


@dataclass(frozen=True, slots=True)
class Row:
    """The way from a node to GE operators, the evidence for it, and the sources of attributes."""

    adapt: Adapt
    operators: tuple[str, ...]
    evidence: str = ADAPTER
    note: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


def given(node: Node, position: int) -> Any:
    """A constant operand as Python has it: a number, a tuple of numbers, a dtype."""
    return _plain(node.inputs[position])


def _plain(operand: Any) -> Any:
    if not isinstance(operand, Const):
        return tuple(_plain(part) for part in operand)
    value = operand.value
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


@dataclass(frozen=True, slots=True)
class Ints:
    """An operand that is a constant tensor of integers: rank 1, or rank 0 where it is a number."""

    position: int
    dtype: Any = np.int64
    rank: int | None = None


def row(kind: str, *inputs: Any, evidence: str = ADAPTER, note: str = "", **attributes: Any) -> Row:
    """A row of a single GE operator.

    Args:
        kind: GE's name.
        inputs: in the order of GE's prototype, each a position in MindSpore's definition, `Ints`,
            or None for an optional input that is not given; all tensors of the node if left out.
        evidence: the reason to believe the row.
        note: a remark for readers.
        attributes: values, or functions of the node.
    """

    def adapt(emit: Any, node: Node) -> None:
        operands = [emit.operand(node, wanted) for wanted in inputs or range(len(node.inputs))]
        values = {k: v(node) if callable(v) else v for k, v in attributes.items()}
        emit(kind, operands, node.outputs, values)

    return Row(adapt, (kind,), evidence, note, attributes)


@dataclass(frozen=True, slots=True)
class Arg:
    """An attribute that MindSpore has as an operand."""

    position: int
    convert: Callable[[Any], Any] = lambda value: value

    def __call__(self, node: Node) -> Any:
        return self.convert(given(node, self.position))


@dataclass(frozen=True, slots=True)
class Attr:
    """An attribute that MindSpore's operator has, too."""

    name: str
    default: Any = None

    def __call__(self, node: Node) -> Any:
        return node.attrs.get(self.name, self.default)


def product(dims: Sequence[Dim]) -> Dim:
    """The number of elements, "?" where that is dynamic."""
    known = [dim for dim in dims if isinstance(dim, int)]
    return prod(known) if len(known) == len(dims) else "?"


def listed(value: Any) -> list[int]:
    """The numbers as a list, also where there is a single number."""
    return [value] if isinstance(value, int) else list(value)

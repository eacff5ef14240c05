"""What a row of :mod:`msckpt_jax.air.rows` is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Const, Dim

#: MindSpore has an adapter to this GE operator; " of X" follows where it is that of another name.
ADAPTER = "MindSpore's adapter"
#: MindSpore 2.10 wrote this GE operator for it, though it has another adapter or none.
WRITTEN = "a file that MindSpore wrote"
#: GE's prototype has the definition that is needed; MindSpore has no adapter, or an unfit one.
PROTOTYPE = "GE's prototype"

#: ``adapt(emit, node)``: emit GE operators for a node. ``emit(kind, inputs, results, attributes)``.
Adapt = Callable[[Any, Node], None]


@dataclass(frozen=True, slots=True)
class Row:
    """How a node becomes GE operators, what that rests on, and where attributes come from."""

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
    """The operand is a constant tensor of integers: rank 1, or rank 0 where it is a number."""

    position: int
    dtype: Any = np.int64
    rank: int | None = None


def row(kind: str, *inputs: Any, evidence: str = ADAPTER, note: str = "", **attributes: Any) -> Row:
    """One GE operator.

    Args:
        kind: GE's name.
        inputs: in the order of GE's prototype, each a position in MindSpore's definition, `Ints`,
            or None for an optional one that is not given; all tensors of the node if left out.
        evidence: what the row rests on.
        note: what a reader should know.
        attributes: values, or functions of the node.
    """

    def adapt(emit: Any, node: Node) -> None:
        chosen = inputs or range(len(node.inputs))
        operands = [emit.operand(node, what) for what in chosen]
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
    """An attribute that MindSpore has as one, too."""

    name: str
    default: Any = None

    def __call__(self, node: Node) -> Any:
        return node.attrs.get(self.name, self.default)


def product(dims: Sequence[Dim]) -> Dim:
    """How many elements there are, "?" where that is dynamic."""
    known = [dim for dim in dims if isinstance(dim, int)]
    return prod(known) if len(known) == len(dims) else "?"


def listed(value: Any) -> list[int]:
    """One number is a list of it."""
    return [value] if isinstance(value, int) else list(value)

"""The values of a graph: tensors that are computed, weights, constants, sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

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


def values_of(operand: Operand) -> Iterator[Value]:
    """The values that an operand refers to."""
    if isinstance(operand, Value):
        yield operand
    elif isinstance(operand, Size):
        yield operand.of
    elif isinstance(operand, tuple) and not isinstance(operand, Const):
        for part in operand:
            yield from values_of(part)

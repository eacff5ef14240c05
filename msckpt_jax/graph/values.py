"""The values of a graph: tensors that are computed, weights, constants, sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

#: A static size, or the name of a dynamic size (``"b"``; names made by readers begin with ``?``).
Dim: TypeAlias = int | str


class Tensor(NamedTuple):
    """The type of a value: known before it is computed."""

    dtype: np.dtype
    shape: tuple[Dim, ...]


#: The type of a result whose type the file does not tell.
UNKNOWN = Tensor(np.dtype(np.void), ())


@dataclass(eq=False, slots=True)
class Value:
    """A tensor that a graph receives or a node computes. Two values are never equal."""

    type: Tensor
    name: str = ""


@dataclass(eq=False, slots=True)
class Parameter(Value):
    """A weight. ``name`` is that of the CheckPoint, ``data`` any array, even sharded or lazy."""

    data: Any = None


_SCALARS = {bool: np.bool_, int: np.int64, float: np.float32}


class Const(NamedTuple):
    """A constant argument.

    ``value`` is an ``np.ndarray`` (a tensor, rank 0 included), an ``np.dtype`` (a dtype argument),
    or a scalar or sequence of MindSpore's: None, bool, int, float, str, tuple of these.
    """

    value: Any

    @property
    def array(self) -> np.ndarray:
        """The constant as a tensor: MindSpore's scalars are bool, int64 and float32.

        Raises:
            TypeError: the constant is no number.
        """
        if isinstance(self.value, np.ndarray):
            return self.value
        if type(self.value) not in _SCALARS:
            raise TypeError(f"the constant {self.value!r} is no tensor")
        return np.array(self.value, _SCALARS[type(self.value)])


class _Absent:
    def __repr__(self) -> str:
        return "absent"


#: A result of a body of ``If`` that only the other body has: nothing reads it.
ABSENT = Const(_Absent())


@dataclass(eq=False, slots=True)
class Scalar(Value):
    """A whole number computed from sizes by MindSpore's operators of scalars: no tensor."""


class Size(NamedTuple):
    """A scalar argument: the size of a dynamic axis of a value, known when the graph runs."""

    of: Value
    axis: int


#: An argument of a node: a tensor, a constant, a size, or a tuple of these.
Operand: TypeAlias = "Value | Const | Size | tuple[Operand, ...]"


def values_of(operand: Operand) -> Iterator[Value]:
    """Yield the values that an operand refers to."""
    if isinstance(operand, Value):
        yield operand
    elif isinstance(operand, Size):
        yield operand.of
    elif isinstance(operand, tuple) and not isinstance(operand, Const):
        for part in operand:
            yield from values_of(part)

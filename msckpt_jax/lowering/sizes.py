"""Computed dynamic sizes: the text of a symbolic dimension as operators of scalars."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph.values import Const, Scalar, Size, Tensor

#: A number that is known, the size of an axis, or a number that is computed of these.
Number: TypeAlias = Const | Size | Scalar

SCALAR = Tensor(np.dtype(np.int64), ())

#: MindSpore's operators for those that jax.export writes between dynamic sizes.
_OPERATORS = {
    ast.Add: "ScalarAdd", ast.Sub: "ScalarSub", ast.Mult: "ScalarMul", ast.Pow: "ScalarPow",
    "floordiv": "ScalarFloorDiv", "mod": "ScalarMod", "max": "ScalarMax", "min": "ScalarMin",
}  # fmt: skip

#: What they compute.
_FUNCTIONS: dict[str, Callable[[int, int], int]] = {
    "ScalarAdd": operator.add, "ScalarSub": operator.sub, "ScalarMul": operator.mul,
    "ScalarPow": operator.pow, "ScalarFloorDiv": operator.floordiv, "ScalarMod": operator.mod,
    "ScalarMax": max, "ScalarMin": min,
}  # fmt: skip

#: Numbers for the other names while a text is looked at.
_PRIMES = ((5, 11, 17, 23, 31), (7, 3, 29, 13, 19))


class Solution(NamedTuple):
    """The way from the size of an axis to a size in its text.

    Attributes:
        text: that of the axis, as ``2*s + 1``.
        formula: the size, where ``_`` is that of the axis: ``floordiv(_ - 1, 2)``.
    """

    text: str
    formula: str


def solution(name: str, texts: Collection[str], waiting: tuple[str, ...] = ()) -> Solution | None:
    """The first text from which a size follows: it is the size, times a factor, plus the rest.

    Sizes in these must follow, too, without those that are ``waiting`` for this one.
    """
    waiting = (*waiting, name)
    for text in texts:
        names = names_in(text)
        if name not in names or (formula := _formula(name, text)) is None:
            continue
        others = [each for each in names if each != name]
        if all(each not in waiting and solution(each, texts, waiting) for each in others):
            return Solution(text, formula)
    return None


def names_in(text: str) -> list[str]:
    """The names of sizes in a text, in their order."""
    return [name for name in dict.fromkeys(_NAME.findall(text)) if name not in _OPERATORS]


_NAME = re.compile(r"[A-Za-z_]\w*")


def _formula(name: str, text: str) -> str | None:
    if name == text:
        return "_"
    tree = ast.parse(_python(text), mode="eval")
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    if any(name in names_in(ast.unparse(argument)) for call in calls for argument in call.args):
        return None
    others = [each for each in names_in(text) if each != name]
    for primes in _PRIMES:
        known = dict(zip(others, primes, strict=False))
        zero, one, two = (evaluated(text, {**known, name: n}) for n in range(3))
        if one == zero or two - one != one - zero:
            return None
    at = [re.sub(rf"\b{name}\b", number, text) for number in "01"]
    rest, factor = f"({at[0]})", f"(({at[1]}) - ({at[0]}))"
    if not others:
        rest, factor = str(evaluated(rest, {})), str(evaluated(factor, {}))
    moved = "_" if rest == "0" else f"_ - ({rest})"
    return moved if factor == "1" else f"floordiv({moved}, {factor})"


def evaluated(text: str, sizes: Mapping[str, int]) -> int:
    """The number that a text stands for at these sizes.

    Raises:
        KeyError: it has another name.
    """

    def function(op: str, x: Number, y: Number) -> Const:
        assert isinstance(x, Const)
        assert isinstance(y, Const)
        return Const(_FUNCTIONS[op](x.value, y.value))

    result = computed(text, lambda name: Const(sizes[name]), function)
    assert isinstance(result, Const)
    return result.value


def computed(
    text: str, size: Callable[[str], Number], emit: Callable[[str, Number, Number], Number]
) -> Number:
    """The size that a text such as ``floordiv(b, 2) + 1`` stands for.

    Args:
        text: a symbolic dimension as JAX prints it.
        size: gives the size of an axis by its name.
        emit: emits an operator of two numbers.

    Raises:
        UnsupportedError: the text has an operator that JAX does not print today.
    """

    def number(tree: ast.expr) -> Number:
        match tree:
            case ast.Constant(value=int(value)):
                return Const(value)
            case ast.Name(id=name):
                return size(name)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value))):
                return Const(-value)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return emit("ScalarMul", number(operand), Const(-1))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return emit(_OPERATORS[type(op)], number(left), number(right))
            case ast.Call(func=ast.Name(id=name), args=[left, right]) if name in _OPERATORS:
                return emit(_OPERATORS[name], number(left), number(right))
        raise UnsupportedError(f"the size {ast.unparse(tree)} has an unknown operator")

    return number(ast.parse(_python(text), mode="eval").body)


def _python(text: str) -> str:
    return text.strip().replace("^", "**")

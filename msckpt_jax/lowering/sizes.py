"""Computed dynamic sizes: the text of a symbolic dimension as operators of scalars."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TypeAlias

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

    return number(ast.parse(text.replace("^", "**"), mode="eval").body)

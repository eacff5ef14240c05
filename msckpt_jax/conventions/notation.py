"""The notation of transforms in the tables of families: ``T; rs(D, H, hd); mul(1/sqrt(hd))``.

| step | meaning |
|---|---|
| `id` | unchanged |
| `T` | the last two axes are swapped |
| `rs(a, b, ...)` | reshaped, in row-major order |
| `pm(...)` | transposed with this permutation |
| `mul(x)`, `add(x)` | in float32; the inverse of `mul(1/x)` is `mul(x)`, of `mul(x)` a division |
| `ilv`, `dil` | the halves of the last axis are interleaved, or pairs taken apart |
| `ev`, `od` | every second element of the last axis, from 0 or from 1 |
| `sl(a, i, j)` | elements i to j of axis a |
| `pad0(n)` | zero rows up to n |
| `est(a)` | the tensors of all experts, on a new axis a |
| `stk(a, s, n)` | part s of n, on a new axis a |
| `cat(a, s, n)` | part s of n of a concatenation along axis a |
| `ilc(a, s, n)` | row r of part s of n becomes row n r + s of axis a |
"""

from __future__ import annotations

import ast
import functools
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from msckpt_jax.conventions.geometry import Slot
from msckpt_jax.conventions.transform import Step, Transform, Workpiece
from msckpt_jax.errors import CheckpointError

#: The sizes of a model by their letters (``D``: the hidden size), and its other properties.
Symbols: TypeAlias = Mapping[str, Any]
#: Tables are files, which may be anyone's: the longest text, and the greatest number of elements.
_LONGEST, _GREATEST = 500, 1 << 53


class Call(NamedTuple):
    """A step: its name and its arguments."""

    name: str
    arguments: tuple[str, ...]


def parse(text: str) -> list[Call]:
    """The steps of a notation.

    Raises:
        CheckpointError: a step is unknown, or has the wrong number of arguments.
    """
    if len(text) > _LONGEST:
        raise CheckpointError(f"steps are not longer than {_LONGEST} characters")
    calls = []
    for step in filter(None, (part.strip() for part in re.split(r"[;&>]", text))):
        match = re.fullmatch(r"(\w+)(?:\((.*)\))?", step)
        name = match[1] if match else step
        if match is None or name not in _STEPS:
            raise CheckpointError(f"{step!r} is no step of a transform; known: {', '.join(_STEPS)}")
        calls.append(Call(name, tuple(a.strip() for a in _split(match[2] or ""))))
    return calls


def _split(text: str) -> list[str]:
    """The arguments of a call, which may hold calls themselves."""
    out, depth = [""], 0
    for letter in text:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            out.append("")
        else:
            out[-1] += letter
    return [part for part in out if part.strip()]


class Builder(Workpiece):
    """A transform while its steps are taken, beginning with a tensor of ``shape``."""

    def __init__(self, shape: Sequence[int], symbols: Symbols):
        axes = [(Slot(atom, size),) for atom, size in enumerate(shape)]
        super().__init__(shape, axes, axes)
        self.symbols = symbols
        self.steps: list[Step] = []

    def take(self, call: Call, *more: int) -> None:
        """Take a step, whose arguments ``more`` follows."""
        values = [evaluate(argument, self.symbols) for argument in call.arguments]
        before = self.shape()
        try:
            _STEPS[call.name](self, *values, *more)
        except (TypeError, ValueError, LookupError, ArithmeticError) as error:
            text = f"{call.name}({', '.join(call.arguments)})"
            raise CheckpointError(
                f"the step {text} cannot be taken: {error}", found=f"shape {list(before)}"
            ) from None
        if call.name == "mul" and (match := re.fullmatch(r"1\s*/(.*)", call.arguments[0])):
            self.steps[-1] = self.steps[-1]._replace(
                undo=("multiply", float(evaluate(match[1], self.symbols)))
            )

    def shape(self) -> tuple[int, ...]:
        return tuple(math.prod(slot.size for slot in axis) for axis in self.right)

    def built(self) -> Transform:
        sides = ([tuple(axis) for axis in side] for side in (self.left, self.right))
        left, right = map(tuple, sides)
        return Transform(tuple(self.atoms), left, right, tuple(self.steps))


def _swap(work: Builder) -> None:
    work.right[-2:] = work.right[:-3:-1]


def _permute(work: Builder, *order: int) -> None:
    if sorted(order) != list(range(len(work.right))):
        raise CheckpointError(f"pm{order} is no permutation of {len(work.right)} axes")
    work.right[:] = [work.right[axis] for axis in order]


def _reshape(work: Builder, *shape: int) -> None:
    whole = all(type(size) is int and size >= 0 for size in shape)
    if not whole or math.prod(shape) != math.prod(work.shape()):
        raise CheckpointError(f"{list(work.shape())} cannot be reshaped to {list(shape)}")
    slots = (slot for axis in work.right for slot in axis)
    rest = [slot for slot in slots if slot.size > 1 or slot.loop or slot.atom is not None]
    work.right[:] = [rest]  # cut() finds the slots here
    axes: list[list[Slot]] = []
    for size in reversed(shape):
        axis: list[Slot] = []
        while size > 1:
            if rest[-1].size > size:
                work.cut(rest, len(rest) - 1, size)
            if size % rest[-1].size:
                raise CheckpointError(f"an axis of {rest[-1].size} does not fit into one of {size}")
            size //= rest[-1].size
            axis.insert(0, rest.pop())
        axes.insert(0, axis)
    for slot in rest:  # of a single element
        axes[0].insert(0, slot)
    work.right[:] = axes


def _halves(work: Builder, inner: int, swap: bool) -> None:
    """Read the last axis as (outer, inner), and exchange the two."""
    axis = work.right[-1]
    _split_axis(work, axis, inner)
    work.right[-1] = [*axis[1:], axis[0]] if swap else axis


def _split_axis(work: Builder, axis: list[Slot], inner: int) -> None:
    if len(axis) != 1 or axis[0].size % inner:
        raise CheckpointError("halves and pairs are of an axis of even size, by itself")
    work.cut(axis, 0, inner)


def _interleave(work: Builder) -> None:
    _halves(work, math.prod(slot.size for slot in work.right[-1]) // 2, swap=True)


def _every_second(start: int) -> Callable[[Builder], None]:
    def take(work: Builder) -> None:
        axis = work.right[-1]
        _split_axis(work, axis, 2)
        gone = axis.pop().atom
        for slots in work.left:
            slots[:] = [Slot(None, 2, start) if slot.atom == gone else slot for slot in slots]
        _drop(work, gone)

    return take


def _slice(work: Builder, axis: int, start: int, stop: int) -> None:
    slots = work.right[axis]
    if len(slots) != 1 or slots[0] != Slot(slots[0].atom, work.length(slots[0])):
        raise ValueError("a slice is of an axis by itself")
    whole = type(start) is type(stop) is int
    if not whole or not 0 <= start < stop <= slots[0].size:
        raise ValueError(f"there are no elements {start} to {stop} of {slots[0].size}")
    atom = slots[0].atom
    assert atom is not None
    work.atoms[atom] = stop - start
    slots[0] = Slot(atom, stop - start)
    for held in work.left:
        held[:] = [s._replace(start=s.start + start) if s.atom == atom else s for s in held]


def _drop(work: Builder, gone: int | None) -> None:
    """Forget an atom that neither side has any more."""
    assert gone == len(work.atoms) - 1
    work.atoms.pop()


def _part(work: Builder, axis: int, start: int, total: int) -> None:
    """Put an axis at an offset of a longer one."""
    slots = work.right[axis]
    if not slots:
        slots.append(Slot(None, 1))
    inner = math.prod(slot.size for slot in slots[1:])
    if start % inner or total % inner:
        raise CheckpointError(f"a part cannot begin at {start} of {total}")
    first = slots[0]
    slots[0] = first._replace(size=total // inner, start=first.start + start // inner)


def _multiply(work: Builder, by: float) -> None:
    if not math.isfinite(by) or not by:
        raise ValueError("a factor is a number other than zero")
    work.steps.append(Step(("multiply", by), ("divide", by)))


def _add(work: Builder, by: float) -> None:
    if not math.isfinite(by):
        raise ValueError("what is added is a number")
    work.steps.append(Step(("add", by), ("add", -by)))


def _experts(work: Builder, axis: int) -> None:
    count = work.symbols["E"]
    assert isinstance(count, int)
    work.right.insert(axis, [Slot(None, count, loop="e")])


_STEPS: dict[str, Callable[..., None]] = {
    "id": lambda work: None,
    "T": _swap,
    "rs": _reshape,
    "pm": _permute,
    "mul": _multiply,
    "add": _add,
    "ilv": _interleave,
    "dil": lambda work: _halves(work, 2, swap=True),
    "ev": _every_second(0),
    "od": _every_second(1),
    "sl": _slice,
    "pad0": lambda work, total: _part(work, 0, 0, total),
    "est": _experts,
    "stk": lambda work, axis, part, count: work.right.insert(axis, [Slot(None, count, part)]),
    "cat": lambda work, axis, part, count, start, total: _part(work, axis, start, total),
    "ilc": lambda work, axis, part, count: work.right[axis].append(Slot(None, count, part)),
}

_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.USub: operator.neg, ast.Not: operator.not_,
}  # fmt: skip


def evaluate(text: str, symbols: Symbols) -> Any:
    """The value of an expression: numbers, symbols, arithmetic, comparisons, ``sqrt``, ``dt``.

    Raises:
        CheckpointError: anything else, or a symbol that the model does not have.
    """
    try:
        return _value(_parsed(text), symbols)
    except CheckpointError:
        raise
    except _NO_VALUE as error:
        shown = text if len(text) < 80 else f"{text[:80]}..."
        raise CheckpointError(f"{shown!r} is no expression of a model's sizes: {error}") from error


_NO_VALUE = (SyntaxError, ArithmeticError, TypeError, ValueError, RecursionError, MemoryError)


@functools.lru_cache(4096)
def _parsed(text: str) -> ast.expr:
    if len(text) > _LONGEST:
        raise ValueError(f"it is longer than {_LONGEST} characters")
    return ast.parse(text.strip(), mode="eval").body


def _value(node: ast.expr, symbols: Symbols) -> Any:
    match node:
        case ast.Constant(value=int() | float() | str() as value):
            return value
        case ast.Name(id=name) if name in symbols:
            return symbols[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(operand, symbols))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_number(left, symbols), _number(right, symbols))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _value(body if _value(test, symbols) else orelse, symbols)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, symbols), _value(right, symbols))
        case ast.BoolOp(op=op, values=values):
            every = (_value(value, symbols) for value in values)
            return all(every) if isinstance(op, ast.And) else any(every)
        case ast.Call(func=ast.Name(id="sqrt"), args=[argument], keywords=[]):
            return math.sqrt(_number(argument, symbols))
        case ast.Call(func=ast.Name(id="dt"), args=[argument], keywords=[]):
            return float(np.dtype(symbols["dtype"]).type(_number(argument, symbols)))
    letters = ", ".join(key for key in symbols if len(key) < 4)
    raise CheckpointError(f"{ast.unparse(node)!r} is no size of the model; known: {letters}")


def _number(node: ast.expr, symbols: Symbols) -> int | float:
    value = _value(node, symbols)
    if not isinstance(value, int | float) or abs(value) > _GREATEST:
        raise ValueError(f"{ast.unparse(node)} is no number, or too great a one")
    return value


def evaluate_shape(text: str, symbols: Symbols) -> tuple[int, ...]:
    """The shape of a text like ``(H*hd, D)``."""
    if not re.fullmatch(r"\(.*\)", text.strip()):
        raise CheckpointError(f"{text!r} is no shape like (V, D)")
    shape = tuple(evaluate(part, symbols) for part in _split(text.strip()[1:-1]))
    if not all(type(size) is int and 0 <= size <= _GREATEST for size in shape):
        raise CheckpointError(f"{text!r} gives no shape, but {shape}")
    return shape

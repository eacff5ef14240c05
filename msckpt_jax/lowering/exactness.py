"""The results of a function that are exact by nature, and the precision that the others are due.

A number is exact where it is only moved, chosen, compared, converted, or made of its bits: every
runtime owes the same. One sum, product, quotient or root of such numbers is rounded correctly by
all. Of two in a row XLA may make one, with other roundings. Then a result is as precise as the
narrowest float that has a part in it. Products of matrices that follow each other are each rounded
anew: their units add up as the errors of chance do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np

from msckpt_jax._compat import Atom, Equation, Literal, opened
from msckpt_jax.lowering.rewrites import calls

#: The unit in the last place of 1 in the narrowest float that a result is made of; None: exact.
Precision: TypeAlias = float | None

_EXACT = frozenset({
    "abs", "argmax", "argmin", "bitcast_convert_type", "broadcast_in_dim", "ceil", "clamp", "clz",
    "complex", "concatenate", "conj", "convert_element_type", "copy", "copy_p", "copysign",
    "cummax", "cummin", "dynamic_slice", "dynamic_update_slice", "eq", "eq_to", "floor", "gather",
    "ge", "gt", "imag", "iota", "is_finite", "le", "le_to", "lt", "lt_to", "max", "min", "ne",
    "neg", "nextafter", "pad", "real", "reduce_max", "reduce_min", "reduce_precision", "rem",
    "reshape", "rev", "round", "scatter", "select_n", "sign", "slice", "sort", "split", "squeeze",
    "stop_gradient", "tile", "top_k", "transpose",
})  # fmt: skip
_ROUNDED = frozenset(["add", "add_any", "sub", "mul", "div", "sqrt", "square"])
_PRODUCTS = frozenset(["dot_general", "conv_general_dilated", "ragged_dot_general"])


class _Level(IntEnum):
    EXACT = 0
    ROUNDED = 1  # once
    OPEN = 2


class _Grade(NamedTuple):
    level: _Level = _Level.EXACT
    unit: float = 0.0
    repeated: bool = False  # along an axis


def precisions(jaxpr: Any) -> list[Precision]:
    """The precision of each result of a jaxpr."""
    grades = _grades(*opened(jaxpr), [_Grade()] * len(jaxpr.in_avals))
    return [grade.unit if grade.level == _Level.OPEN else None for grade in grades]


def _grades(jaxpr: Any, consts: Sequence[Any], given: Sequence[_Grade]) -> list[_Grade]:
    known: dict[Atom, _Grade] = dict.fromkeys(jaxpr.constvars, _Grade())
    known.update(zip(jaxpr.invars, given, strict=True))

    def grade(atom: Atom) -> _Grade:
        return _Grade() if isinstance(atom, Literal) else known[atom]

    for eqn in jaxpr.eqns:
        results = _results(eqn, [grade(atom) for atom in eqn.invars])
        known.update(zip(eqn.outvars, results, strict=True))
    return [grade(atom) for atom in jaxpr.outvars]


def _results(eqn: Equation, operands: list[_Grade]) -> list[_Grade]:
    if (call := calls.callee(eqn)) is not None:
        return _grades(*call, operands[len(operands) - len(call[0].invars) :])
    level = max((grade.level for grade in operands), default=_Level.EXACT)
    exact = _is_exact(eqn)
    if not exact and not _of_whole_numbers(eqn):
        once = eqn.primitive.name in _ROUNDED and level == _Level.EXACT
        once &= not (_is_complex(eqn) or _by_reciprocal(eqn, operands))
        level = _Level.ROUNDED if once else _Level.OPEN
    made = 0.0 if exact else max(_units(eqn), default=0.0)
    given = max((grade.unit for grade in operands), default=0.0)
    unit = math.hypot(made, given) if eqn.primitive.name in _PRODUCTS else max(made, given)
    repeated = eqn.primitive.name == "broadcast_in_dim"
    return [_Grade(level, unit, repeated)] * len(eqn.outvars)


def _by_reciprocal(eqn: Equation, operands: Sequence[_Grade]) -> bool:
    """Tell whether XLA may multiply by reciprocals: it does where divisors are repeated."""
    if eqn.primitive.name != "div" or isinstance(eqn.invars[1], Literal):
        return False
    return operands[1].repeated or eqn.invars[1].aval.shape != eqn.outvars[0].aval.shape


def _is_exact(eqn: Equation) -> bool:
    """Tell whether numbers are only moved; the size of a complex number is computed."""
    name = eqn.primitive.name
    return name in _EXACT and not (name in ("abs", "sign") and _is_complex(eqn))


def _units(eqn: Equation) -> Iterator[float]:
    """The units of the floats of an equation and of its bodies."""
    for atom in (*eqn.invars, *eqn.outvars):
        if jnp.issubdtype(atom.aval.dtype, np.inexact):
            yield float(jnp.finfo(atom.aval.dtype).eps)
    for body in _bodies(eqn):
        for inner in body.eqns:
            yield from _units(inner)


def _bodies(eqn: Equation) -> Iterator[Any]:
    for value in eqn.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if hasattr(getattr(part, "jaxpr", part), "eqns"):
                yield getattr(part, "jaxpr", part)


def _of_whole_numbers(eqn: Equation) -> bool:
    """Tell whether no float has a part in it, and no body, which may have any."""
    atoms = (*eqn.invars, *eqn.outvars)
    whole = all(not jnp.issubdtype(atom.aval.dtype, np.inexact) for atom in atoms)
    return whole and bool(eqn.invars) and not any(_bodies(eqn))


def _is_complex(eqn: Equation) -> bool:
    return any(
        jnp.issubdtype(v.aval.dtype, np.complexfloating) for v in (*eqn.invars, *eqn.outvars)
    )

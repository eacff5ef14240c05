"""Which results of a function are exact by nature, so that every runtime owes the same numbers.

A number is exact where it is only moved, chosen, compared, converted, or made of its bits. One
sum, product, quotient or root of such numbers is rounded correctly by all. Of two in a row XLA may
make one, with other roundings.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import jax.numpy as jnp

from msckpt_jax._compat import Atom, Equation, Literal, opened
from msckpt_jax.lowering.rewrites import calls

_EXACT = frozenset(
    """
    abs argmax argmin bitcast_convert_type broadcast_in_dim ceil clamp clz complex concatenate conj
    convert_element_type copy copy_p copysign cummax cummin dynamic_slice dynamic_update_slice eq
    eq_to floor gather ge gt imag iota is_finite le le_to lt lt_to max min ne neg nextafter pad real
    reduce_max reduce_min reduce_precision rem reshape rev round scatter select_n sign slice sort
    split squeeze stop_gradient tile top_k transpose
    """.split()
)
_ROUNDED = frozenset("add add_any sub mul div sqrt square".split())


class _Level(IntEnum):
    EXACT = 0
    ROUNDED = 1  # once
    OPEN = 2


def exact_results(jaxpr: Any) -> list[bool]:
    """Tell of each result of a jaxpr whether it is exact, or rounded once."""
    levels = _levels(*opened(jaxpr), [_Level.EXACT] * len(jaxpr.in_avals))
    return [level < _Level.OPEN for level in levels]


def _levels(jaxpr: Any, consts: Sequence[Any], given: Sequence[_Level]) -> list[_Level]:
    known: dict[Atom, _Level] = dict.fromkeys(jaxpr.constvars, _Level.EXACT)
    known.update(zip(jaxpr.invars, given, strict=True))

    def level(atom: Atom) -> _Level:
        return _Level.EXACT if isinstance(atom, Literal) else known[atom]

    for eqn in jaxpr.eqns:
        results = _results(eqn, [level(atom) for atom in eqn.invars])
        known.update(zip(eqn.outvars, results, strict=True))
    return [level(atom) for atom in jaxpr.outvars]


def _results(eqn: Equation, operands: list[_Level]) -> list[_Level]:
    if (call := calls.callee(eqn)) is not None:
        return _levels(*call, operands[len(operands) - len(call[0].invars) :])
    worst, name = max(operands, default=_Level.EXACT), eqn.primitive.name
    if name not in _EXACT and not _of_whole_numbers(eqn):
        once = name in _ROUNDED and worst == _Level.EXACT and not _is_complex(eqn)
        worst = _Level.ROUNDED if once else _Level.OPEN
    return [worst] * len(eqn.outvars)


def _of_whole_numbers(eqn: Equation) -> bool:
    """Tell whether no float has a part in it, and no body, which may have any."""
    atoms = (*eqn.invars, *eqn.outvars)
    bodies = any(hasattr(p, "eqns") or hasattr(p, "jaxpr") for p in eqn.params.values())
    whole = all(not jnp.issubdtype(atom.aval.dtype, jnp.inexact) for atom in atoms)
    return whole and not bodies and bool(eqn.invars)


def _is_complex(eqn: Equation) -> bool:
    return any(jnp.issubdtype(v.aval.dtype, jnp.complexfloating) for v in eqn.outvars)

"""The forms of canonical equations: what ``canonicalise`` aims at and ``lower`` trusts.

A form is a predicate over an equation. A primitive that is not in the table has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from msckpt_jax._compat import ClosedJaxpr, Equation, opened

Form: TypeAlias = Callable[[Equation], bool]


def leftovers(jaxpr: ClosedJaxpr) -> Iterator[Equation]:
    """The equations that are in no canonical form, those of bodies included."""
    for eqn in opened(jaxpr)[0].eqns:
        if not canonical(eqn):
            yield eqn
        for body in bodies(eqn):
            yield from leftovers(body)


def canonical(eqn: Equation) -> bool:
    form = FORMS.get(eqn.primitive.name)
    return form is not None and form(eqn)


#: The parameters that are bodies of control flow.
BODIES = {"cond": ("branches",), "while": ("cond_jaxpr", "body_jaxpr"), "scan": ("jaxpr",)}


def bodies(eqn: Equation) -> Iterator[ClosedJaxpr]:
    for param in BODIES.get(eqn.primitive.name, ()):
        body = eqn.params[param]
        yield from body if isinstance(body, tuple) else (body,)


def _always(eqn: Equation) -> bool:
    return True


def _dot(eqn: Equation) -> bool:
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = eqn.params["dimension_numbers"]
    lhs, rhs = (v.aval for v in eqn.invars)
    batch = tuple(range(len(lhs_batch)))
    return (
        tuple(lhs_batch) == tuple(rhs_batch) == batch
        and lhs.ndim == rhs.ndim == len(batch) + 2
        and tuple(lhs_contract) == (lhs.ndim - 1,)
        and tuple(rhs_contract) == (rhs.ndim - 2,)
        and lhs.dtype == rhs.dtype == eqn.outvars[0].aval.dtype
    )


def _select(eqn: Equation) -> bool:
    return len(eqn.invars) == 3 and eqn.invars[0].aval.dtype == np.bool_


_ELEMENTWISE = """
abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp clz complex conj
convert_element_type cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt igamma
igammac imag is_finite le lgamma log log1p logistic lt max min mul ne neg not or population_count
pow real rem round rsqrt shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt
square sub tan tanh xor zeta polygamma bessel_i0e bessel_i1e regularized_incomplete_beta integer_pow
"""
_SHAPE = """
reshape transpose broadcast_in_dim squeeze expand_dims concatenate rev slice iota split stack
unstack tile dynamic_slice dynamic_update_slice
"""
_REDUCTIONS = """
reduce_sum reduce_prod reduce_max reduce_min reduce_and reduce_or reduce_xor argmax argmin
"""
_LINALG = """
cholesky lu qr householder_product eig eigh svd triangular_solve fft
"""

_AS_THEY_ARE = _ELEMENTWISE + _SHAPE + _REDUCTIONS + _LINALG
FORMS: dict[str, Form] = dict.fromkeys(_AS_THEY_ARE.split(), _always)
FORMS |= {
    "ms_op": _always,
    "select_n": _select,
    "dot_general": _dot,
    "while": _always,
    "dimension_as_value": _always,  # the size of a dynamic dimension
}

_BINARY = """
add and atan2 div eq ge gt le lt max min mul ne nextafter or pow rem
shift_left shift_right_arithmetic shift_right_logical sub xor
"""
#: Take a scalar beside an array.
BROADCASTING = frozenset(_BINARY.split())

"""Evaluate a jaxpr on other values than its own: pairs for complex numbers, wider dtypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.extend import source_info_util

from msckpt_jax import _compat
from msckpt_jax._compat import Aval, ClosedJaxpr, Equation, Literal
from msckpt_jax.lowering.problems import PASSING, Problems

source_info_util.register_exclusion(__file__)


class Carrier(NamedTuple):
    """The values that stand for those of a jaxpr.

    Attributes:
        known: gives the value for an array of the jaxpr.
        results: gives the values of an equation for those of its operands.
        nothing: gives a value in the place of a result that is refused, so that later equations are
            seen.
    """

    known: Callable[[np.ndarray], Any]
    results: Callable[[Equation, list[Any], Problems], Sequence[Any]]
    nothing: Callable[[Aval], Any]


def computed(
    jaxpr: ClosedJaxpr, operands: Sequence[Any], carrier: Carrier, problems: Problems
) -> list[Any]:
    """The results of a jaxpr; an equation that fails is noted among the problems, with its line."""
    inner, consts = _compat.opened(jaxpr)
    env = dict(zip(inner.invars, operands, strict=True))
    env.update(zip(inner.constvars, map(carrier.known, consts), strict=True))

    def read(atom: Any) -> Any:
        if isinstance(atom, Literal):
            return carrier.known(np.asarray(atom.val, atom.aval.dtype))
        return env[atom]

    for eqn in inner.eqns:
        with source_info_util.user_context(eqn.source_info.traceback):
            try:
                results = carrier.results(eqn, list(map(read, eqn.invars)), problems)
            except PASSING:
                raise
            except Exception as error:
                line = _compat.user_line(eqn.source_info)
                problems.note(line, eqn.primitive.name, "rewrite", error)
                results = [carrier.nothing(v.aval) for v in eqn.outvars]
        env.update(zip(eqn.outvars, results, strict=True))
    return list(map(read, inner.outvars))

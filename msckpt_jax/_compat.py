"""The only place that knows that JAX versions differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import numpy as np
from jax.core import ShapedArray as ShapedArray
from jax.extend import core, source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.extend.core import Var as Var
from jax.interpreters import partial_eval

#: ShapedArray; the avals of tokens and references have no shape.
Aval: TypeAlias = Any
#: Var or Literal. JAX's annotations say AbstractValue for all avals: no shape, no dtype.
Atom: TypeAlias = Any
Literal: Any = core.Literal
#: core.JaxprEqn
Equation: TypeAlias = Any
SourceInfo: TypeAlias = source_info_util.SourceInfo
#: Calls between a user's line and the primitive, in packages.
_FRAMES = 30


def opened(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """A jaxpr that may or may not be closed, as (jaxpr, consts). From JAX 0.11 all are closed."""
    if isinstance(jaxpr, ClosedJaxpr):
        return jaxpr.jaxpr, jaxpr.consts
    return jaxpr, ()


def closed(
    like: Any, constvars: list, consts: list, invars: list, eqns: list, outvars: list
) -> ClosedJaxpr:
    """A closed jaxpr with the debug information of ``like`` as far as it fits."""
    effects = frozenset().union(*(eqn.effects for eqn in eqns))
    debug = like.debug_info
    if len(invars) != len(like.invars) or len(outvars) != len(like.outvars):
        debug = debug.with_unknown_names()
    jaxpr = Jaxpr(constvars, invars, outvars, eqns, effects, debug)
    return ClosedJaxpr(jaxpr, consts)


def needed(jaxpr: Any, results: Sequence[bool]) -> tuple[Jaxpr, Sequence[bool]]:
    """The equations that some of the results need, and which of the arguments these need."""
    return partial_eval.dce_jaxpr(opened(jaxpr)[0], list(results))


def context_of(eqn: Equation) -> AbstractContextManager:
    """The settings under which the equation was traced, such as how random bits are split."""
    return getattr(eqn.ctx, "manager", None) or nullcontext()


def within(outer: SourceInfo | None, inner: SourceInfo) -> SourceInfo:
    """The source of an equation inside a call: its own if that has a user's line, else the call's.

    JAX keeps no user frames for equations of its own jitted functions.
    """
    if outer is None:
        return inner
    if source_info_util.summarize(inner):
        return inner.replace(name_stack=outer.name_stack + inner.name_stack)
    return outer


def avals(jaxpr: Any) -> Iterator[Aval]:
    """The types of all values, those of inner jaxprs included."""
    inner, _ = opened(jaxpr)
    yield from (v.aval for v in (*inner.constvars, *inner.invars))
    for eqn in inner.eqns:
        yield from (v.aval for v in (*eqn.invars, *eqn.outvars))
        for body in core.jaxprs_in_params(eqn.params):
            yield from avals(body)


def is_wide(jaxpr: Any) -> bool:
    """Tell whether a jaxpr was traced with 64-bit types."""
    return any(getattr(aval, "dtype", None) in _WIDE for aval in avals(jaxpr))


_WIDE = tuple(map(np.dtype, ("int64", "uint64", "float64", "complex128")))


def equation(
    primitive: Any, operands: list, results: list, params: dict, source: SourceInfo | None
) -> Equation:
    """A new equation without effects."""
    return core.new_jaxpr_eqn(operands, results, primitive, params, core.no_effects, source)


def user_line(source: SourceInfo) -> str:
    """``file:line:column (function)`` of the user's code, not of a package that it calls.

    For Flax's layers it is the line that calls them; empty where JAX knows no line.
    """
    frames = source_info_util.summarize(source, num_frames=_FRAMES).splitlines()
    own = [frame for frame in frames if "site-packages" not in frame]
    return (own or frames or [""])[0].strip()

"""The only place that knows that JAX versions differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jax.core import ShapedArray as ShapedArray
from jax.extend import core, source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.extend.core import Var as Var
from jax.interpreters import partial_eval
from jax.ref import AbstractRef, Ref

from msckpt_jax import places

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
#: A frame as JAX writes it.
_FRAME = re.compile(r"(.+?):(\d+(?::\d+)?) \((.*)\)")


def opened(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """A jaxpr that may or may not be closed, as (jaxpr, consts). From JAX 0.11 all are closed."""
    if isinstance(jaxpr, ClosedJaxpr):
        return jaxpr.jaxpr, jaxpr.consts
    return jaxpr, ()


def closed(
    like: Any, constvars: list, consts: list, invars: list, eqns: list, outvars: list
) -> ClosedJaxpr:
    """A closed jaxpr with the debug information of ``like`` as far as it fits."""
    arguments = {None, *constvars, *invars}
    effects = {e for eqn in eqns for e in eqn.effects if getattr(e, "input", None) in arguments}
    debug = like.debug_info
    if len(invars) != len(like.invars) or len(outvars) != len(like.outvars):
        debug = debug.with_unknown_names()
    jaxpr = Jaxpr(constvars, invars, outvars, eqns, effects, debug)
    return ClosedJaxpr(jaxpr, consts)


def effects_on(eqn: Equation, operands: Sequence[Atom]) -> set[Any]:
    """The effects of an equation that gets other operands: on these, if it is on mutable arrays."""
    moved = {var: new for var, new in zip(eqn.invars, operands, strict=True)
             if not isinstance(var, Literal)}  # fmt: skip
    return {e.replace(moved[e.input]) if getattr(e, "input", None) in moved else e
            for e in eqn.effects}  # fmt: skip


def needed(jaxpr: Any, results: Sequence[bool]) -> tuple[Jaxpr, Sequence[bool]]:
    """The equations that some of the results need, and which of the arguments these need."""
    return partial_eval.dce_jaxpr(opened(jaxpr)[0], list(results))


def context_of(eqn: Equation) -> AbstractContextManager:
    """The settings under which the equation was traced, such as how random bits are split."""
    return getattr(eqn.ctx, "manager", None) or nullcontext()


def within(outer: SourceInfo | None, inner: SourceInfo) -> SourceInfo:
    """The source of an equation inside a call: its own if that has a user's line, else the call's.

    JAX keeps no user frames for equations of its own jitted functions, and for those of a package
    just the package's.
    """
    if outer is None or _own_frames(inner):
        stack = inner.name_stack if outer is None else outer.name_stack + inner.name_stack
        return inner.replace(name_stack=stack)
    return outer


def is_ref(aval: Aval) -> bool:
    """Tell whether a type is that of a mutable array."""
    return isinstance(aval, AbstractRef)


def is_mutable(value: Any) -> bool:
    """Tell whether a value is a mutable array."""
    return isinstance(value, Ref)


def value_of_ref(aval: Aval) -> ShapedArray:
    """The type of the value of a mutable array, wherever its memory is."""
    return ShapedArray(aval.shape, aval.dtype)


def params_of(eqn: Equation) -> Mapping[str, Any]:
    """The parameters of an equation; from JAX 0.11 a scan has its operands in groups, not counts.

    ``ft_in`` has a tree of constants, one of carried values, and one of inputs; ``ft_out`` one of
    carried values and one of outputs, which the number of results tells.
    """
    if "ft_in" not in eqn.params:
        return eqn.params
    consts, carry, _ = (len(list(group)) for group in eqn.params["ft_in"].unpack())
    kept = {k: value for k, value in eqn.params.items() if k not in ("ft_in", "ft_out")}
    return {"num_consts": consts, "num_carry": carry, **kept}


class Kernel(NamedTuple):
    """The calling conventions of a kernel of Pallas.

    Attributes:
        grid: the sizes of its axes; dynamic ones are not of type int.
        dynamic: how many of them are operands, before all others.
        batched: the axes that ``vmap`` has added.
        scalars: how many operands are scalars for index maps.
        blocks: how inputs and outputs are cut.
        scratch: the types of further memory.
        unknown: what it has beside these, or an empty text.
    """

    grid: tuple[Any, ...]
    dynamic: int
    batched: tuple[int, ...]
    scalars: int
    blocks: tuple[Any, ...]
    scratch: tuple[Aval, ...]
    unknown: str


def kernel_of(mapping: Any) -> Kernel:
    """The calling conventions of a kernel by its ``grid_mapping``."""
    unknown = [name for name in ("grid_names", "get_grid_indices", "local_grid_env")
               if getattr(mapping, name, None) is not None]  # fmt: skip
    return Kernel(
        mapping.grid, mapping.num_dynamic_grid_bounds, tuple(mapping.vmapped_dims),
        mapping.num_index_operands, tuple(mapping.block_mappings), tuple(mapping.scratch_avals),
        ", ".join(unknown),
    )  # fmt: skip


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


def constraints(scope: Any) -> list[str]:
    """The constraints of a scope of symbolic sizes, as it prints them: JAX has no other way."""
    return [line.strip() for line in str(scope).splitlines()[1:]]


_WIDE = tuple(map(np.dtype, ("int64", "uint64", "float64", "complex128")))


def equation(
    primitive: Any, operands: list, results: list, params: dict, source: SourceInfo | None
) -> Equation:
    """A new equation without effects."""
    return core.new_jaxpr_eqn(operands, results, primitive, params, core.no_effects, source)


def user_line(source: SourceInfo) -> str:
    """``file:line:column (function)`` of the user's code, not of a package that it calls.

    It is the innermost line: for Flax's layers the one that calls them. A cell of a notebook has
    the name that its user knows. Empty where JAX knows no line.
    """
    return _told(next(iter(_own_frames(source)), ""), source)


def calling_line(source: SourceInfo) -> str:
    """The outermost line of the user's that leads to a package, such as linen's ``apply``."""
    return _told(next(reversed(_own_frames(source)), ""), source)


def _told(frame: str, source: SourceInfo) -> str:
    """A frame as the user knows it; where none is the user's, the outermost of a package."""
    frames = source_info_util.summarize(source, num_frames=_FRAMES).splitlines()
    frame = (frame or next(iter(frames), "")).strip()
    match = _FRAME.fullmatch(frame)
    return places.place(*match.groups()) if match else frame


def _own_frames(source: SourceInfo) -> list[str]:
    """The frames of a source in the user's code, the innermost first."""
    if "site-packages" not in (innermost := source_info_util.summarize(source)):
        return [innermost] if innermost else []
    frames = source_info_util.summarize(source, num_frames=_FRAMES).splitlines()
    return [frame for frame in reversed(frames) if "site-packages" not in frame]

"""Arrays that a function holds become arguments of its jaxpr, under their names.

``{ lambda a:f32[3,4] ; x. let y = dot_general x a in (y,) }`` becomes
``{ lambda ; a:f32[3,4] x. let y = dot_general x a in (y,) }``, where ``a`` is a weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


from msckpt_jax import _compat, names
from msckpt_jax._compat import Atom, Equation, SourceInfo, Var
from msckpt_jax.lowering import callables
from msckpt_jax.lowering.callables import Look
from msckpt_jax.lowering.context import LITERAL_BYTES
from msckpt_jax.lowering.rewrites import calls


class Hoisted(NamedTuple):
    """A jaxpr with more weights among its arguments, all weights by name, and notes."""

    jaxpr: Any
    weights: Mapping[str, Any]
    notes: Sequence[str]


def hoisted(jaxpr: Any, weights: Mapping[str, Any], look: Look) -> Hoisted:
    """The jaxpr whose constants that have a path in some objects are weights, too.

    Args:
        jaxpr: closed; its arguments are the weights, then the inputs.
        weights: by name.
        look: finds the constants in objects, by identity.
    """
    opened = _Opened(jaxpr)
    paths = _paths(look, opened.constants)
    unique = names.Unique(weights)
    named = dict(zip(paths, map(unique, callables.shortened([*paths.values()])), strict=True))
    rest = [pair for key, pair in opened.constants.items() if key not in named]
    inner, count = opened.jaxpr, len(weights)
    found = [opened.constants[key] for key in named]
    arguments = [*inner.invars[:count], *(var for var, _ in found), *inner.invars[count:]]
    made = _compat.closed(
        jaxpr, [var for var, _ in rest], [c for _, c in rest], arguments, opened.eqns,
        opened.outvars,
    )  # fmt: skip
    more = dict(zip(named.values(), (_plain(const) for _, const in found), strict=True))
    return Hoisted(made, {**weights, **more}, _notes(opened.eqns, rest))


class _Opened:
    """A jaxpr whose constants are all at its top: calls that have some are inlined.

    Attributes:
        constants: the variable and the array of each constant, by its identity.
        eqns: the equations.
        outvars: the results.
    """

    def __init__(self, jaxpr: Any):
        self.jaxpr, consts = _compat.opened(jaxpr)
        self.constants: dict[Any, tuple[Var, Any]] = {}
        self.eqns: list[Equation] = []
        env = {var: var for var in self.jaxpr.invars}
        self.outvars = self._inline(self.jaxpr, consts, env, None)

    def _inline(
        self, jaxpr: Any, consts: Sequence[Any], env: dict[Any, Any], outer: SourceInfo | None
    ) -> list[Atom]:
        for var, const in zip(jaxpr.constvars, consts, strict=True):
            env[var] = self.constants.setdefault(_identity(const), (Var(var.aval), const))[0]

        def read(atom: Atom) -> Atom:
            return atom if isinstance(atom, _compat.Literal) else env[atom]

        for eqn in jaxpr.eqns:
            operands = [read(atom) for atom in eqn.invars]
            source = _compat.within(outer, eqn.source_info)
            callee = calls.callee(eqn) if _has_constants(eqn) else None
            if callee is None:
                outvars = [Var(v.aval) for v in eqn.outvars]
                self.eqns.append(eqn.replace(invars=operands, outvars=outvars, source_info=source))
            else:
                body, inner = callee
                given = operands[len(operands) - len(body.invars) :]
                outvars = self._inline(
                    body, inner, dict(zip(body.invars, given, strict=True)), source
                )
            env.update(zip(eqn.outvars, outvars, strict=True))
        return [read(atom) for atom in jaxpr.outvars]


def _has_constants(eqn: Equation) -> bool:
    """Tell whether a call has constants, or a call in it."""
    callee = calls.callee(eqn)
    return callee is not None and (bool(callee[1]) or any(map(_has_constants, callee[0].eqns)))


def _paths(
    look: Look, constants: Mapping[Any, tuple[Var, Any]]
) -> dict[Any, tuple[str, ...]]:
    """The path of each constant that has one, by its identity."""
    paths: dict[Any, tuple[str, ...]] = {}
    left = {key for key, (_, const) in constants.items() if _is_weight(const)}
    if not left:
        return paths
    for path, value in look.walk():
        key = _identity(value) if callables.is_array(value) else None
        if key in left:
            paths[key] = path
            left.remove(key)
            if not left:
                break
    return paths


def _is_weight(const: Any) -> bool:
    """Tell whether a constant may be a parameter: few whole numbers of NumPy's are indices."""
    if not isinstance(const, np.ndarray):
        return True
    return const.ndim > 0 and (const.dtype.kind not in "biu" or const.nbytes > LITERAL_BYTES)


def _identity(array: Any) -> Any:
    """The identity of an array: JAX wraps those of NumPy, whose memory stays."""
    if not isinstance(array, np.ndarray):
        return id(array)
    plain = np.asarray(array)
    return plain.dtype, plain.shape, plain.strides, plain.ctypes.data


def _plain(const: Any) -> Any:
    return np.asarray(const) if isinstance(const, np.ndarray) else const


def _notes(eqns: Sequence[Equation], rest: Sequence[tuple[Var, Any]]) -> list[str]:
    """A note about each larger array that has no name."""
    out = []
    for var, const in rest:
        if isinstance(const, np.ndarray) or const.nbytes <= LITERAL_BYTES:
            continue  # NumPy computes tables, masks
        sizes = ",".join(map(str, const.shape))
        line = next((_compat.user_line(e.source_info) for e in eqns if var in e.invars), "")
        where = f"{line}: " if line else ""
        out.append(
            f"{where}the array {const.dtype}[{sizes}] is a parameter constant_N, as it has no path "
            "in the function; export (function, weights) to name it"
        )
    return list(dict.fromkeys(out))

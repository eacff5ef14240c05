"""The last step of canonicalisation: dead code leaves, constants find their place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import primitives

from msckpt_jax._compat import Atom, Aval, Equation, Literal, ShapedArray, SourceInfo, Var, equation

#: Constants of so few elements are stored even if they repeat themselves.
_SHORT = 64


def settle(inputs: list[Var], eqns: Sequence[Equation], outputs: Sequence[Atom]) -> tuple:
    """The parts of a closed jaxpr: constvars, consts, invars, eqns, outvars.

    Scalars stay literals in the equations, equal arrays become one constant, and constants that
    repeat themselves are broadcast by the model.
    """
    constants: dict[Any, tuple[Var, Any]] = {}
    placed: dict[Any, Atom] = {}
    kept: list[Equation] = []

    def place(atom: Atom, source: SourceInfo | None) -> Atom:
        if not isinstance(atom, Literal) or atom.aval.shape == ():
            return atom
        key = _content(atom)
        if key not in placed:
            base, axes = _repeated(atom)
            if axes is None:
                placed[key] = Var(atom.aval)
                constants[key] = placed[key], atom.val
            else:
                eqn = _broadcast(place(base, source), atom.aval, axes, source)
                kept.append(eqn)
                placed[key] = eqn.outvars[0]
        return placed[key]

    for eqn in live(eqns, outputs):
        atoms = [place(atom, eqn.source_info) for atom in eqn.invars]
        kept.append(eqn.replace(invars=atoms))
    results = [place(atom, None) for atom in outputs]
    variables = [var for var, _ in constants.values()]
    arrays = [array for _, array in constants.values()]
    return variables, arrays, inputs, kept, results


def _repeated(atom: Atom) -> tuple[Atom, tuple[int, ...] | None]:
    """The array that a constant repeats and its axes there; no axes if it is short or unique."""
    array = atom.val
    if not isinstance(array, np.ndarray) or array.size <= _SHORT:
        return atom, None
    axes = tuple(axis for axis, step in enumerate(array.strides) if step or array.shape[axis] == 1)
    if len(axes) == array.ndim:
        return atom, None
    base = array[tuple(slice(None) if axis in axes else 0 for axis in range(array.ndim))]
    return Literal(base, ShapedArray(base.shape, base.dtype)), axes


def _broadcast(base: Atom, aval: Aval, axes: Sequence[int], source: SourceInfo | None) -> Equation:
    params = {"shape": aval.shape, "broadcast_dimensions": axes, "sharding": None}
    return equation(primitives.broadcast_in_dim_p, [base], [Var(aval)], params, source)


def _content(atom: Atom) -> Any:
    if isinstance(atom.val, np.ndarray):
        return (atom.aval.shape, atom.aval.dtype, atom.val.tobytes())
    return id(atom.val)  # a weight


def live(eqns: Sequence[Equation], outputs: Iterable[Atom]) -> list[Equation]:
    """The equations that have an effect, or results that are used."""
    used = {atom for atom in outputs if isinstance(atom, Var)}
    kept = []
    for eqn in reversed(eqns):
        if eqn.effects or used.intersection(eqn.outvars):
            kept.append(eqn)
            used.update(atom for atom in eqn.invars if isinstance(atom, Var))
    return kept[::-1]

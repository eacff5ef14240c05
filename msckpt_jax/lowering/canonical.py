"""Make a jaxpr canonical: calls inlined, general primitives rewritten, constants folded.

A jaxpr is walked once and its equations are emitted into a new jaxpr. An equation that has no
canonical form (``forms``) is traced through its rewrite, whose equations are walked in its place.
Equations made by a rewrite say that they come from the line of the equation they stand for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from msckpt_jax import _compat
from msckpt_jax._compat import Atom, Aval, ClosedJaxpr, Equation, Literal, SourceInfo, Var
from msckpt_jax.errors import ExportError, RewriteError, UnsupportedError
from msckpt_jax.lowering import folding, forms, fusions, layouts, tiny
from msckpt_jax.lowering.problems import PASSING, Problems
from msckpt_jax.lowering.rewrites import (
    ALWAYS,
    PEEPHOLES,
    REWRITES,
    Declined,
    Rewrite,
    calls,
    random,
    refs,
)
from msckpt_jax.lowering.rewrites.ignoring import ignoring
from msckpt_jax.lowering.settling import settle


def canonicalise(
    jaxpr: ClosedJaxpr,
    *,
    fuse: bool = True,
    exact: bool = False,
    rewrites: Mapping[str, Rewrite] = {},
    keep: Collection[str] = (),
    more: Sequence[fusions.Fusion] = (),
) -> ClosedJaxpr:
    """The same function as equations of the canonical forms only.

    Equations with neither a canonical form nor a rewrite stay as they are.

    Args:
        jaxpr: the result of ``jax.make_jaxpr``, which may have effects and symbolic dimensions.
        fuse: put operators of MindSpore (``ms_op``) in the place of equations that compute them.
        exact: fuse only operators that also give JAX's results on infinities and NaN.
        rewrites: further rewrites by the name of the primitive, which precede ``REWRITES``.
        keep: names of primitives that are never rewritten.
        more: fusions beside those that every format has.

    Returns:
        A jaxpr with the same dtypes and shapes of arguments and results; arrays of PRNG keys are
        the ``uint32`` arrays of ``jax.random.key_data``.

    Raises:
        UnsupportedError: rewrites do not know parameters of their equations, or fail on them: all
            of these equations; the first failure is the cause.
    """
    with jax.enable_x64(_compat.is_wide(jaxpr)), jax.numpy_dtype_promotion("standard"):
        options = _Options(rewrites, frozenset(keep))
        result = _Builder(options).build(jaxpr, _Scope())
        options.problems.refuse()
        result = layouts.sink(result)
        if not fuse:
            return result
        return fusions.fuse(result, _without_operators, exact=exact, more=more)


def _without_operators(jaxpr: ClosedJaxpr) -> ClosedJaxpr:
    return canonicalise(jaxpr, fuse=False)


@dataclass(frozen=True)
class _Options:
    rewrites: Mapping[str, Rewrite]
    keep: frozenset[str]
    #: Rewrites already traced: models repeat their layers.
    traced: dict[Any, Any] = field(default_factory=dict)
    #: Equations that their rewrites do not take, or on which they failed.
    problems: Problems = field(default_factory=Problems)


@dataclass(frozen=True)
class _Scope:
    """The place of the equations that are walked: the equation around them, and whose code."""

    source: SourceInfo | None = None
    made: bool = False  # by a rewrite: the equations' own source lines are ours
    ours: bool = False  # by a rewrite of such equations: so are the lines in what they call
    applied: frozenset[str] = frozenset()  # the rewrites that made them, not to be applied again


class _Builder:
    """Equations of a jaxpr under construction. Arrays known now are literals of any shape."""

    def __init__(self, options: _Options):
        self.options = options
        self.eqns: list[Equation] = []
        self.seen: dict[Any, list[Atom]] = {}
        self.made: dict[Atom, Equation] = {}

    def build(self, jaxpr: ClosedJaxpr, scope: _Scope) -> ClosedJaxpr:
        inputs = [Var(random.physical(aval)) for aval in jaxpr.in_avals]
        outputs = self.inline(*_compat.opened(jaxpr), inputs, scope)
        return _compat.closed(jaxpr, *settle(inputs, self.eqns, outputs))

    def inline(
        self, jaxpr: Any, consts: Sequence[Any], operands: Sequence[Atom], scope: _Scope
    ) -> list[Atom]:
        """Emit the equations of a jaxpr in canonical forms; return its results."""
        count = len(jaxpr.outvars)
        if refs.stateful(jaxpr):
            jaxpr, consts = _compat.opened(refs.pure(jaxpr, consts).jaxpr)
        env: dict[Var, Atom] = dict(zip(jaxpr.invars, operands, strict=True))
        for var, const in zip(jaxpr.constvars, consts, strict=True):
            env[var] = folding.literal(random.data(const), random.physical(var.aval))

        def read(atom: Atom) -> Atom:
            if isinstance(atom, Literal):
                return folding.literal(random.data(atom.val), random.physical(atom.aval))
            return env[atom]

        for eqn in jaxpr.eqns:
            results = self.equation(eqn, [read(atom) for atom in eqn.invars], scope)
            env.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars[:count]]

    def equation(self, eqn: Equation, operands: list[Atom], scope: _Scope) -> list[Atom]:
        """Emit an equation in canonical forms; as it is, with a note, if something fails on it."""
        if not scope.made:
            scope = replace(scope, source=_compat.within(scope.source, eqn.source_info))
        try:
            return self.rewritten(eqn, operands, scope)
        except PASSING:
            raise
        except Exception as error:
            if isinstance(error, ExportError) and not isinstance(error, UnsupportedError):
                raise
            self.refuse(eqn, scope, error)
            return self.emit(eqn, operands, scope)

    def refuse(self, eqn: Equation, scope: _Scope, error: Exception) -> None:
        line = "" if scope.source is None else _compat.user_line(scope.source)
        self.options.problems.note(line, eqn.primitive.name, "rewrite", error)

    def rewritten(self, eqn: Equation, operands: list[Atom], scope: _Scope) -> list[Atom]:
        name = eqn.primitive.name
        if name in self.options.keep:
            return self.emit(eqn, operands, scope)
        if (empty := folding.nothing(eqn)) is not None:
            return empty
        small = tiny.touches(eqn) and name not in forms.BODIES
        if name in self.options.rewrites and name not in scope.applied and not small:
            inner = replace(scope, made=True, ours=scope.made, applied=scope.applied | {name})
            with contextlib.suppress(Declined):
                return self.rewrite(self.options.rewrites[name], eqn, operands, inner)
        if calls.changes_nothing(eqn):
            return operands[: len(eqn.outvars)]
        if (known := folding.fold(eqn, operands)) is not None:
            return known
        if (call := calls.callee(eqn)) is not None:
            operands = operands[len(operands) - len(call[0].invars) :]
            ours = scope.ours and not eqn.params.get("surely", False)
            made = scope.made and (ours or eqn.primitive is not calls.call_of_user_p)
            return self.inline(*call, operands, replace(scope, made=made, ours=ours))
        if small:
            return self.emit(eqn, operands, scope)
        rewrite = _rewrite_of(eqn, scope)
        if name in PEEPHOLES and not random.takes_keys(eqn):
            rewrite, operands = PEEPHOLES[name](eqn, operands, self.made) or (rewrite, operands)
            eqn = eqn.replace(invars=operands)
        if rewrite is not None:
            final = name in ALWAYS and rewrite is REWRITES[name]
            applied = scope.applied | {name} if final else scope.applied
            inner = replace(scope, made=True, ours=scope.made, applied=applied)
            with contextlib.suppress(Declined):
                return self.rewrite(rewrite, eqn, operands, inner)
        return self.emit(eqn, operands, scope)

    def rewrite(
        self, rewrite: Rewrite, eqn: Equation, operands: list[Atom], scope: _Scope
    ) -> list[Atom]:
        """Emit the equations that a rewrite puts in the place of an equation."""
        function, params = self.taken(rewrite, eqn, scope)
        known = [atom if folding.is_known(atom) else None for atom in operands]
        key = _key(function, known, [v.aval for v in eqn.invars], params)
        if key is None or key not in self.options.traced:
            jaxpr = _trace(partial(function, **params), eqn, known)
            if key is not None:
                self.options.traced[key] = (jaxpr, known)  # known arrays live on: keys hold ids
        else:
            jaxpr, _ = self.options.traced[key]
        if jaxpr is None:
            raise Declined
        unknown = [atom for atom, k in zip(operands, known, strict=True) if k is None]
        results = self.inline(*_compat.opened(jaxpr), unknown, scope)
        _check(eqn, results)
        return results

    def taken(
        self, rewrite: Rewrite, eqn: Equation, scope: _Scope
    ) -> tuple[Callable[..., Any], Mapping[str, Any]]:
        """The function of a rewrite and its parameters; note a parameter that it does not know."""
        row = ignoring(rewrite)
        try:
            return row.function, row.arguments(_compat.params_of(eqn))
        except UnsupportedError as error:
            self.refuse(eqn, scope, error)
            raise Declined from error

    def emit(self, eqn: Equation, operands: list[Atom], scope: _Scope) -> list[Atom]:
        """Emit an equation as it is, or return the results of an equal equation before it."""
        params = forms.with_bodies(eqn, lambda body: _Builder(self.options).build(body, scope))
        params = {name: _plain(value) for name, value in params.items()}
        operands = _scalars(eqn, operands)
        key = None if eqn.effects else _key(eqn.primitive, operands, (), params)
        if key is not None and key in self.seen:
            return self.seen[key]
        outputs = [Var(random.physical(v.aval)) for v in eqn.outvars]
        made = eqn.replace(invars=operands, outvars=outputs, params=params)
        made = made.replace(source_info=scope.source)
        self.eqns.append(made)
        self.made.update(dict.fromkeys(outputs, made))
        if key is not None:
            self.seen[key] = outputs
        return outputs


def _rewrite_of(eqn: Equation, scope: _Scope) -> Rewrite | None:
    name = eqn.primitive.name
    if random.moves_keys(eqn) and name not in random.REWRITES and name not in forms.BODIES:
        return random.moved(eqn.primitive)
    final = name in scope.applied if name in ALWAYS else forms.canonical(eqn)
    return None if final else REWRITES.get(name)


def _trace(function: Callable[..., Any], eqn: Equation, known: Sequence[Any]) -> ClosedJaxpr | None:
    """A rewrite as a jaxpr of the operands that are not known; None if it declines."""
    avals = [v.aval for v in eqn.invars]
    declined = False

    def of_unknown(*unknown: Any) -> Any:
        nonlocal declined
        rest = iter(unknown)
        operands = [
            next(rest) if atom is None else random.keys(atom.val, aval)
            for atom, aval in zip(known, avals, strict=True)
        ]
        try:
            return function(*operands)
        except Declined:  # an exception that passes through JAX costs it milliseconds
            declined = True
            return ()

    types = [
        jax.ShapeDtypeStruct(aval.shape, aval.dtype)
        for atom, aval in zip(known, avals, strict=True)
        if atom is None
    ]
    with _compat.context_of(eqn), np.errstate(all="ignore"):  # known scalars wrap around
        jaxpr = jax.make_jaxpr(of_unknown)(*types)
    return None if declined else jaxpr


def _check(eqn: Equation, results: list[Atom]) -> None:
    """Check that a rewrite returns the types that the equation promised."""
    promised = [random.physical(v.aval) for v in eqn.outvars]
    given = [atom.aval for atom in results]
    same = [(p.shape, p.dtype) == (g.shape, g.dtype) for p, g in zip(promised, given, strict=False)]
    if len(promised) != len(given) or not all(same):
        raise RewriteError(
            f"the rewrite of {eqn.primitive.name} returns {_types(given)}, not {_types(promised)}"
        )


def _types(avals: Sequence[Aval]) -> str:
    return ", ".join(f"{aval.dtype}{list(aval.shape)}" for aval in avals)


def _scalars(eqn: Equation, operands: list[Atom]) -> list[Atom]:
    """Replace constants that repeat a number by that number, where JAX takes it beside an array."""
    shape = eqn.outvars[0].aval.shape if eqn.outvars else None
    arrays = [atom for atom in operands if folding.scalar(atom) is None]
    if eqn.primitive.name not in forms.BROADCASTING or all(a.aval.shape != shape for a in arrays):
        return operands
    return [folding.scalar(atom) or atom for atom in operands]


def _plain(value: Any) -> Any:
    """Sizes and axes as numbers of Python, whatever library the user computed them with."""
    if isinstance(value, np.integer):
        return int(value)
    return type(value)(map(_plain, value)) if type(value) in (tuple, list) else value


def _key(what: Any, atoms: Sequence[Any], avals: Sequence[Aval], params: Any) -> Any:
    """A key that is equal where the same is computed; None if parameters cannot be compared."""
    names = tuple((aval.shape, aval.dtype) for aval in avals)
    key = (what, tuple(map(folding.identity, atoms)), names, tuple(sorted(params.items())))
    try:
        hash(key)
    except TypeError:
        return None
    return key

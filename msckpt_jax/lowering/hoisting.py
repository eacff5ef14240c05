"""Arrays that a function holds become arguments of its jaxpr, under their names.

``{ lambda a:f32[3,4] ; x. let y = dot_general x a in (y,) }`` becomes
``{ lambda ; a:f32[3,4] x. let y = dot_general x a in (y,) }``, where ``a`` is a weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax.extend import core, source_info_util

from msckpt_jax import _compat, names
from msckpt_jax._compat import Atom, Equation, SourceInfo, Var
from msckpt_jax.lowering import callables, forms, kinds
from msckpt_jax.lowering.callables import Look
from msckpt_jax.lowering.context import LITERAL_BYTES
from msckpt_jax.lowering.rewrites import calls

# Our own frames are none of the user's.
source_info_util.register_exclusion(__file__)


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
    if not _has_constants(jaxpr):
        return Hoisted(jaxpr, weights, ())
    opened = _Opened(jaxpr)
    paths = _paths(look, opened.constants)
    unique = names.Unique(weights)
    told = (name or names.ROOT for name in callables.shortened([*paths.values()]))
    named = dict(zip(paths, map(unique, told), strict=True))
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
    """A jaxpr whose constants are all at its top.

    Calls that have some are inlined, and bodies of control flow get them as operands.

    Attributes:
        constants: the variable and the array of each constant, by its identity.
        eqns: the equations.
        outvars: the results.
    """

    def __init__(self, jaxpr: Any):
        self._like = jaxpr
        self.jaxpr, consts = _compat.opened(jaxpr)
        self.constants: dict[Any, tuple[Var, Any]] = {}
        self.eqns: list[Equation] = []
        env = {var: var for var in self.jaxpr.invars}
        self.outvars = self._inline(self.jaxpr, consts, env, None)

    def closed(self, constants: Mapping[Any, tuple[Var, Any]]) -> Any:
        """The jaxpr without constants, which takes some before its arguments."""
        own = self.constants
        first = [own[key][0] if key in own else Var(v.aval) for key, (v, _) in constants.items()]
        arguments = [*first, *self.jaxpr.invars]
        return _compat.closed(self._like, [], [], arguments, self.eqns, self.outvars)

    def _constant(self, key: Any, var: Var, const: Any) -> Var:
        return self.constants.setdefault(key, (Var(var.aval), const))[0]

    def _inline(
        self, jaxpr: Any, consts: Sequence[Any], env: dict[Any, Any], outer: SourceInfo | None
    ) -> list[Atom]:
        for var, const in zip(jaxpr.constvars, consts, strict=True):
            env[var] = self._constant(_identity(const), var, const)

        def read(atom: Atom) -> Atom:
            return atom if isinstance(atom, _compat.Literal) else env[atom]

        for eqn in jaxpr.eqns:
            operands = [read(atom) for atom in eqn.invars]
            source = _compat.within(outer, eqn.source_info)
            env.update(zip(eqn.outvars, self._equation(eqn, operands, source), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, eqn: Equation, operands: list[Atom], source: SourceInfo) -> list[Atom]:
        eqn = eqn.replace(effects=_compat.effects_on(eqn, operands))
        has_constants = any(_has_constants(body) for body in _bodies(eqn))
        if has_constants and (callee := calls.callee(eqn)) is not None:
            body, consts = callee
            given = operands[len(operands) - len(body.invars) :]
            return self._inline(body, consts, dict(zip(body.invars, given, strict=True)), source)
        if has_constants and eqn.primitive.name in forms.BODIES:
            bodies = [_Opened(body) for body in _bodies(eqn)]
            held = {key: pair for body in bodies for key, pair in body.constants.items()}
            first = [self._constant(key, *pair) for key, pair in held.items()]
            rest = iter(bodies)
            params = forms.with_bodies(eqn, lambda _: next(rest).closed(held))
            if eqn.primitive.name == "scan":
                jaxpr = _scan(eqn, params["jaxpr"], [*first, *operands])
                inner, consts = _compat.opened(jaxpr)
                env = dict(zip(inner.invars, [*first, *operands], strict=True))
                return self._inline(inner, consts, env, source)
            operands = _PLACED[eqn.primitive.name](params, first, operands)
            eqn = eqn.replace(params=params)
        outvars = [Var(v.aval) for v in eqn.outvars]
        self.eqns.append(eqn.replace(invars=operands, outvars=outvars, source_info=source))
        return outvars


def _bodies(eqn: Equation) -> list[Any]:
    """The jaxprs that an equation calls, or that are its bodies."""
    if (callee := calls.callee(eqn)) is not None:
        return [callee]
    bodies: list[Any] = []
    forms.with_bodies(eqn, lambda body: bodies.append(body) or body)
    return bodies


def _has_constants(body: Any) -> bool:
    inner, consts = body if isinstance(body, tuple) else _compat.opened(body)
    return bool(consts) or any(_has_constants(b) for eqn in inner.eqns for b in _bodies(eqn))


def _cond(params: dict[str, Any], first: list[Atom], operands: list[Atom]) -> list[Atom]:
    return [operands[0], *first, *operands[1:]]


def _while(params: dict[str, Any], first: list[Atom], operands: list[Atom]) -> list[Atom]:
    count = params["cond_nconsts"]
    for name in ("cond_nconsts", "body_nconsts"):
        params[name] += len(first)
    return [*first, *operands[:count], *first, *operands[count:]]


_PLACED = {"cond": _cond, "while": _while}


def _scan(eqn: Equation, body: Any, operands: Sequence[Atom]) -> Any:
    """The jaxpr of a scan whose body takes more constants, the first operands."""
    params = _compat.params_of(eqn)
    carry = params["num_carry"]
    count = len(operands) - len(eqn.invars) + params["num_consts"]

    def run(*values: Any) -> tuple[Any, ...]:
        def step(state: Any, x: Any) -> tuple[Any, Any]:
            results = core.jaxpr_as_fun(body)(*values[:count], *state, *x)
            return results[:carry], results[carry:]

        state, xs = [*values[count : count + carry]], [*values[count + carry :]]
        how = {name: params[name] for name in ("length", "reverse", "unroll")}
        last, ys = lax.scan(step, state, xs, **how)
        return (*last, *ys)

    types = [
        jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype, weak_type=v.aval.weak_type)
        for v in operands
    ]
    return jax.make_jaxpr(run)(*types)


def _paths(look: Look, constants: Mapping[Any, tuple[Var, Any]]) -> dict[Any, tuple[str, ...]]:
    """The path of each constant that has one, by its identity."""
    paths: dict[Any, tuple[str, ...]] = {}
    left = {key for key, (_, const) in constants.items() if _is_weight(const)}
    shapes = {constants[key][1].shape for key in left}
    wide: dict[Any, list[tuple[str, ...]]] = {}
    for path, value in look.walk() if left else ():
        if not kinds.is_array(value):
            continue
        key = _identity(value)
        if key in left:
            paths[key] = path
            left.remove(key)
            if not left:
                break
        elif value.shape in shapes and (content := _narrowed(value)) is not None:
            wide.setdefault(content, []).append(path)
    return paths | _equal(wide, {key: constants[key][1] for key in left})


def _equal(
    wide: Mapping[Any, Sequence[tuple[str, ...]]], left: Mapping[Any, Any]
) -> dict[Any, tuple[str, ...]]:
    """The paths of arrays that JAX has narrowed: each is the only one with its numbers."""
    contents: dict[Any, list[Any]] = {}
    for key, const in left.items() if wide else ():
        if isinstance(const, np.ndarray):
            contents.setdefault(_content(const), []).append(key)
    pairs = ((keys, wide.get(content, ())) for content, keys in contents.items())
    return {keys[0]: paths[0] for keys, paths in pairs if len(keys) == len(paths) == 1}


def _narrowed(array: Any) -> Any:
    """The content of an array of NumPy's as JAX narrows it; None for others, and for one number."""
    if not isinstance(array, np.ndarray) or array.size < 2:
        return None
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    if dtype == array.dtype or (array == array.flat[0]).all():
        return None
    return _content(array.astype(dtype))


def _content(array: Any) -> Any:
    return array.dtype, array.shape, np.asarray(array).tobytes()


def _is_weight(const: Any) -> bool:
    """Tell whether a constant may be a parameter: NumPy's whole numbers are indices, masks."""
    if _compat.is_mutable(const):
        return False
    if not isinstance(const, np.ndarray):
        return True
    return const.ndim > 0 and const.dtype.kind not in "biu"


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
        if not _is_weight(const) or const.nbytes <= LITERAL_BYTES:
            continue
        sizes = ",".join(map(str, const.shape))
        line = next((_compat.user_line(e.source_info) for e in eqns if var in e.invars), "")
        where = f"{line}: " if line else ""
        out.append(
            f"{where}the array {const.dtype}[{sizes}] is a parameter constant_N, as it has no path "
            "in the function; export (function, weights) to name it"
        )
    return list(dict.fromkeys(out))

"""Operators of MindSpore in the place of the equations that compute the same.

A pattern is a JAX function of arrays, and of scalars that are constants in the model. It is made
canonical for the shapes at hand and compared, equation by equation, beginning with the equation
that may be its last. So a pattern matches whether the model calls ``jax.nn.softmax`` or spells it
out.

    d = reduce_max x; e = sub x d; f = exp e; g = reduce_sum f; y = div f g
    y = ms_op[op=Softmax attrs=(("axis", (-1,)),)] x

MindSpore 2.10.0 on CPU, float32: all of them within 1e-6 of JAX, GeLU and SiLU also where Tanh
alone is wrong by 1e-4. ReLU makes 0 of NaN there, as do Softmax and LogSoftmax but for their rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax import _compat
from msckpt_jax._compat import Atom, ClosedJaxpr, Equation, Literal, Var
from msckpt_jax.lowering import folding, forms, settling
from msckpt_jax.lowering.operator import ms_op_p

_Shape = tuple[Any, ...]


@dataclass(frozen=True)
class Pattern:
    """A function that an operator computes.

    Attributes:
        function: takes the operands, and the constants by keyword.
        shapes: the shapes of the operands.
        attrs: further arguments of the operator, in its order.
        constant: the name of the argument that is a constant of the model, or None.
    """

    function: Callable[..., Any]
    shapes: tuple[_Shape, ...]
    attrs: tuple[tuple[str, Any], ...] = ()
    constant: str | None = None


@dataclass(frozen=True)
class Fusion:
    """An operator, and the equations that it may stand for.

    Attributes:
        op: MindSpore's name.
        path: primitives that lead from the last equation to an early equation.
        patterns: gives the patterns for a shape of the result.
        exact: whether infinities and NaN come out as in JAX.
        wide: whether there is a kernel for float64, which computes in it.
    """

    op: str
    path: tuple[str, ...]
    patterns: Callable[[_Shape], Iterator[Pattern]]
    exact: bool = False
    wide: bool = True


def elementwise(function: Callable[..., Any]) -> Callable[[_Shape], Iterator[Pattern]]:
    """The patterns of a function of one array."""
    return lambda shape: iter([Pattern(function, (shape,))])


def _softmaxes(shape: _Shape) -> Iterator[Pattern]:
    for axis in range(len(shape)):
        function = partial(jax.nn.softmax, axis=axis)
        yield Pattern(function, (shape,), (("axis", (axis,)),))


def _log_softmaxes(shape: _Shape) -> Iterator[Pattern]:
    for axis in range(len(shape)):
        yield Pattern(partial(jax.nn.log_softmax, axis=axis), (shape,), (("axis", axis),))


def _layer_norms(function: Callable[..., Any]) -> Callable[[_Shape], Iterator[Pattern]]:
    attrs = (("begin_norm_axis", -1), ("begin_params_axis", -1), ("epsilon", None))

    def patterns(shape: _Shape) -> Iterator[Pattern]:
        if len(shape) > 1:
            yield Pattern(function, (shape, shape[-1:], shape[-1:]), attrs, "epsilon")

    return patterns


def _batch_norms(shape: _Shape) -> Iterator[Pattern]:
    """The patterns for channels first; MindSpore's kernel for channels last is wrong on CPU."""
    attrs = (("is_training", False), ("epsilon", None), ("momentum", 0.1), ("data_format", 0))
    if len(shape) in (2, 4):
        yield Pattern(_batch_norm, (shape, *[shape[1:2]] * 4), attrs, "epsilon")


def _layer_norm(x: Array, gamma: Array, beta: Array, *, epsilon: Array) -> Array:
    """Normalise as Flax does: the variance comes from the mean of squares, and is not below 0."""
    mean, square = jnp.mean(x, -1), jnp.mean(lax.square(x), -1)
    variance = jnp.maximum(0.0, square - lax.square(mean))
    gamma, beta = _along(gamma, x, -1), _along(beta, x, -1)
    return _scaled(x, mean[..., None], variance[..., None], gamma, beta, epsilon)


def _layer_norm_in_two_passes(x: Array, gamma: Array, beta: Array, *, epsilon: Array) -> Array:
    mean, variance = jnp.mean(x, -1, keepdims=True), jnp.var(x, -1, keepdims=True)
    return _scaled(x, mean, variance, _along(gamma, x, -1), _along(beta, x, -1), epsilon)


def _batch_norm(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: Array
) -> Array:
    mean, variance, gamma, beta = (_along(v, x, 1) for v in (mean, variance, gamma, beta))
    return _scaled(x, mean, variance, gamma, beta, epsilon)


def _scaled(
    x: Array, mean: Array, variance: Array, gamma: Array, beta: Array, epsilon: Array
) -> Array:
    factor = lax.mul(lax.rsqrt(lax.add(variance, epsilon)), gamma)
    return lax.add(lax.mul(lax.sub(x, mean), factor), beta)


def _along(vector: Array, x: Array, axis: int) -> Array:
    shape = [1] * x.ndim
    shape[axis] = vector.shape[0]
    return lax.reshape(vector, shape)


_NORM = ("add", "mul", "mul", "rsqrt", "add")
FUSIONS = (
    Fusion("Softmax", ("div", "exp", "sub"), _softmaxes, exact=True),
    Fusion("LogSoftmax", ("sub", "log"), _log_softmaxes, exact=True, wide=False),
    Fusion("GeLU", ("mul", "mul", "add", "tanh"), elementwise(jax.nn.gelu), exact=True, wide=False),
    Fusion("SiLU", ("mul", "logistic"), elementwise(jax.nn.silu), exact=True),
    Fusion("ReLU", ("max",), elementwise(jax.nn.relu)),
    Fusion(
        "LayerNorm", (*_NORM, "reshape", "max"), _layer_norms(_layer_norm), exact=True, wide=False
    ),
    Fusion(
        "LayerNorm",
        (*_NORM, "div"),
        _layer_norms(_layer_norm_in_two_passes),
        exact=True,
        wide=False,
    ),
    Fusion("BatchNorm", (*_NORM, "reshape"), _batch_norms, exact=True, wide=False),
)

#: A function that makes the jaxpr of a pattern canonical.
Canonical = Callable[[ClosedJaxpr], ClosedJaxpr]


def fuse(
    jaxpr: ClosedJaxpr, canonical: Canonical, *, exact: bool, more: Sequence[Fusion] = ()
) -> ClosedJaxpr:
    """The canonical jaxpr with operators, in bodies too.

    Args:
        jaxpr: a canonical jaxpr.
        canonical: makes jaxprs canonical, without operators.
        exact: take only operators that also give JAX's results on infinities and NaN.
        more: fusions that are tried before ``FUSIONS``.
    """
    fusions = [f for f in (*more, *FUSIONS) if f.exact or not exact]
    made = {var: eqn for eqn in jaxpr.eqns for var in eqn.outvars}
    eqns = []
    for eqn in jaxpr.eqns:
        operator = _operator(eqn, made, canonical, fusions)
        bodies = forms.with_bodies(eqn, lambda body: fuse(body, canonical, exact=exact, more=more))
        eqns.append(operator or eqn.replace(params=bodies))
    inner = jaxpr.jaxpr
    parts = (inner.constvars, jaxpr.consts, inner.invars)
    return _compat.closed(jaxpr, *parts, settling.live(eqns, inner.outvars), inner.outvars)


def _operator(
    eqn: Equation, made: Mapping[Var, Equation], canonical: Canonical, fusions: Sequence[Fusion]
) -> Equation | None:
    for fusion in fusions:
        if not _leads(eqn, fusion.path, made):
            continue
        out = eqn.outvars[0].aval
        for pattern, jaxpr in _instances(fusion, out.shape, out.dtype, canonical):
            bound = _match(jaxpr, eqn, made)
            if bound is not None:
                return _emitted(fusion, pattern, bound, eqn)
    return None


def _leads(eqn: Equation | None, path: tuple[str, ...], made: Mapping[Var, Equation]) -> bool:
    if eqn is None or eqn.primitive.name != path[0]:
        return False
    makers = [made.get(a) for a in eqn.invars if not isinstance(a, Literal)]
    return len(path) == 1 or any(_leads(maker, path[1:], made) for maker in makers)


@lru_cache(maxsize=512)
def _instances(fusion: Fusion, shape: _Shape, dtype: Any, canonical: Canonical) -> tuple:
    """The patterns and their canonical jaxprs."""
    if not jnp.issubdtype(dtype, np.floating) or (dtype == np.float64 and not fusion.wide):
        return ()
    instances = []
    for pattern in fusion.patterns(shape):
        shapes = [*pattern.shapes, *([()] if pattern.constant else [])]
        arguments = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
        jaxpr = canonical(jax.make_jaxpr(partial(_applied, pattern))(*arguments))
        instances.append((pattern, jaxpr))
    return tuple(instances)


def _applied(pattern: Pattern, *operands: Any) -> Any:
    if pattern.constant is None:
        return pattern.function(*operands)
    return pattern.function(*operands[:-1], **{pattern.constant: operands[-1]})


def _match(pattern: ClosedJaxpr, eqn: Equation, made: Mapping[Var, Equation]) -> list[Atom] | None:
    """The arguments of a pattern, if the pattern computes what ``eqn`` does, or None."""
    parts = {var: e for e in pattern.eqns for var in e.outvars}
    arguments = pattern.jaxpr.invars

    def atoms(want: Atom, atom: Atom, bound: dict) -> dict | None:
        if isinstance(want, Literal):
            same = isinstance(atom, Literal) and folding.identity(want) == folding.identity(atom)
            return bound if same else None
        if want in parts:
            maker = None if isinstance(atom, Literal) else made.get(atom)
            return None if maker is None else equations(parts[want], maker, bound)
        if want in bound:
            return bound if bound[want] is atom else None
        same = (want.aval.shape, want.aval.dtype) == (atom.aval.shape, atom.aval.dtype)
        return {**bound, want: atom} if same else None

    def equations(want: Equation, candidate: Equation, bound: dict) -> dict | None:
        if want.primitive is not candidate.primitive or want.params != candidate.params:
            return None
        orders = [candidate.invars]
        if want.primitive.name in ("add", "mul", "max"):
            orders.append(candidate.invars[::-1])
        tries = (operands(want, order, bound) for order in orders)
        return next((bound for bound in tries if bound is not None), None)

    def operands(want: Equation, candidates: list[Atom], bound: dict | None) -> dict | None:
        for part, atom in zip(want.invars, candidates, strict=True):
            bound = None if bound is None else atoms(part, atom, bound)
        return bound

    bound = equations(parts[pattern.jaxpr.outvars[0]], eqn, {})
    return None if bound is None else [bound[argument] for argument in arguments]


def _emitted(
    fusion: Fusion, pattern: Pattern, operands: list[Atom], eqn: Equation
) -> Equation | None:
    attrs, function = pattern.attrs, pattern.function
    if pattern.constant:
        *operands, constant = operands
        if not isinstance(constant, Literal):
            return None
        value = constant.val.item()
        attrs = tuple((k, value if k == pattern.constant else v) for k, v in attrs)
        function = partial(function, **{pattern.constant: constant.val})
    params = {"op": fusion.op, "attrs": attrs, "reference": function}
    return _compat.equation(ms_op_p, operands, eqn.outvars, params, eqn.source_info)

"""A canonical jaxpr as bytes, for another process of this library and this JAX.

Pickle, with our own words for objects that JAX does not pickle: primitives go by their names,
source lines and effects are left out. Never read bytes that come from elsewhere.
"""

from __future__ import annotations

import io
import pickle
from functools import cache
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend import core

from msckpt_jax import _compat
from msckpt_jax.errors import UnsupportedError


def dumps(jaxpr: _compat.ClosedJaxpr) -> bytes:
    """The bytes of a jaxpr.

    Raises:
        UnsupportedError: a primitive is not JAX's, or a parameter is code.
    """
    out = io.BytesIO()
    try:
        _Pickler(out, pickle.HIGHEST_PROTOCOL).dump(jaxpr)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UnsupportedError(f"the jaxpr cannot be handed to jax2onnx: {error}") from error
    return out.getvalue()


def loads(data: bytes) -> _compat.ClosedJaxpr:
    """The jaxpr that ``dumps`` was given."""
    return pickle.loads(data)


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, core.ClosedJaxpr | core.Jaxpr):
            inner, consts = _compat.opened(obj)
            parts = inner.constvars, list(consts), inner.invars, inner.eqns, inner.outvars
            return _jaxpr, tuple(map(list, parts))
        if isinstance(obj, core.JaxprEqn):
            return _equation, (obj.invars, obj.outvars, obj.primitive, obj.params)
        if isinstance(obj, core.Primitive):
            if obj.name not in _primitives():
                raise UnsupportedError(f"the primitive {obj.name} is not JAX's own")
            return _primitive, (obj.name,)
        if isinstance(obj, core.Var):
            return core.Var, (obj.aval,)
        if isinstance(obj, _compat.Literal):
            return _compat.Literal, (np.asarray(obj.val, obj.aval.dtype), obj.aval)
        if isinstance(obj, _compat.ShapedArray):
            return _compat.ShapedArray, (obj.shape, obj.dtype)
        if isinstance(obj, jax.Array):
            return np.asarray, (np.asarray(obj),)
        if jax.export.is_symbolic_dim(obj):
            return _dim, (str(obj), tuple(_compat.constraints(obj.scope)))
        return NotImplemented


@cache
def _primitives() -> dict[str, core.Primitive]:
    candidates = [*vars(lax).values(), *vars(core.primitives).values()]
    return {value.name: value for value in candidates if isinstance(value, core.Primitive)}


def _primitive(name: str) -> core.Primitive:
    return _primitives()[name]


def _equation(invars: list, outvars: list, primitive: core.Primitive, params: dict) -> Any:
    return core.new_jaxpr_eqn(invars, outvars, primitive, params, core.no_effects)


def _jaxpr(
    constvars: list, consts: list, invars: list, eqns: list, outvars: list
) -> _compat.ClosedJaxpr:
    return _compat.closed(jax.make_jaxpr(tuple)(()), constvars, consts, invars, eqns, outvars)


def _dim(text: str, constraints: tuple[str, ...]) -> Any:
    """A dynamic size; equal names are equal sizes throughout a process."""
    (dim,) = jax.export.symbolic_shape(text, scope=_scope(constraints))
    return dim


@cache
def _scope(constraints: tuple[str, ...]) -> jax.export.SymbolicScope:
    return jax.export.SymbolicScope(constraints)

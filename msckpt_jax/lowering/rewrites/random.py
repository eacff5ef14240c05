"""PRNG keys are arrays of ``uint32`` in a canonical jaxpr: one axis more, at the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax

from msckpt_jax._compat import Aval, Equation, ShapedArray


def is_key(aval: Aval) -> bool:
    dtype = getattr(aval, "dtype", None)
    return dtype is not None and jax.numpy.issubdtype(dtype, jax.dtypes.prng_key)


@lru_cache(maxsize=64)
def physical(aval: Aval) -> Aval:
    """The type of the data of a key array; other types as they are."""
    if not is_key(aval):
        return aval
    data = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(aval.shape, aval.dtype))
    return ShapedArray(data.shape, data.dtype)


def data(value: Any) -> Any:
    """The data of a key array; other values as they are."""
    return jax.random.key_data(value) if is_key(value) else value


def keys(value: Any, aval: Aval) -> Any:
    """The key array that has this data, where the type says that it is one."""
    return jax.random.wrap_key_data(value, impl=implementation(aval)) if is_key(aval) else value


def implementation(keys: Any) -> str:
    return {"key<fry>": "threefry2x32", "key<rbg>": "rbg", "key<urbg>": "unsafe_rbg"}[
        str(keys.dtype)
    ]


def takes_keys(eqn: Equation) -> bool:
    return any(is_key(v.aval) for v in (*eqn.invars, *eqn.outvars))


def moved(primitive: Any) -> Callable[..., Any]:
    """The rewrite of a primitive that only moves keys: it moves each word of their data."""

    def rewrite(*operands: Any, **params: Any) -> Any:
        (first, *_) = (x for x in operands if is_key(x))
        axes = [-1 if is_key(x) else None for x in operands]
        words = [jax.random.key_data(x) if is_key(x) else x for x in operands]
        out = jax.vmap(lambda *xs: primitive.bind(*xs, **params), axes, -1)(*words)
        return jax.tree.map(partial(jax.random.wrap_key_data, impl=implementation(first)), out)

    return rewrite


REWRITES: dict[str, Callable[..., Any]] = {}

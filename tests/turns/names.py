"""The names that the wrong turns use: what a user would have at hand."""

from __future__ import annotations

import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import msckpt_jax as ms
from tests.turns.files import CONFIG, KEY, W


class Thing:
    """An object that no library knows."""


def lin() -> nnx.Linear:
    return nnx.Linear(3, 4, rngs=nnx.Rngs(0))


def user_idx(x: Any) -> Any:
    return [x][3]


def user_key(x: Any) -> Any:
    return {"a": x}["b"]


def user_attr(x: Any) -> Any:
    return x.no_such


def user_assert(x: Any) -> Any:
    assert x.shape[0] == 7
    return x


def user_stop(x: Any) -> Any:
    return next(iter([x][1:]))


def user_rec(x: Any) -> Any:
    return user_rec(x)


def promo(x: Any) -> Any:
    with jax.numpy_dtype_promotion("strict"):
        return x + jnp.ones(3, jnp.int32)


NAMES: dict[str, Any] = {
    "io": io, "ms": ms, "np": np, "jax": jax, "jnp": jnp, "nnx": nnx, "W": W, "KEY": KEY,
    "CONFIG": CONFIG,
    "X": np.ones((2, 3), np.float32), "K": {"k": np.ones(4, np.float32)}, "S": {"w": W, "b": W[0]},
    "mesh": jax.make_mesh((8,), ("x",)), "conv": nnx.Conv(3, 8, (3, 3), rngs=nnx.Rngs(0)),
    **{made.__name__: made for made in (
        Thing, lin, user_idx, user_key, user_attr, user_assert, user_stop, user_rec, promo
    )},
}  # fmt: skip

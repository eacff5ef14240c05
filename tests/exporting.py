"""Small networks and functions that every format exports."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from msckpt_jax.graph.values import Const, Tensor


def _array(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def _i32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


class Mlp(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(3, 8, rngs=rngs)
        self.second = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return jax.nn.softmax(self.second(jax.nn.gelu(self.first(x))))


class Cnn(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
        self.down = nnx.Conv(8, 8, (3, 3), strides=2, feature_group_count=4, rngs=rngs)
        self.head = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = nnx.relu(self.norm(self.conv(x)))
        x = nnx.max_pool(x, (2, 2), (2, 2))
        x = nnx.avg_pool(self.down(x), (2, 2), (1, 1), "SAME")
        return self.head(x.mean((1, 2)))


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return x + self.attention(self.norm(x))


def _loop(x: Any) -> Any:
    return lax.fori_loop(0, 5, lambda i, c: c * 1.1 + i, x)


def _scan(x: Any, w: Any) -> Any:
    return lax.scan(lambda c, y: (jnp.tanh(c @ w + y), c.sum()), jnp.zeros(4), x, reverse=True)


def _switch(i: Any, x: Any) -> Any:
    return lax.switch(i, [lambda x: x * 2, lambda x: x - 1, jnp.sin], x)


def _random(seed: Any) -> Any:
    return jax.random.uniform(jax.random.key(seed), (3,))


def _cumulative(x: Any) -> Any:
    return jnp.cumsum(x, 0), jnp.cumprod(x, 1), lax.cummax(x, 1), lax.cummin(x, 0, reverse=True)


CASES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "mlp": (Mlp(), (_array(2, 3),)),
    "cnn": (Cnn(), (_array(2, 8, 8, 3),)),
    "attention": (Block(nnx.Rngs(0)), (_array(2, 5, 8),)),
    "cond": (lambda p, x: lax.cond(p > 0, jnp.sin, jnp.cos, x), (_array(), _array(3))),
    "switch": (_switch, (np.int32(1), _array(3))),
    "fori_loop": (_loop, (_array(3),)),
    "scan": (_scan, (_array(20, 4), _array(4, 4))),
    "random": (_random, (np.uint32(3),)),
    "joins of nothing": (
        lambda x: (jnp.concatenate([x, x]), jnp.concatenate([x.T, jnp.ones((3, 2))])),
        (np.zeros((2, 0), np.float32),),
    ),
    "gather": (lambda x, i: x[i], (_array(5, 3), _i32(1, 4, -1))),
    "gather, out of bounds": (
        lambda x, i: (x.at[i].get(mode="fill", fill_value=7), x.at[i].get(mode="clip")),
        (_array(5, 3), _i32(1, 9, -8)),
    ),
    "scatter": (
        lambda x, i, u: (x.at[i].add(u), x.at[i].set(u), x.at[i].max(u)),
        (_array(5, 3), _i32(1, 9, 2), _array(3, 3)),
    ),
    "scatter by products": (lambda x, i, u: x.at[i].mul(u), (_array(5), _i32(1, 2), _array(2))),
    "sort": (lambda x: (jnp.sort(x, 0), jnp.argsort(x), lax.top_k(x, 2)), (_array(5, 4),)),
    "cumulative": (_cumulative, (_array(5, 3),)),
    "pad": (lambda x: jnp.pad(x, ((1, 2), (0, 3)), constant_values=2.0), (_array(5, 3),)),
    "dynamic slices": (
        lambda x, y, i: lax.dynamic_update_slice(lax.dynamic_slice(x, (i, 0), (4, 3)), y, (i, 0)),
        (_array(6, 3), _array(2, 3), np.int32(9)),
    ),
    "shapes": (
        lambda x: (jnp.flip(x, 0), x.T[None], jnp.tile(x, (2, 1)), x[::2, 1:], jnp.stack([x, x])),
        (_array(5, 3),),
    ),
    "integers": (
        lambda x, y: (x // y, x % y, lax.rem(x, y), x << 2, x >> 1, x & y, ~x, x ^ y),
        (_i32(7, -7, 100, -1), _i32(2, 3, -7, 5)),
    ),
    "reductions": (
        lambda x: (x.sum(0), x.prod(1), x.max(), x.argmax(1), (x > 0).any(0), (x > 0).all()),
        (_array(4, 3),),
    ),
    "elementary": (
        lambda x: (jnp.expm1(x), jnp.log1p(abs(x)), jnp.arctan2(x, 1 - x), lax.rsqrt(abs(x) + 1)),
        (_array(9),),
    ),
    "activations": (
        lambda x: (
            *(f(x) for f in (jax.nn.mish, jax.nn.softplus, jax.nn.leaky_relu, jax.nn.elu)),
            jax.nn.leaky_relu(x, 0.3),
            jax.nn.gelu(x, approximate=False),
            jax.nn.silu(x),
        ),
        (np.array([-90, -30, -3, -1e-3, 0, 0.5, 4, 30, 90], np.float32),),
    ),
    "activations of float16": (
        lambda x: (jax.nn.mish(x), jax.nn.gelu(x), jax.nn.leaky_relu(x)),
        (np.array([-30, -3, 0, 0.5, 4, 30], np.float16),),
    ),
    "bfloat16": (lambda x: (x * 2 + 1, x.T, x > 0), (_array(4, 3).astype(jnp.bfloat16),)),
    "float16": (lambda x: jax.nn.softmax(x) * 2, (_array(4, 3).astype(np.float16),)),
    "convolutions": (
        lambda x, w: (
            lax.conv_transpose(x, w, (2, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")),
            lax.conv(x, w, (1, 1), "VALID"),
        ),
        (_array(1, 3, 6, 6), _array(3, 3, 3, 3)),
    ),
    "results": (lambda x: (x, x + 1, x, jnp.ones(3)), (_array(3),)),
}


def sum_of_three(ctx: Any, x: Any, **_: Any) -> Any:
    """A rule for ``reduce_sum`` along axis 0 that is right for three rows only."""
    two = Tensor(np.dtype(np.float32), (3, 2))
    rows = ctx("Slice", x, (Const(0), Const(0)), (Const(3), Const(2)), type=two)
    return ctx("ReduceSum", rows, (Const(0),), Const(False), Const(False))

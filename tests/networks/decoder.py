"""A decoder of language, small to read: Llama, Qwen3, Gemma and a mixture of experts by options.

It takes its cache as an argument and returns it: as a list of arrays that grow with the tokens
(``grown``), or as arrays of a fixed size that are written at a position (``placed``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

Cache = list[dict[str, jax.Array]]


@dataclass(frozen=True)
class Config:
    """The sizes and the kind of a decoder.

    Attributes:
        window: the number of tokens that every second layer sees, or None.
        cap: scores and logits are between -cap and cap, or None.
        experts, chosen: the number of experts, and of those that a token goes to; 0: a plain MLP.
    """

    vocabulary: int = 96
    width: int = 32
    layers: int = 2
    heads: int = 4
    groups: int = 2
    size: int = 8
    inner: int = 48
    theta: float = 10000.0
    epsilon: float = 1e-6
    qk_norm: bool = False
    window: int | None = None
    cap: float | None = None
    experts: int = 0
    chosen: int = 0
    dtype: Any = jnp.float32


CONFIGS = {
    "llama": Config(),
    "qwen3": Config(qk_norm=True, theta=1e6),
    "gemma": Config(groups=1, window=3, cap=3.0, qk_norm=True),
    "mixture": Config(experts=4, chosen=2),
}


class Norm(nnx.Module):
    def __init__(self, size: int, config: Config, *, rngs: nnx.Rngs):
        self.weight = nnx.Param(1 + 0.1 * jax.random.normal(rngs(), (size,), config.dtype))
        self.epsilon = config.epsilon

    def __call__(self, x: jax.Array) -> jax.Array:
        wide = x.astype(jnp.float32)
        wide = wide * lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + self.epsilon)
        return self.weight[...] * wide.astype(x.dtype)


def _linear(inputs: int, outputs: int, config: Config, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(
        inputs, outputs, use_bias=False, dtype=config.dtype, param_dtype=config.dtype, rngs=rngs
    )


def rotated(x: jax.Array, positions: jax.Array, theta: float) -> jax.Array:
    """``x`` (batch, heads, tokens, size), each half turned by the other."""
    half = x.shape[-1] // 2
    frequencies = 1.0 / theta ** (jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions[:, None, :, None].astype(jnp.float32) * frequencies
    cos, sin = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype)
    left, right = x[..., :half], x[..., half:]
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], -1)


class Attention(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.config = c = config
        self.q_proj = _linear(c.width, c.heads * c.size, c, rngs)
        self.k_proj = _linear(c.width, c.groups * c.size, c, rngs)
        self.v_proj = _linear(c.width, c.groups * c.size, c, rngs)
        self.o_proj = _linear(c.heads * c.size, c.width, c, rngs)
        if c.qk_norm:
            self.q_norm, self.k_norm = Norm(c.size, c, rngs=rngs), Norm(c.size, c, rngs=rngs)

    def __call__(self, x: jax.Array, positions: jax.Array, mask: jax.Array, cache: Any) -> Any:
        """The result, and the cache; ``cache`` maps new keys and values to all of them."""
        c = self.config
        query, key, value = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        query, key, value = (_split(y, c.size) for y in (query, key, value))
        if c.qk_norm:
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = rotated(query, positions, c.theta), rotated(key, positions, c.theta)
        key, value = cache(key, value)
        grouped = query.reshape(query.shape[0], c.groups, -1, *query.shape[2:])
        scores = jnp.einsum("bghqd,bgkd->bghqk", grouped, key).astype(jnp.float32) * c.size**-0.5
        if c.cap is not None:
            scores = jnp.tanh(scores / c.cap) * c.cap
        scores = jnp.where(mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
        weights = jax.nn.softmax(scores).astype(x.dtype)
        y = jnp.einsum("bghqk,bgkd->bghqd", weights, value).reshape(query.shape)
        y = jnp.swapaxes(y, 1, 2).reshape(*x.shape[:2], -1)
        return self.o_proj(y), {"key": key, "value": value}


def _split(x: jax.Array, size: int) -> jax.Array:
    return jnp.swapaxes(x.reshape(*x.shape[:2], -1, size), 1, 2)


class Mlp(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.gate_proj = _linear(config.width, config.inner, config, rngs)
        self.up_proj = _linear(config.width, config.inner, config, rngs)
        self.down_proj = _linear(config.inner, config.width, config, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(jax.nn.silu(self.gate_proj(x)) * self.up_proj(x))


class Mixture(nnx.Module):
    """Experts, of which a router chooses some for each token; all are computed."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.chosen = config.chosen
        self.router = _linear(config.width, config.experts, config, rngs)

        def stacked(*shape: int) -> nnx.Param:
            scale = shape[0] ** -0.5
            return nnx.Param(
                scale * jax.random.normal(rngs(), (config.experts, *shape), config.dtype)
            )

        self.gate = stacked(config.width, config.inner)
        self.up = stacked(config.width, config.inner)
        self.down = stacked(config.inner, config.width)

    def __call__(self, x: jax.Array) -> jax.Array:
        top, index = lax.top_k(self.router(x).astype(jnp.float32), self.chosen)
        weights = jax.nn.one_hot(index, self.gate.shape[0]) * jax.nn.softmax(top)[..., None]
        inner = jax.nn.silu(jnp.einsum("btd,edf->ebtf", x, self.gate[...]))
        inner = inner * jnp.einsum("btd,edf->ebtf", x, self.up[...])
        outer = jnp.einsum("ebtf,efd->ebtd", inner, self.down[...])
        return jnp.einsum("bte,ebtd->btd", weights.sum(-2).astype(x.dtype), outer)


class Layer(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.input_layernorm = Norm(config.width, config, rngs=rngs)
        self.self_attn = Attention(config, rngs=rngs)
        self.post_attention_layernorm = Norm(config.width, config, rngs=rngs)
        self.mlp = (Mixture if config.experts else Mlp)(config, rngs=rngs)

    def __call__(self, x: jax.Array, positions: jax.Array, mask: jax.Array, cache: Any) -> Any:
        y, cache = self.self_attn(self.input_layernorm(x), positions, mask, cache)
        x = x + y
        return x + self.mlp(self.post_attention_layernorm(x)), cache


class Decoder(nnx.Module):
    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        self.config = config
        self.embed_tokens = nnx.Embed(
            config.vocabulary, config.width, dtype=config.dtype, param_dtype=config.dtype, rngs=rngs
        )
        self.layers = nnx.List([Layer(config, rngs=rngs) for _ in range(config.layers)])
        self.norm = Norm(config.width, config, rngs=rngs)
        self.lm_head = _linear(config.width, config.vocabulary, config, rngs)

    def __call__(
        self, ids: jax.Array, positions: jax.Array, seen: jax.Array, caches: Sequence[Any]
    ) -> tuple[jax.Array, Cache]:
        """Logits and caches; ``seen`` (batch, tokens, keys) says how far a token sees back.

        It holds distances from a token to the keys before it, negative where it sees none.
        """
        x, present = self.embed_tokens(ids), []
        for index, (layer, cache) in enumerate(zip(self.layers, caches, strict=True)):
            mask = seen >= 0
            if self.config.window is not None and index % 2 == 0:
                mask &= seen < self.config.window
            x, kept = layer(x, positions, mask, cache)
            present.append(kept)
        logits = self.lm_head(self.norm(x)).astype(jnp.float32)
        if self.config.cap is not None:
            logits = jnp.tanh(logits / self.config.cap) * self.config.cap
        return logits, present


def grown(
    model: Decoder,
    input_ids: jax.Array,
    attention_mask: jax.Array,
    position_ids: jax.Array,
    past_key_values: Cache,
) -> dict[str, Any]:
    """A step after ``past_key_values`` (batch, groups, past, size), to which the tokens are added.

    ``input_ids`` and ``position_ids`` are (batch, tokens), ``attention_mask`` is
    (batch, past + tokens) with 0 for padding. Without a past it is the first step, the prefill.
    """
    total, tokens = attention_mask.shape[1], input_ids.shape[1]
    places = jnp.arange(tokens)[:, None] + total - tokens
    seen = jnp.where(attention_mask[:, None] > 0, places - jnp.arange(total), -1)

    def longer(past: dict[str, jax.Array]) -> Any:
        def add(key: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jnp.concatenate([past["key"], key], 2), jnp.concatenate(
                [past["value"], value], 2
            )

        return add

    logits, present = model(input_ids, position_ids, seen, [*map(longer, past_key_values)])
    return {"logits": logits, "present": present}


def placed(
    model: Decoder,
    input_ids: jax.Array,
    attention_mask: jax.Array,
    position_ids: jax.Array,
    position: jax.Array,
    cache: Cache,
) -> dict[str, Any]:
    """A step whose tokens are written to a cache (batch, groups, length, size) at ``position``.

    The arguments are those of ``grown``, but ``attention_mask`` is (batch, length).
    """
    places = position + jnp.arange(input_ids.shape[1])[:, None]
    before = places - jnp.arange(attention_mask.shape[1])
    seen = jnp.where(attention_mask[:, None] > 0, before, -1)

    def written(kept: dict[str, jax.Array]) -> Any:
        def put(key: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
            at = (0, 0, position, 0)
            return (
                lax.dynamic_update_slice(kept["key"], key, at),
                lax.dynamic_update_slice(kept["value"], value, at),
            )

        return put

    logits, present = model(input_ids, position_ids, seen, [*map(written, cache)])
    return {"logits": logits, "present": present}


def filled(config: Config, seed: int) -> tuple[Any, Any]:
    """The structure of a decoder and its weights, which are random, of unit variance in all."""
    structure, types = nnx.split(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(seed)

    def weight(path: Any, of: jax.ShapeDtypeStruct) -> np.ndarray:
        numbers = rng.standard_normal(of.shape)
        if len(of.shape) == 1:
            return (1 + 0.1 * numbers).astype(of.dtype)
        embeds = "embed_tokens" in jax.tree_util.keystr(path)
        return (numbers * (1 if embeds else of.shape[-2] ** -0.5)).astype(of.dtype)

    return structure, jax.tree_util.tree_map_with_path(weight, types)


def empty(config: Config, batch: Any, length: Any, make: Any = jnp.zeros) -> Cache:
    """A cache of no tokens; ``make`` takes a shape and a dtype."""
    shape = (batch, config.groups, length, config.size)
    return [
        {"key": make(shape, config.dtype), "value": make(shape, config.dtype)}
        for _ in range(config.layers)
    ]

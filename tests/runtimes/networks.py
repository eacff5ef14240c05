"""The networks that *Where the files run* tries: small, and of every kind that people export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from msckpt_jax.networks import resnet
from tests.exporting import Cnn, Mlp
from tests.networks.architectures import Block, Decoder, Lstm, UNet, Vit
from tests.networks.conftest import tokens
from tests.networks.small import NETWORKS as LARGE


class Case(NamedTuple):
    """The maker of a network, and inputs: of sizes that are tried where ``specs`` has any size."""

    make: Callable[[], Any]
    inputs: tuple[np.ndarray, ...]
    specs: tuple[jax.ShapeDtypeStruct, ...] | None = None


def _x(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)


def _ids(*shape: int, top: int = 97) -> np.ndarray:
    return np.random.default_rng(0).integers(0, top, shape, np.int32)


def _seeded(make: Callable[..., Any], *args: Any, **more: Any) -> Any:
    net = make(*args, **more, rngs=nnx.Rngs(0))
    net.eval()
    return net


class Mobile(nnx.Module):
    """Inverted residuals: depthwise convolutions, ReLU6, hard swish."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.first = nnx.Conv(3, 8, (3, 3), strides=2, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.up = nnx.Conv(8, 24, (1, 1), rngs=rngs)
        self.deep = nnx.Conv(24, 24, (3, 3), feature_group_count=24, rngs=rngs)
        self.down = nnx.Conv(24, 8, (1, 1), rngs=rngs)
        self.head = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = jax.nn.relu6(self.norm(self.first(x)))
        x = x + self.down(nnx.hard_swish(self.deep(jax.nn.relu6(self.up(x)))))
        return self.head(x.mean((1, 2)))


class Dense(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs):
        self.convs = nnx.List([nnx.Conv(3 + 4 * i, 4, (3, 3), rngs=rngs) for i in range(3)])
        self.norms = nnx.List([nnx.BatchNorm(3 + 4 * i, rngs=rngs) for i in range(3)])

    def __call__(self, x: Any) -> Any:
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = jnp.concatenate([x, conv(nnx.relu(norm(x)))], -1)
        return nnx.avg_pool(x, (2, 2), (2, 2))


class Autoencoder(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs):
        self.down = nnx.Conv(3, 8, (3, 3), strides=2, rngs=rngs)
        self.up = nnx.ConvTranspose(8, 3, (3, 3), strides=(2, 2), rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return nnx.sigmoid(self.up(nnx.leaky_relu(self.down(x))))


class Mixer(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs):
        self.norms = nnx.List([nnx.LayerNorm(8, rngs=rngs) for _ in range(2)])
        self.tokens = nnx.Linear(6, 6, rngs=rngs)
        self.channels = nnx.Linear(8, 8, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        mixed = self.tokens(self.norms[0](x).swapaxes(1, 2))
        x = x + jax.nn.gelu(mixed, approximate=False).swapaxes(1, 2)
        return x + jax.nn.gelu(self.channels(self.norms[1](x)))


class Temporal(nnx.Module):
    """Causal, dilated convolutions along one axis."""

    def __init__(self, *, rngs: nnx.Rngs):
        how: dict[str, Any] = {"padding": "CAUSAL", "rngs": rngs}
        self.convs = nnx.List([nnx.Conv(4, 4, (3,), kernel_dilation=2**i, **how) for i in range(3)])

    def __call__(self, x: Any) -> Any:
        for conv in self.convs:
            x = x + nnx.relu(conv(x))
        return x


class Volume(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs):
        self.conv = nnx.Conv(2, 4, (3, 3, 3), rngs=rngs)
        self.norm = nnx.GroupNorm(4, num_groups=2, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return nnx.swish(self.norm(self.conv(x))).mean((1, 2, 3))


class Cells(nnx.Module):
    """A recurrent network over a sequence; of 20 steps and more it is a loop."""

    def __init__(self, cell: Callable[..., Any], *, rngs: nnx.Rngs):
        self.rnn = nnx.RNN(cell(6, 8, rngs=rngs))
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.head(self.rnn(x))


class Llama(nnx.Module):
    """A layer with RMSNorm, rotary positions, grouped queries and a gated MLP."""

    def __init__(self, *, rngs: nnx.Rngs):
        linear = lambda a, b: nnx.Linear(a, b, use_bias=False, rngs=rngs)  # noqa: E731
        self.embed = nnx.Embed(97, 32, rngs=rngs)
        self.norms = nnx.List([nnx.RMSNorm(32, rngs=rngs) for _ in range(3)])
        self.q, self.k, self.v, self.o = (
            linear(32, 32),
            linear(32, 16),
            linear(32, 16),
            linear(32, 32),
        )
        self.gate, self.up, self.down = linear(32, 64), linear(32, 64), linear(64, 32)

    def __call__(self, ids: Any) -> Any:
        x = self.embed(ids)
        length, y = ids.shape[1], self.norms[0](x)
        q, k, v = (
            f(y).reshape(*ids.shape, heads, 8)
            for f, heads in ((self.q, 4), (self.k, 2), (self.v, 2))
        )
        q, k = self._turned(q), self._turned(k)
        mask = jnp.tril(jnp.ones((length, length), bool))
        y = jax.nn.dot_product_attention(q, k, v, mask=mask)
        x = x + self.o(y.reshape(*ids.shape, 32))
        y = self.norms[1](x)
        x = x + self.down(nnx.silu(self.gate(y)) * self.up(y))
        return self.embed.attend(self.norms[2](x))

    @staticmethod
    def _turned(x: Any) -> Any:
        angles = jnp.arange(x.shape[1])[:, None] / 10_000 ** (jnp.arange(4) / 4)
        sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
        a, b = jnp.split(x, 2, -1)
        return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


class Experts(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs):
        self.route = nnx.Linear(8, 4, rngs=rngs)
        self.weights = nnx.Param(jax.random.normal(rngs.params(), (4, 8, 8)))

    def __call__(self, x: Any) -> Any:
        weights, chosen = lax.top_k(jax.nn.softmax(self.route(x)), 2)
        mixed = jnp.einsum("nd,nkde->nke", x, self.weights[...][chosen])
        return jnp.einsum("nk,nke->ne", weights, mixed)


class Graph(nnx.Module):
    """Messages along edges are summed at nodes."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(2)])

    def __call__(self, x: Any, edges: Any) -> Any:
        for layer in self.layers:
            x = nnx.relu(jax.ops.segment_sum(layer(x)[edges[0]], edges[1], x.shape[0]) + x)
        return x


class Upsampled(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)

    def __call__(self, x: Any) -> Any:
        b, h, w, _ = x.shape
        return jax.image.resize(self.conv(x), (b, 2 * h, 2 * w, 4), "bilinear")


def _greedy(table: Any, ids: Any) -> Any:
    """A loop whose length is known: a token after the other."""

    def step(state: Any, _: Any) -> Any:
        token = jnp.tanh(table[state]) @ table.T
        token = token.argmax(-1).astype(jnp.int32)
        return token, token

    return lax.scan(step, ids, length=40)[1]


def _root(x: Any) -> Any:
    """A loop whose length is not known: Newton's square root."""
    close = lambda y: (abs(y * y - x) > 1e-3 * x).any()  # noqa: E731
    return lax.while_loop(close, lambda y: (y + x / y) / 2, x)


def _branches(x: Any) -> Any:
    return lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x)


def _boxes(boxes: Any, scores: Any) -> Any:
    """The best boxes, without those that overlap a better one."""
    best, order = lax.top_k(scores, 5)
    chosen = boxes[order]
    low = jnp.maximum(chosen[:, None, :2], chosen[None, :, :2])
    high = jnp.minimum(chosen[:, None, 2:], chosen[None, :, 2:])
    shared = jnp.prod(jnp.clip(high - low, 0), -1)
    worse = jnp.tril(shared > 0.1, -1).any(1)
    return jnp.where(worse, 0, best), chosen


def _spectrum(x: Any) -> Any:
    frames = jnp.stack([x[i : i + 16] for i in range(0, 49, 8)]) * jnp.hanning(16)
    angles = 2 * np.pi * np.outer(np.arange(16), np.arange(9)) / 16
    power = (frames @ np.cos(angles)) ** 2 + (frames @ np.sin(angles)) ** 2
    return jnp.log1p(power)


def _masked(x: Any, lengths: Any) -> Any:
    there = jnp.arange(x.shape[1]) < lengths[:, None]
    late = jnp.arange(x.shape[1]) >= 2
    mean = jnp.where(there, x, 0).sum(1) / jnp.maximum(lengths, 1)
    return mean, jnp.where(there & late & jnp.isfinite(x), x, -1)


def _cached(cache: Any, new: Any, at: Any) -> Any:
    """A step of decoding: the cache takes a row, and is attended up to it."""
    cache = lax.dynamic_update_slice(cache, new[:, None], (0, at, 0))
    scores = jnp.einsum("bd,btd->bt", new, cache)
    scores = jnp.where(jnp.arange(cache.shape[1]) <= at, scores, -1e9)
    return jnp.einsum("bt,btd->bd", jax.nn.softmax(scores), cache), cache


def _quantised(weights: Any, x: Any) -> Any:
    scale = abs(x).max(-1, keepdims=True) / 127
    small = jnp.round(x / scale).astype(jnp.int8)
    product = lax.dot(small, weights["w"], preferred_element_type=jnp.int32)
    return product * scale * weights["scale"]


def _statistics(x: Any) -> Any:
    normal = (x - x.mean(0)) / jnp.sqrt(x.var(0) + 1e-6)
    return normal, jnp.quantile(x, 0.25, axis=0), jnp.cumsum(x, 0), jnp.sort(x, 0)


def _half(net: Any, dtype: Any) -> Any:
    graph, state = nnx.split(net)
    return nnx.merge(graph, jax.tree.map(lambda x: x.astype(dtype), state))


def _sizes(dtype: Any, *shape: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
    return (jax.ShapeDtypeStruct(shape, dtype),)


_EDGES = np.array([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 2]], np.int32)
_WEIGHTS = {"w": _ids(8, 5, top=100).astype(np.int8), "scale": np.float32(0.02)}
CASES: dict[str, Case] = {
    "MLP": Case(Mlp, (_x(2, 3),)),
    "CNN": Case(Cnn, (_x(2, 8, 8, 3),)),
    "ResNet-18": Case(lambda: _seeded(resnet.resnet18, 7), (_x(1, 64, 64, 3),)),
    "MobileNet": Case(lambda: _seeded(Mobile), (_x(2, 16, 16, 3),)),
    "DenseNet": Case(lambda: _seeded(Dense), (_x(2, 8, 8, 3),)),
    "autoencoder": Case(lambda: _seeded(Autoencoder), (_x(2, 8, 8, 3),)),
    "UNet": Case(lambda: _seeded(UNet), (_x(2, 32, 32, 3),)),
    "upsampling": Case(lambda: _seeded(Upsampled), (_x(1, 8, 8, 3),)),
    "volumes": Case(lambda: _seeded(Volume), (_x(2, 6, 6, 6, 2),)),
    "temporal convolutions": Case(lambda: _seeded(Temporal), (_x(2, 20, 4),)),
    "BERT": Case(lambda: LARGE["BERT"].network(), tuple(tokens())),
    "GPT-2": Case(lambda: _seeded(Decoder), (_ids(2, 12),)),
    "Llama": Case(lambda: _seeded(Llama), (_ids(2, 12),)),
    "ViT": Case(lambda: _seeded(Vit), (_x(2, 32, 32, 3),)),
    "Mixer": Case(lambda: _seeded(Mixer), (_x(2, 6, 8),)),
    "mixture of experts": Case(lambda: _seeded(Experts), (_x(5, 8),)),
    "key-value cache": Case(lambda: _cached, (_x(2, 7, 4), _x(2, 4), np.int32(3))),
    "LSTM": Case(lambda: _seeded(Lstm, both=False), (_x(2, 7, 6),)),
    "LSTM in both directions": Case(lambda: _seeded(Lstm), (_x(2, 7, 6),)),
    "LSTM of 50 steps": Case(lambda: _seeded(Cells, nnx.OptimizedLSTMCell), (_x(2, 50, 6),)),
    "GRU of 50 steps": Case(lambda: _seeded(Cells, nnx.GRUCell), (_x(2, 50, 6),)),
    "RNN of 50 steps": Case(lambda: _seeded(Cells, nnx.SimpleCell), (_x(2, 50, 6),)),
    "greedy decoding": Case(lambda: (_greedy, jnp.asarray(_x(11, 8))), (_ids(2, top=11),)),
    "while loop": Case(lambda: _root, (np.abs(_x(5)) + 1,)),
    "branches": Case(lambda: _branches, (_x(5),)),
    "graph network": Case(lambda: _seeded(Graph), (_x(5, 4), _EDGES)),
    "boxes": Case(lambda: _boxes, (np.abs(_x(9, 4)), _x(9))),
    "spectrum": Case(lambda: _spectrum, (_x(64),)),
    "statistics": Case(lambda: _statistics, (_x(9, 3),)),
    "masks": Case(lambda: _masked, (_x(3, 5), np.array([2, 5, 0], np.int32))),
    "matrices of int8": Case(lambda: (_quantised, _WEIGHTS), (_x(3, 8),)),
    "MLP in float16": Case(lambda: _half(Mlp(), np.float16), (_x(2, 3, dtype=np.float16),)),
    "MLP of bfloat16 weights": Case(lambda: _half(Mlp(), jnp.bfloat16), (_x(2, 3),)),
    "MLP of any batch": Case(Mlp, (_x(3, 3),), _sizes(np.float32, "b", 3)),
    "CNN of any batch": Case(Cnn, (_x(3, 8, 8, 3),), _sizes(np.float32, "b", 8, 8, 3)),
    "attention of any batch and length": Case(
        lambda: Block(8, 2, causal=False, rngs=nnx.Rngs(0)),
        (_x(3, 5, 8),),
        _sizes(np.float32, "b", "t", 8),
    ),
    "GPT-2 of any batch and length": Case(
        lambda: _seeded(Decoder), (_ids(3, 5),), _sizes(np.int32, "b", "t")
    ),
    "autoencoder of any batch": Case(
        lambda: _seeded(Autoencoder), (_x(2, 12, 8, 3),), _sizes(np.float32, "b", 12, 8, 3)
    ),
}

"""Networks of other kinds than those of ``msckpt_jax.networks``, of any size."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx


class Block(nnx.Module):
    """A transformer's, with its norms first."""

    def __init__(self, width: int, heads: int, *, causal: bool, rngs: nnx.Rngs):
        self.causal = causal
        self.norm1, self.norm2 = (nnx.LayerNorm(width, rngs=rngs) for _ in range(2))
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        mask = nnx.make_causal_mask(x[..., 0]) if self.causal else None
        x = x + self.attention(self.norm1(x), mask=mask)
        return x + self.down(jax.nn.gelu(self.up(self.norm2(x))))


class Decoder(nnx.Module):
    """Like GPT-2: the embedding gives the logits, too."""

    def __init__(
        self, vocabulary: int = 97, width: int = 64, heads: int = 4, layers: int = 3,
        length: int = 32, *, rngs: nnx.Rngs,
    ):  # fmt: skip
        self.embed = nnx.Embed(vocabulary, width, rngs=rngs)
        self.positions = nnx.Embed(length, width, rngs=rngs)
        blocks = [Block(width, heads, causal=True, rngs=rngs) for _ in range(layers)]
        self.blocks = nnx.List(blocks)
        self.norm = nnx.LayerNorm(width, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        x = self.embed(ids) + self.positions(jnp.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.embed.attend(self.norm(x))


class Vit(nnx.Module):
    def __init__(
        self, size: int = 32, patch: int = 8, width: int = 48, heads: int = 3, layers: int = 2,
        classes: int = 10, *, rngs: nnx.Rngs,
    ):  # fmt: skip
        self.patches = nnx.Conv(3, width, (patch, patch), strides=patch, rngs=rngs)
        self.token = nnx.Param(jnp.ones((1, 1, width)))
        count = (size // patch) ** 2 + 1
        self.positions = nnx.Param(jax.random.normal(rngs.params(), (1, count, width)))
        blocks = [Block(width, heads, causal=False, rngs=rngs) for _ in range(layers)]
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.patches(x)
        count, *sizes, width = x.shape
        x = x.reshape(count, sizes[0] * sizes[1], width)
        token = jnp.broadcast_to(self.token[...], (count, 1, width))
        x = jnp.concatenate([token, x], 1) + self.positions[...]
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0])


class UNet(nnx.Module):
    def __init__(self, widths: Sequence[int] = (8, 16, 32), convs: int = 1, *, rngs: nnx.Rngs):
        def stage(inputs: int, outputs: int) -> nnx.List:
            ends = [(inputs, outputs)] + [(outputs, outputs)] * (convs - 1)
            return nnx.List([nnx.Conv(a, b, (3, 3), rngs=rngs) for a, b in ends])

        pairs = list(itertools.pairwise(widths))[::-1]
        self.down = nnx.List([stage(a, b) for a, b in zip((3, *widths), widths, strict=False)])
        self.up = nnx.List(
            [nnx.ConvTranspose(b, a, (2, 2), strides=(2, 2), rngs=rngs) for a, b in pairs]
        )
        self.join = nnx.List([stage(2 * a, a) for a, _ in pairs])
        self.out = nnx.Conv(widths[0], 2, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        kept = []
        for convs in self.down[:-1]:
            kept.append(_all(convs, x))
            x = nnx.max_pool(kept[-1], window_shape=(2, 2), strides=(2, 2))
        x = _all(self.down[-1], x)
        for up, convs in zip(self.up, self.join, strict=True):
            x = _all(convs, jnp.concatenate([up(x), kept.pop()], -1))
        return self.out(x)


def _all(convs: nnx.List, x: jax.Array) -> jax.Array:
    for conv in convs:
        x = nnx.relu(conv(x))
    return x


class Lstm(nnx.Module):
    """Two layers of recurrent cells, the first in both directions where wanted."""

    def __init__(
        self, inputs: int = 6, first: int = 8, second: int = 5, *, both: bool = True,
        rngs: nnx.Rngs,
    ):  # fmt: skip
        cells = [nnx.RNN(nnx.OptimizedLSTMCell(inputs, first, rngs=rngs)) for _ in range(1 + both)]
        self.first = nnx.Bidirectional(*cells, rngs=rngs) if both else cells[0]
        self.second = nnx.RNN(nnx.OptimizedLSTMCell(first * (1 + both), second, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(self.first(x))

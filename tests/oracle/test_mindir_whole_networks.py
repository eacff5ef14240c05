"""Whole networks as MindIR in real MindSpore: images small, everything else as it is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from msckpt_jax.exporter import export
from msckpt_jax.mindir import runner
from msckpt_jax.mindir.verification import compare
from msckpt_jax.networks import bert, resnet, yolov3, yolov4
from tests.networks.conftest import filled, tokens


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

    def __init__(self, *, rngs: nnx.Rngs):
        self.embed = nnx.Embed(97, 64, rngs=rngs)
        self.positions = nnx.Embed(32, 64, rngs=rngs)
        self.blocks = nnx.List([Block(64, 4, causal=True, rngs=rngs) for _ in range(3)])
        self.norm = nnx.LayerNorm(64, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        x = self.embed(ids) + self.positions(jnp.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.embed.attend(self.norm(x))


class Vit(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs):
        self.patches = nnx.Conv(3, 48, (8, 8), strides=8, rngs=rngs)
        self.token = nnx.Param(jnp.ones((1, 1, 48)))
        self.positions = nnx.Param(jax.random.normal(rngs.params(), (1, 17, 48)))
        self.blocks = nnx.List([Block(48, 3, causal=False, rngs=rngs) for _ in range(2)])
        self.head = nnx.Linear(48, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.patches(x).reshape(x.shape[0], -1, 48)
        token = jnp.broadcast_to(self.token[...], (x.shape[0], 1, 48))
        x = jnp.concatenate([token, x], 1) + self.positions[...]
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0])


class UNet(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs):
        widths = (8, 16, 32)
        self.down = nnx.List(
            [nnx.Conv(a, b, (3, 3), rngs=rngs) for a, b in zip((3, *widths), widths, strict=False)]
        )
        self.up = nnx.List(
            [
                nnx.ConvTranspose(b, a, (2, 2), strides=(2, 2), rngs=rngs)
                for a, b in ((16, 32), (8, 16))
            ]
        )
        self.join = nnx.List([nnx.Conv(2 * a, a, (3, 3), rngs=rngs) for a in (16, 8)])
        self.out = nnx.Conv(8, 2, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        kept = []
        for conv in self.down[:-1]:
            kept.append(nnx.relu(conv(x)))
            x = nnx.max_pool(kept[-1], (2, 2), (2, 2))
        x = nnx.relu(self.down[-1](x))
        for up, join in zip(self.up, self.join, strict=True):
            x = nnx.relu(join(jnp.concatenate([up(x), kept.pop()], -1)))
        return self.out(x)


class Lstm(nnx.Module):
    """Two layers, the first in both directions."""

    def __init__(self, *, rngs: nnx.Rngs):
        cells = [nnx.RNN(nnx.OptimizedLSTMCell(6, 8, rngs=rngs)) for _ in range(2)]
        self.first = nnx.Bidirectional(*cells, rngs=rngs)
        self.second = nnx.RNN(nnx.OptimizedLSTMCell(16, 5, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(self.first(x))


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((*shape, 3), np.float32)


def _made(make: Callable[..., nnx.Module]) -> nnx.Module:
    return make(rngs=nnx.Rngs(0))


IDS = np.arange(24, dtype=np.int32).reshape(2, 12) % 97
SMALL_BERT = functools.partial(bert.Bert, 100, 32, 2, 4, 64, max_position_embeddings=16)
NETWORKS: dict[str, tuple[Callable[..., Any], Any, list[np.ndarray], str | None]] = {
    "ResNet-50": (filled, functools.partial(resnet.resnet50, 7), [image(2, 64, 64)], None),
    "ResNet-50, cpu": (filled, functools.partial(resnet.resnet50, 7), [image(2, 64, 64)], "cpu"),
    "BERT": (filled, SMALL_BERT, tokens(), None),
    "YOLOv3": (filled, functools.partial(yolov3.yolov3, 4), [image(1, 32, 64)], "cpu"),
    "YOLOv4": (filled, functools.partial(yolov4.yolov4, 4), [image(1, 32, 64)], "cpu"),
    "GPT-2": (_made, Decoder, [IDS], None),
    "ViT": (_made, Vit, [image(2, 32, 32)], None),
    "UNet": (_made, UNet, [image(2, 32, 32)], None),
    "LSTM": (_made, Lstm, [np.random.default_rng(0).standard_normal((2, 7, 6), np.float32)], None),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_numbers(name: str, runs: Any, tmp_path: Path) -> None:
    build, make, inputs, target = NETWORKS[name]
    net = build(make)
    net.eval()
    done = export(net, *inputs, file_name=tmp_path / "net", target=target, durable=False)
    (outcome,) = runs([runner.Case(done.file, [inputs])])
    done.file.unlink()  # 250 MB for a YOLO
    assert not outcome.error
    expected = [np.asarray(x) for x in jax.tree.leaves(net(*map(jnp.asarray, inputs)))]
    compare(done.file, expected, outcome.results[0])

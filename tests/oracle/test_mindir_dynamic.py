"""Dynamic sizes, and what is computed of them, in real MindSpore: JAX's numbers at each size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from jax import lax

import msckpt_jax as ms
from msckpt_jax.api.export import export
from msckpt_jax.lowering.trials import compare
from msckpt_jax.mindir import runner

RNGS = nnx.Rngs(0)
NHWC = ("NHWC", "HWIO", "NHWC")
ROW, IMAGE, WORDS, PICTURE = ("b", 4), ("b", 8, 8, 4), ("b", "t", 8), ("b", "h", "w", 4)
#: The sizes of the names, one set for each call; sizes of images are odd and even.
SIZES = (
    {"b": 2, "c": 3, "t": 3, "h": 8, "w": 9},
    {"b": 5, "c": 1, "t": 4, "h": 11, "w": 6},
)


class Case(NamedTuple):
    function: Callable[..., Any]
    shapes: tuple[tuple[int | str, ...], ...]
    dtype: str = "float32"
    target: str | None = None


def one(
    function: Callable[..., Any], shape: Any, dtype: str = "float32", target: Any = None
) -> Case:
    return Case(function, (shape,), dtype, target)


ATTENTION = nnx.MultiHeadAttention(2, 8, decode=False, rngs=RNGS)
CONV = nnx.Conv(4, 3, (3, 3), strides=2, rngs=RNGS)
TRANSPOSED = nnx.ConvTranspose(4, 3, (3, 3), strides=(2, 2), rngs=RNGS)
NORM = nnx.LayerNorm(8, rngs=RNGS)
EMBED = nnx.Embed(7, 8, rngs=RNGS)


def causal(x: Any) -> Any:
    mask = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
    return x + ATTENTION(NORM(x), mask=mask[None, None])


def with_positions(x: Any) -> Any:
    place = jnp.arange(x.shape[1])[:, None] / 100.0 ** jnp.linspace(0, 1, 8)
    return causal(x + jnp.sin(place))


def padded_conv(x: Any) -> Any:
    kernel = jnp.ones((3, 3, 4, 2))
    return lax.conv_general_dilated(x, kernel, (2, 2), ((1, 0), (2, 1)), dimension_numbers=NHWC)


def shuffled(x: Any) -> Any:
    b, h, w, _ = x.shape
    return x.reshape(b, h, w, 2, 2, 1).transpose(0, 1, 3, 2, 4, 5).reshape(b, h * 2, w * 2, 1)


def windows(x: Any) -> Any:
    b = x.shape[0]
    parts = x.reshape(b, 2, 4, 2, 4, 4).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 16, 4)
    parts = parts @ jnp.swapaxes(parts, 1, 2) @ parts
    return parts.reshape(b, 2, 2, 4, 4, 4).transpose(0, 1, 3, 2, 4, 5).reshape(x.shape)


CASES = {
    "arange": one(lambda x: jnp.arange(x.shape[0], dtype=x.dtype)[:, None] * x, ROW),
    "arange of a product": one(lambda x: jnp.arange(2 * x.shape[0] + 1), ROW),
    "arange of a quotient": one(lambda x: jnp.arange(x.shape[0] // 2), ROW),
    "attention, causal": one(causal, WORDS),
    "attention, positions": one(with_positions, WORDS),
    "average pool": one(lambda x: nn.avg_pool(x, (3, 3), (2, 2), "SAME"), PICTURE),
    "broadcast to the batch": one(lambda x: jnp.zeros((x.shape[0], 3, 4)) + x[:, None], ROW),
    "class token": one(lambda x: jnp.concatenate([jnp.zeros((x.shape[0], 1, 8)), x], 1) * 2, WORDS),
    "conv, SAME": one(CONV, PICTURE),
    "conv, SAME, for the CPU": one(CONV, PICTURE, target="cpu"),
    "conv, one axis": one(nnx.Conv(8, 3, (3,), strides=2, rngs=RNGS), WORDS),
    "conv, padded": one(padded_conv, PICTURE),
    "conv, transposed": one(TRANSPOSED, PICTURE),
    "distances": Case(
        lambda x, y: jnp.sqrt(((x[:, None] - y[None]) ** 2).sum(-1)), (("b", 4), ("c", 4))
    ),
    "embedding": one(EMBED, ("b", "t"), "int32"),
    "half": one(lambda x: (x[: x.shape[0] // 2], x[x.shape[0] // 2 :]), ROW),
    "last": one(lambda x: (x[-1], x[1:], x[:-1]), ROW),
    "loop over the batch": one(
        lambda x: lax.fori_loop(0, x.shape[0], lambda i, c: c + x[i], jnp.zeros(4)), ROW
    ),
    "pad": one(lambda x: jnp.pad(x, ((1, 2), (0, 1))), ROW),
    "pixel shuffle": one(shuffled, PICTURE),
    "rolled": one(lambda x: jnp.roll(x, 1, 0), ROW),
    "scatter": one(lambda x: x.at[jnp.arange(x.shape[0]), 0].set(7.0), ROW),
    "upsampled": one(lambda x: jnp.repeat(jnp.repeat(x, 2, 1), 2, 2), PICTURE),
    "while, of a batch": one(
        jax.vmap(lambda x: lax.while_loop(lambda c: c.sum() < 5, lambda c: c + 1, x)), ROW
    ),
    "windows": one(windows, IMAGE),
}


@pytest.fixture(scope="module")
def outcomes(runs, tmp_path_factory):
    """File, expected results and MindSpore's outcomes of each case, one call in a process each."""
    folder, asked, found = tmp_path_factory.mktemp("dynamic"), [], {}
    for number, (name, case) in enumerate(CASES.items()):
        specs = [jax.ShapeDtypeStruct(shape, case.dtype) for shape in case.shapes]
        done = export(case.function, *specs, file_name=folder / f"{number}", target=case.target,
                      durable=False)  # fmt: skip
        calls = [arguments(case, sizes) for sizes in SIZES]
        expected = [jax.tree.leaves(case.function(*map(jnp.asarray, call))) for call in calls]
        found[name] = done.file, calls, [[np.asarray(x) for x in one] for one in expected]
        asked += [runner.Case(done.file, [call]) for call in calls]
    results = iter(runs(asked))
    return {name: (*row, [next(results) for _ in SIZES]) for name, row in found.items()}


def arguments(case: Case, sizes: dict[str, int]) -> list[Any]:
    rng = np.random.default_rng(0)
    shapes = [[sizes.get(d, d) if isinstance(d, str) else d for d in s] for s in case.shapes]
    if case.dtype == "int32":
        return [rng.integers(0, 7, shape, np.int32) for shape in shapes]
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


@pytest.mark.parametrize("name", CASES)
def test_in_mindspore(name, outcomes):
    _, _, expected, found = outcomes[name]
    for want, outcome in zip(expected, found, strict=True):
        assert not outcome.error
        compare(Path(name), want, outcome.results[0])


@pytest.mark.parametrize("name", CASES)
def test_loaded(name, outcomes):
    file, calls, expected, _ = outcomes[name]
    function = jax.jit(ms.load(file))
    for call, want in zip(calls, expected, strict=True):
        compare(file, want, [np.asarray(x) for x in jax.tree.leaves(function(*call))], "load")

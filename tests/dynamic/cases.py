"""Functions of arrays with several dynamic sizes, and the sizes at which their files are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

import msckpt_jax as ms

Sizes = Mapping[str, int]


class Case(NamedTuple):
    """A function, its inputs as texts, what is known of their sizes, and three sizes of each.

    An input is ``f32[b,s,8]``; integers are below 5, or below a number after a "<".
    """

    function: Callable[..., Any]
    inputs: Sequence[str]
    constraints: Sequence[str] = ()
    sizes: Sequence[Sizes] = ({"b": 2, "s": 3}, {"b": 1, "s": 1}, {"b": 3, "s": 7})

    def specs(self) -> list[ms.TensorSpec]:
        return [ms.TensorSpec(*_parsed(text)[:2]) for text in self.inputs]

    def arguments(self, sizes: Sizes, seed: int = 0) -> list[np.ndarray]:
        """Arrays of the inputs at these sizes."""
        rng = np.random.default_rng(seed)
        out = []
        for text in self.inputs:
            dims, dtype, below = _parsed(text)
            shape = tuple(eval(str(dim), {}, dict(sizes)) for dim in dims)
            if dtype.kind == "b":
                out.append(rng.random(shape) < 0.5)
            elif dtype.kind in "iu":
                out.append(rng.integers(0, below, shape).astype(dtype))
            else:
                out.append(rng.standard_normal(shape).astype(dtype))
        return out


_DTYPES = {"f32": "float32", "i32": "int32", "bool": "bool", "f16": "float16", "u32": "uint32"}


def _parsed(text: str) -> tuple[tuple[int | str, ...], np.dtype, int]:
    kind, _, rest = text.partition("[")
    inner, _, below = rest.rpartition("]")
    dims = [dim.strip() for dim in inner.split(",") if dim.strip()]
    shape = tuple(int(dim) if dim.isdigit() else dim for dim in dims)
    return shape, np.dtype(_DTYPES[kind]), int(below[1:] or 5)


def _weight(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(sum(shape)).standard_normal(shape), np.float32)


RNGS = nnx.Rngs(0)
TABLE = _weight(16, 8)
MIX, KERNEL, KERNEL1 = _weight(8, 8), _weight(3, 3, 2, 4), _weight(3, 8, 5)
EMBED, NORM = nnx.Embed(11, 8, rngs=RNGS), nnx.LayerNorm(8, rngs=RNGS)
ATTENTION = nnx.MultiHeadAttention(2, 8, decode=False, rngs=RNGS)
CONV = nnx.Conv(2, 4, (3, 3), strides=2, rngs=RNGS)
GRU, LSTM = nnx.RNN(nnx.GRUCell(8, 5, rngs=RNGS)), nnx.RNN(nnx.LSTMCell(8, 5, rngs=RNGS))
NHWC = ("NHWC", "HWIO", "NHWC")
WORDS, SHORT = "f32[b,s,8]", ("s <= 16",)


def causal_scores(x: Any) -> Any:
    scores = jnp.einsum("bqd,bkd->bqk", x, x)
    mask = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
    return jax.nn.softmax(jnp.where(mask, scores, -1e9)) @ x


def causal_by_iota(x: Any) -> Any:
    scores = jnp.einsum("bqd,bkd->bqk", x, x)
    rows = lax.broadcasted_iota(np.int32, scores.shape, 1)
    columns = lax.broadcasted_iota(np.int32, scores.shape, 2)
    return jax.nn.softmax(jnp.where(columns <= rows, scores, -jnp.inf)) @ x


def sliding(x: Any) -> Any:
    place = jnp.arange(x.shape[1])
    mask = (place[None] <= place[:, None]) & (place[:, None] - place[None] < 3)
    return jax.nn.softmax(jnp.where(mask, jnp.einsum("bqd,bkd->bqk", x, x), -1e9)) @ x


def with_padding(x: Any, lengths: Any) -> Any:
    real = jnp.arange(x.shape[1])[None] < lengths[:, None]
    scores = jnp.where(real[:, None], jnp.einsum("bqd,bkd->bqk", x, x), -1e9)
    return jax.nn.softmax(scores) @ x * real[..., None]


def masked_mean(x: Any, mask: Any) -> Any:
    return (x * mask[..., None]).sum(1) / jnp.maximum(mask.sum(1, keepdims=True), 1)


def rotary(x: Any) -> Any:
    angle = jnp.arange(x.shape[1])[:, None] / 100.0 ** jnp.linspace(0, 1, 4)
    left, right = jnp.split(x, 2, -1)
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], -1)


def in_cache(cache: Any, new: Any, place: Any) -> Any:
    return lax.dynamic_update_slice(cache, new, (0, place, 0))


def step_in_cache(cache: Any, new: Any, place: Any) -> Any:
    cache = lax.dynamic_update_slice(cache, new, (0, place, 0))
    seen = jnp.arange(cache.shape[1]) <= place + jnp.arange(new.shape[1])[:, None]
    scores = jnp.where(seen, jnp.einsum("bqd,bkd->bqk", new, cache), -1e9)
    return jax.nn.softmax(scores) @ cache, cache


def with_past(past: Any, new: Any) -> Any:
    """Attention to what was and what is new; a mask of a (new) by (past + new)."""
    keys = jnp.concatenate([past, new], 1)
    rows = past.shape[1] + jnp.arange(new.shape[1])
    mask = jnp.arange(keys.shape[1])[None] <= rows[:, None]
    scores = jnp.where(mask, jnp.einsum("bqd,bkd->bqk", new, keys), -1e9)
    return jax.nn.softmax(scores) @ keys, keys


def heads(x: Any) -> Any:
    b, s, _ = x.shape
    x = x.reshape(b, s, 2, 4).transpose(0, 2, 1, 3).reshape(b * 2, s, 4)
    return x.reshape(b, 2, s, 4).transpose(0, 2, 1, 3).reshape(b, s, -1)


def dot_product(x: Any) -> Any:
    b, s, _ = x.shape
    q = x.reshape(b, s, 2, 4)
    return jax.nn.dot_product_attention(q, q[:, :, :1], q[:, :, :1], is_causal=True)


def blocks(x: Any) -> Any:
    """Local attention in blocks of 4."""
    b, s, d = x.shape
    parts = x.reshape(b, s // 4, 4, d)
    scores = jax.nn.softmax(jnp.einsum("bnqd,bnkd->bnqk", parts, parts))
    return jnp.einsum("bnqk,bnkd->bnqd", scores, parts).reshape(b, s, d)


def greedy(x: Any) -> Any:
    def step(carry: Any, row: Any) -> Any:
        return carry * 0.5 + row, jnp.argmax(carry + row, -1)

    return lax.scan(step, jnp.zeros((x.shape[0], 8)), x.swapaxes(0, 1))


class WithLengths(nnx.Module):
    def __init__(self, net: nnx.Module):
        self.net = net

    def __call__(self, x: Any, lengths: Any) -> Any:
        return self.net(x, seq_lengths=lengths)  # type: ignore[operator]


PICTURE = "f32[b,h,w,2]"
PICTURES = ({"b": 2, "h": 8, "w": 9}, {"b": 1, "h": 5, "w": 6}, {"b": 3, "h": 11, "w": 7})
LARGE = ("h >= 3", "w >= 3")
#: No array without elements, of which some kernels of MindSpore take none.
TWO = ({"b": 2, "s": 3}, {"b": 1, "s": 2}, {"b": 3, "s": 7})
BOTH = ({"b": 2, "s": 3, "t": 4}, {"b": 1, "s": 1, "t": 1}, {"b": 3, "s": 7, "t": 2})
EIGHTS = ({"b": 2, "s": 8}, {"b": 1, "s": 24}, {"b": 3, "s": 16})
CACHE = ({"b": 2, "s": 3, "c": 6}, {"b": 1, "s": 1, "c": 1}, {"b": 3, "s": 2, "c": 9})
PAST = ({"b": 2, "s": 3, "p": 5}, {"b": 1, "s": 1, "p": 1}, {"b": 3, "s": 2, "p": 7})

CASES: dict[str, Case] = {
    # Positions
    "learned positions": Case(lambda x: x + TABLE[: x.shape[1]], [WORDS], SHORT),
    "learned positions, dynamic_slice": Case(
        lambda x: x + lax.dynamic_slice(TABLE, (0, 0), (x.shape[1], 8)), [WORDS], SHORT
    ),
    "learned positions, from a place": Case(
        lambda x, i: x + lax.dynamic_slice_in_dim(TABLE, i, x.shape[1]), [WORDS, "i32[]<20"], SHORT
    ),
    "learned positions, by arange": Case(lambda x: x + TABLE[jnp.arange(x.shape[1])], [WORDS]),
    "learned positions, given": Case(
        lambda x, at: x + jnp.take(TABLE, at, 0), [WORDS, "i32[b,s]<16"]
    ),
    "rotary": Case(rotary, [WORDS]),
    # Masks
    "causal mask, tril": Case(causal_scores, [WORDS]),
    "causal mask, iota": Case(causal_by_iota, [WORDS]),
    "causal mask, flax": Case(
        lambda ids: ATTENTION(EMBED(ids), mask=nnx.make_causal_mask(ids)), ["i32[b,s]<11"]
    ),
    "sliding window": Case(sliding, [WORDS]),
    "triu": Case(lambda x: jnp.triu(x, 1) + jnp.tril(x, -1), ["f32[b,s,s]"]),
    "padding by lengths": Case(with_padding, [WORDS, "i32[b]<4"]),
    "padding by a mask": Case(masked_mean, [WORDS, "bool[b,s]"]),
    "padding mask, flax": Case(
        lambda x, m: ATTENTION(x, mask=nnx.make_attention_mask(m, m)), [WORDS, "i32[b,s]<2"]
    ),
    "padded to the fixed length": Case(
        lambda x: jnp.pad(x, ((0, 0), (0, 16 - x.shape[1]), (0, 0))), [WORDS], SHORT
    ),
    # Caches
    "cache, fixed": Case(in_cache, ["f32[b,16,4]", "f32[b,s,4]", "i32[]<20"], SHORT),
    "cache, dynamic": Case(
        in_cache, ["f32[b,c,4]", "f32[b,s,4]", "i32[]<8"], ("s <= c",), CACHE
    ),
    "cache, a step": Case(step_in_cache, ["f32[b,c,4]", "f32[b,1,4]", "i32[]<8"], (), CACHE),
    "cache, several steps": Case(
        step_in_cache, ["f32[b,16,4]", "f32[b,s,4]", "i32[]<9"], SHORT
    ),
    "cache, set by at": Case(
        lambda cache, new, i: cache.at[:, i].set(new[:, 0]),
        ["f32[b,c,4]", "f32[b,1,4]", "i32[]<8"], (), CACHE,
    ),
    "cache, a place of each row": Case(
        lambda cache, new, at: jax.vmap(lambda c, n, i: lax.dynamic_update_slice(c, n, (i, 0)))(
            cache, new, at
        ),
        ["f32[b,c,4]", "f32[b,s,4]", "i32[b]<8"], ("s <= c",), CACHE,
    ),
    "cache, places of rows and words": Case(
        lambda cache, new, i, j: lax.dynamic_update_slice(cache, new, (i, 1, j, 0)),
        ["f32[9,2,c,3]", "f32[b,1,s,2]", "i32[]<12", "i32[]<12"], ("b <= 9", "s <= c"), CACHE,
    ),
    "cache, read from a place": Case(
        lambda cache, i: lax.dynamic_slice_in_dim(cache, i, 2, 1), ["f32[b,16,4]", "i32[]<20"],
    ),
    "past and new": Case(with_past, ["f32[b,p,4]", "f32[b,s,4]"], (), PAST),
    "past and new, a step": Case(
        lambda k, v, new: (jnp.concatenate([k, new], 2), jnp.concatenate([v, new * 2], 2)),
        ["f32[b,2,p,4]", "f32[b,2,p,4]", "f32[b,2,1,4]"], (), PAST,
    ),
    "the last of the past": Case(
        lambda past, new: jnp.concatenate([past, new], 1)[:, -4:],
        ["f32[b,p,4]", "f32[b,s,4]"], ("p >= 4",),
        ({"b": 2, "s": 3, "p": 5}, {"b": 1, "s": 1, "p": 4}, {"b": 3, "s": 2, "p": 7}),
    ),
    # Shapes
    "b*s rows": Case(lambda x: (x.reshape(-1, 8) @ MIX).reshape(x.shape), [WORDS]),
    "b*s rows, by name": Case(
        lambda x: (x.reshape(x.shape[0] * x.shape[1], 8) @ MIX).reshape(*x.shape[:2], 8), [WORDS]
    ),
    "heads": Case(heads, [WORDS]),
    "flattened": Case(lambda x: x.reshape(x.shape[0], -1), [WORDS]),
    "raveled": Case(lambda x: x.ravel(), [WORDS]),
    "split by two": Case(lambda x: x.reshape(x.shape[0], 2, -1, 8), ["f32[b,2*s,8]"]),
    "halves": Case(lambda x: tuple(jnp.split(x, 2, 1)), ["f32[b,2*s,8]"]),
    "shifted inputs": Case(lambda x, y: x[:, :-1] + y, ["f32[b,s+1,4]", "f32[b,s,4]"]),
    "a product of sizes": Case(lambda x, y: x.reshape(y.shape) + y, ["f32[b*s]", "f32[b,s]"]),
    "blocks": Case(blocks, [WORDS], ("mod(s, 4) == 0",), EIGHTS),
    "equal sizes": Case(
        lambda x, y: x.reshape(y.shape[0], 4, 3) + y[:, None], ["f32[d0,3]", "f32[d1,3]"],
        ("d0 == 4*d1",), ({"d0": 8, "d1": 2}, {"d0": 4, "d1": 1}, {"d0": 20, "d1": 5}),
    ),
    "half of the words": Case(lambda x: x[:, : x.shape[1] // 2], [WORDS], ("s >= 2",), TWO),
    "ceil of half": Case(lambda x: x[:, : -(-x.shape[1] // 2)], [WORDS]),
    "a remainder": Case(lambda x: x[:, x.shape[1] % 3 :], [WORDS], (),
                        ({"b": 2, "s": 4}, {"b": 1, "s": 3}, {"b": 3, "s": 7})),
    "the larger size": Case(
        lambda x: jnp.zeros((jax.core.max_dim(x.shape[1], 4), 2)) + x.mean(), [WORDS]
    ),
    "the smaller size": Case(lambda x: x[:, : jax.core.min_dim(x.shape[1], 4)], [WORDS]),
    "to a multiple of 4": Case(
        lambda x: jnp.pad(x, ((0, 0), (0, -x.shape[1] % 4), (0, 0))), [WORDS]
    ),
    "transposed": Case(lambda x: x.transpose(2, 1, 0) * 2, [WORDS]),
    "broadcast": Case(lambda x, y: x[:, :, None] + y[:, None], ["f32[b,s]", "f32[b,t]"], (),
                      BOTH),
    "broadcast_to": Case(lambda x: jnp.broadcast_to(MIX, (*x.shape[:2], 8, 8)), [WORDS]),
    "tiled": Case(lambda x: jnp.tile(x, (1, 3, 1)), [WORDS]),
    "repeated": Case(lambda x: jnp.repeat(x, 2, 1), [WORDS]),
    "stacked": Case(lambda x: jnp.stack([x, x + 1], 1), [WORDS]),
    # Parts
    "rolled": Case(lambda x: jnp.roll(x, 1, 1), [WORDS]),
    "rolled by a number": Case(lambda x, i: jnp.roll(x, i, 1), [WORDS, "i32[]"]),
    "strided": Case(lambda x: (x[:, ::2], x[:, 1::3]), [WORDS], (), TWO),
    "reversed": Case(lambda x: x[:, ::-1], [WORDS]),
    "padded": Case(lambda x: jnp.pad(x, ((0, 0), (2, 1), (0, 0)), constant_values=3), [WORDS]),
    "padded, edge": Case(lambda x: jnp.pad(x, ((0, 0), (2, 1), (0, 0)), mode="edge"), [WORDS]),
    "first and last": Case(lambda x: (x[:, 0], x[:, -1], x[:, 1:], x[:, :-1]), [WORDS], (), TWO),
    "chosen tokens": Case(
        lambda x, i: jnp.take_along_axis(x, i[:, :, None], 1), ["f32[b,5,8]", "i32[b,s]"]
    ),
    "the last real token": Case(
        lambda x, n: x[jnp.arange(x.shape[0]), n - 1], [WORDS, "i32[b]<4"]
    ),
    "a row of each": Case(lambda x, i: x[:, i], [WORDS, "i32[]"]),
    "scattered": Case(
        lambda x, i: jnp.zeros((x.shape[0], 5)).at[jnp.arange(x.shape[0])[:, None], i].add(x),
        ["f32[b,s]", "i32[b,s]"],
    ),
    "set rows": Case(lambda x, i: x.at[:, i].set(0.0), [WORDS, "i32[]"]),
    "one-hot": Case(lambda i: jax.nn.one_hot(i, 7), ["i32[b,s]"]),
    "one-hot of a size": Case(lambda i: jax.nn.one_hot(i, i.shape[1]), ["i32[b,s]"]),
    # Numbers along dynamic axes
    "softmax": Case(lambda x: jax.nn.softmax(x, 1), [WORDS]),
    "logsumexp": Case(lambda x: jax.nn.logsumexp(x, (0, 1)), [WORDS]),
    "normalised": Case(lambda x: jax.nn.standardize(x, 1), [WORDS]),
    "mean and variance": Case(lambda x: (x.mean(1), x.var((0, 1)), x.std(1)), [WORDS]),
    "extremes": Case(lambda x: (x.max(1), x.min(0), jnp.argmax(x, 1), x.argmin(0)), [WORDS]),
    "sums": Case(lambda x: (x.sum(), x.prod(1), (x > 0).any(1), (x > 0).all((0, 1))), [WORDS]),
    "cumulative": Case(
        lambda x: (jnp.cumsum(x, 1), lax.cummax(x, 1), lax.cumlogsumexp(x, 1, reverse=True)),
        [WORDS],
    ),
    "sorted": Case(lambda x: (jnp.sort(x, 1), jnp.argsort(x, 1)), ["f32[b,s]"]),
    "top 2": Case(lambda x: lax.top_k(x, 2), ["f32[b,s]"], ("s >= 2",), TWO),
    "median": Case(lambda x: jnp.median(x, 1), ["f32[b,s]"]),
    "differences": Case(lambda x: jnp.diff(x, axis=1), [WORDS], (), TWO),
    "associative scan": Case(lambda x: lax.associative_scan(jnp.add, x, axis=1), ["f32[b,8]"]),
    "counted": Case(lambda i: jnp.bincount(i.ravel(), length=5), ["i32[b,s]"]),
    "where": Case(lambda x, m: jnp.where(m[..., None], x, -x), [WORDS, "bool[b,s]"]),
    # Sizes as numbers
    "divided by a size": Case(lambda x: x / x.shape[1] + x.shape[0], [WORDS]),
    "by a root": Case(
        lambda x: x * jnp.sqrt(x.shape[1]) + lax.rsqrt(jnp.float32(x.shape[1])), [WORDS]
    ),
    "full": Case(lambda x: jnp.full((x.shape[1], 3), x.shape[0]) + jnp.ones((*x.shape[:1], 1, 1)),
                 [WORDS]),
    "the sizes": Case(
        lambda x: jnp.array([x.shape[0], x.shape[1] * 2, x.shape[0] * x.shape[1]]), [WORDS]
    ),
    "linspace": Case(
        lambda x: jnp.linspace(0.0, 1.0, x.shape[1]) + x[..., 0], [WORDS], ("s >= 2",), TWO
    ),
    "identity matrix": Case(lambda x: jnp.eye(x.shape[1])[None] + x, ["f32[b,s,s]"]),
    "meshgrid": Case(
        lambda x: jnp.stack(jnp.meshgrid(*map(jnp.arange, x.shape[:2]), indexing="ij")), [WORDS]
    ),
    # Products
    "einsum": Case(lambda x, y: jnp.einsum("bsd,btd,de->bste", x, y, MIX),
                   [WORDS, "f32[b,t,8]"], (), BOTH),
    "products over a size": Case(lambda x: jnp.einsum("bsd,bse->de", x, x), [WORDS]),
    "outer": Case(lambda x: x[:, :, None] * x[:, None], ["f32[b,s]"]),
    # Loops
    "scan over words": Case(greedy, [WORDS]),
    "scan, reversed": Case(
        lambda x: lax.scan(lambda c, y: (c + y, c * y), x[0] * 0, x, reverse=True), ["f32[s,b,4]"]
    ),
    "fori over words": Case(
        lambda x: lax.fori_loop(0, x.shape[1], lambda i, c: c + x[:, i] * i, x[:, 0]), [WORDS]
    ),
    "while to a size": Case(
        lambda x: lax.while_loop(
            lambda c: c[0] < x.shape[1], lambda c: (c[0] + 1, c[1] * 2), (0, x)
        ),
        [WORDS],
    ),
    "cond on a size": Case(
        lambda x: lax.cond(jnp.asarray(x.shape[1]) > 2, jnp.sin, jnp.cos, x), [WORDS]
    ),
    "map over words": Case(lambda x: lax.map(lambda row: row @ MIX, x), [WORDS]),
    "a vmap over words": Case(jax.vmap(jax.vmap(lambda row: row @ MIX + row.max())), [WORDS]),
    # Layers
    "embedding": Case(lambda ids: NORM(EMBED(ids)), ["i32[b,s]<11"]),
    "attention": Case(lambda x: ATTENTION(x), [WORDS]),
    "attention of jax.nn, causal": Case(dot_product, [WORDS]),
    "attention, two lengths": Case(
        lambda q, k: jax.nn.dot_product_attention(q, k, k),
        ["f32[b,s,2,4]", "f32[b,t,2,4]"], (), BOTH,
    ),
    "GRU": Case(GRU, [WORDS]),
    "LSTM": Case(LSTM, [WORDS]),
    "LSTM, lengths": Case(WithLengths(LSTM), [WORDS, "i32[b]<4"]),
    "conv of words": Case(
        lambda x: lax.conv_general_dilated(
            x, KERNEL1, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        ),
        [WORDS],
    ),
    "conv, causal": Case(
        lambda x: lax.conv_general_dilated(
            x, KERNEL1, (1,), [(2, 0)], dimension_numbers=("NWC", "WIO", "NWC")
        ),
        [WORDS],
    ),
    "conv, SAME, strides": Case(lambda x: CONV(x), [PICTURE], (), PICTURES),
    "conv, VALID": Case(
        lambda x: lax.conv_general_dilated(x, KERNEL, (1, 1), "VALID", dimension_numbers=NHWC),
        [PICTURE], LARGE, PICTURES,
    ),
    "conv, dilated": Case(
        lambda x: lax.conv_general_dilated(
            x, KERNEL, (1, 1), "SAME", rhs_dilation=(2, 2), dimension_numbers=NHWC
        ),
        [PICTURE], (), PICTURES,
    ),
    "conv, transposed": Case(
        lambda x: lax.conv_transpose(x, KERNEL, (2, 2), "SAME"), [PICTURE], (), PICTURES
    ),
    "pools": Case(
        lambda x: (
            nnx.max_pool(x, (2, 2), (2, 2)),
            nnx.avg_pool(x, (3, 3), (2, 2), "SAME", count_include_pad=False),
            nnx.max_pool(x, (3, 3), (1, 1), "SAME"),
        ),
        [PICTURE], LARGE, PICTURES,
    ),
    "mean of pixels": Case(lambda x: x.mean((1, 2)), [PICTURE], (), PICTURES),
    "resized to twice": Case(
        lambda x: jax.image.resize(x, (x.shape[0], x.shape[1] * 2, x.shape[2] * 2, 2), "nearest"),
        [PICTURE], (), PICTURES,
    ),
    "patches": Case(
        lambda x: x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2, 2)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(x.shape[0], (x.shape[1] // 2) * (x.shape[2] // 2), 8),
        [PICTURE], ("mod(h, 2) == 0", "mod(w, 2) == 0"),
        ({"b": 2, "h": 8, "w": 4}, {"b": 1, "h": 2, "w": 2}, {"b": 3, "h": 2, "w": 6}),
    ),
    # Random numbers
    "dropout": Case(
        lambda x: jnp.where(jax.random.bernoulli(jax.random.key(1), 0.7, x.shape), x / 0.7, 0),
        [WORDS],
    ),
    "normal numbers": Case(
        lambda x, seed: x + jax.random.normal(jax.random.key(seed), x.shape), [WORDS, "u32[]"]
    ),
    "sampled tokens": Case(
        lambda x, seed: jax.random.categorical(jax.random.key(seed), x), ["f32[b,s]", "u32[]"]
    ),
}  # fmt: skip

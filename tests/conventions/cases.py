"""Each layer in Flax nnx, in linen and in MindSpore, and an input for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen, nnx


class Case(NamedTuple):
    """One layer.

    ``flax`` is a layer of nnx (from an ``nnx.Rngs``) or of linen, ``inputs`` the shapes of what
    goes into it; ``first`` says that MindSpore wants the channels first. ``mindspore`` and
    ``call`` (the layer's own call when it is empty) are Python for the worker, ``patch`` makes
    MindSpore's random parameters such that Flax has them, too.
    """

    name: str
    flax: Callable[..., Any]
    mindspore: str
    inputs: tuple[tuple[int, ...], ...]
    call: str = "lambda net, *x: net(*x)"
    first: bool = False
    base: str = "mindspore"
    patch: str = ""
    run: Callable[..., Any] = lambda net, *x: net(*x)


def _conv(name: str, n: int, ms: str, flax: dict[str, Any], kwargs: str = "") -> list[Case]:
    """A convolution over ``n`` axes."""
    window, shape = (3, 2, 2)[:n], (2, *(6, 5, 7)[:n], 4)
    size = window if n > 1 else window[0]
    made = f"nn.{ms}(4, 6, {size}, has_bias=True, pad_mode='valid'{kwargs})"
    out = []
    for lib, make in (
        ("nnx", lambda rngs, cls: cls(4, 6, window, padding="VALID", rngs=rngs, **flax)),
        ("linen", lambda rngs, cls: cls(6, window, padding="VALID", **flax)),
    ):
        cls = getattr(nnx if lib == "nnx" else linen, "ConvTranspose" if "T" in ms else "Conv")

        def build(rngs: Any, make: Any = make, cls: Any = cls) -> Any:
            return make(rngs, cls)

        out.append(Case(f"{name}-{lib}", build, made, (shape,), first=True))
    return out


def _both(
    name: str, of_nnx: Callable[..., Any], of_linen: Callable[..., Any], *rest: Any, **kwargs: Any
) -> list[Case]:
    return [
        Case(f"{name}-nnx", of_nnx, *rest, **kwargs),
        Case(f"{name}-linen", lambda rngs: of_linen(), *rest, **kwargs),
    ]


_EPS = 1e-5  # MindSpore and Flax have different defaults
_LAST = "lambda net, x: net(x)[0]"  # of (outputs, states)
_MEAN_VAR = (
    "lambda net, x: (x - x.mean((2, 3), True)) / (x.var((2, 3), keepdims=True) + 1e-5) ** 0.5"
    " * net.gamma[None, :, None, None] + net.beta[None, :, None, None]"
)


def _layers() -> list[Case]:
    return [
        *_both(
            "Dense",
            lambda r: nnx.Linear(3, 4, rngs=r),
            lambda: linen.Dense(4),
            "nn.Dense(3, 4)",
            ((2, 3),),
        ),
        *_both(
            "square Dense",
            lambda r: nnx.Linear(4, 4, use_bias=False, rngs=r),
            lambda: linen.Dense(4, use_bias=False),
            "nn.Dense(4, 4, has_bias=False)",
            ((2, 4),),
        ),
        *_both(
            "DenseGeneral",
            lambda r: nnx.LinearGeneral((2, 3), (4, 5), axis=(-2, -1), rngs=r),
            lambda: linen.DenseGeneral((4, 5), axis=(-2, -1)),
            "nn.Dense(6, 20)",
            ((7, 2, 3),),
            "lambda net, x: ms.ops.reshape(net(ms.ops.reshape(x, (7, 6))), (7, 4, 5))",
        ),
        *_conv("Conv1d", 1, "Conv1d", {}),
        *_conv("Conv2d", 2, "Conv2d", {}),
        *_conv("grouped Conv2d", 2, "Conv2d", {"feature_group_count": 2}, ", group=2"),
        *_conv("strided Conv2d", 2, "Conv2d", {"strides": (2, 1)}, ", stride=(2, 1)"),
        *_conv("Conv3d", 3, "Conv3d", {}),
        *_conv("ConvTranspose1d", 1, "Conv1dTranspose", {"strides": (2,)}, ", stride=2"),
        *_conv("ConvTranspose2d", 2, "Conv2dTranspose", {"strides": (2, 2)}, ", stride=2"),
        *_conv(
            "ConvTranspose2d of transposed kernel",
            2,
            "Conv2dTranspose",
            {"strides": (2, 2), "transpose_kernel": True},
            ", stride=2",
        ),
        *_conv("ConvTranspose3d", 3, "Conv3dTranspose", {"strides": (1, 1, 1)}, ", stride=1"),
        *_both(
            "BatchNorm1d",
            lambda r: nnx.BatchNorm(4, use_running_average=True, rngs=r),
            lambda: linen.BatchNorm(use_running_average=True),
            "nn.BatchNorm1d(4)",
            ((3, 4),),
        ),
        *_both(
            "BatchNorm2d",
            lambda r: nnx.BatchNorm(4, use_running_average=True, rngs=r),
            lambda: linen.BatchNorm(use_running_average=True),
            "nn.BatchNorm2d(4)",
            ((3, 5, 2, 4),),
            first=True,
        ),
        *_both(
            "LayerNorm",
            lambda r: nnx.LayerNorm(4, epsilon=_EPS, rngs=r),
            lambda: linen.LayerNorm(epsilon=_EPS),
            "nn.LayerNorm((4,), epsilon=1e-5)",
            ((3, 4),),
        ),
        *_both(
            "GroupNorm",
            lambda r: nnx.GroupNorm(6, 2, epsilon=_EPS, rngs=r),
            lambda: linen.GroupNorm(2, epsilon=_EPS),
            "nn.GroupNorm(2, 6)",
            ((3, 5, 2, 6),),
            first=True,
        ),
        *_both(
            "InstanceNorm2d",
            lambda r: nnx.InstanceNorm(4, epsilon=_EPS, rngs=r),
            lambda: linen.InstanceNorm(epsilon=_EPS),
            "nn.InstanceNorm2d(4)",
            ((3, 5, 2, 4),),
            _MEAN_VAR,  # MindSpore has no such kernel for CPUs
            first=True,
        ),
        *_both(
            "PReLU",
            lambda r: nnx.PReLU(),
            lambda: linen.PReLU(),
            "nn.PReLU(1)",
            ((3, 4),),
        ),
        *_both(
            "Embed",
            lambda r: nnx.Embed(5, 4, rngs=r),
            lambda: linen.Embed(5, 4),
            "nn.Embedding(5, 4)",
            ((2, 3),),
            "lambda net, x: net(x.astype(ms.int32))",
            run=lambda net, x: net(x.astype(int)),
        ),
        *_both(
            "LSTM",
            lambda r: nnx.RNN(nnx.LSTMCell(3, 4, rngs=r), rngs=r),
            lambda: linen.RNN(linen.LSTMCell(4)),
            "nn.LSTM(3, 4, batch_first=True)",
            ((2, 5, 3),),
            _LAST,
        ),
        *_both(
            "optimized LSTM in both directions",
            lambda r: nnx.Bidirectional(
                *[nnx.RNN(nnx.OptimizedLSTMCell(3, 4, rngs=r), rngs=r) for _ in range(2)], rngs=r
            ),
            lambda: linen.Bidirectional(
                *[
                    linen.RNN(linen.OptimizedLSTMCell(4), name=n)
                    for n in ("forward_rnn", "backward_rnn")
                ]
            ),
            "nn.LSTM(3, 4, batch_first=True, bidirectional=True)",
            ((2, 5, 3),),
            _LAST,
        ),
        *_both(
            "LSTM cell",
            lambda r: nnx.LSTMCell(3, 4, rngs=r),
            lambda: linen.LSTMCell(4),
            "nn.LSTMCell(3, 4)",
            ((2, 3), (2, 4), (2, 4)),
            "lambda net, x, h, c: net(x, (h, c))[0]",
            run=lambda net, x, h, c: net((c, h), x)[1],
        ),
        Case(
            "GRU-nnx",
            lambda r: nnx.RNN(nnx.GRUCell(3, 4, rngs=r), rngs=r),
            "nn.GRU(3, 4, batch_first=True)",
            ((2, 5, 3),),
            _LAST,
            patch="p['layer.bias_hh_l0'][8:] = 0",  # its cell lacks that bias
        ),
        Case(
            "GRU-linen",
            lambda r: linen.RNN(linen.GRUCell(4)),
            "nn.GRU(3, 4, batch_first=True)",
            ((2, 5, 3),),
            _LAST,
        ),
        Case(
            "GRU cell-nnx",
            lambda r: nnx.GRUCell(3, 4, rngs=r),
            "nn.GRUCell(3, 4)",
            ((2, 3), (2, 4)),
            run=lambda net, x, h: net(h, x)[1],
            patch="p['layer.bias_hh'][8:] = 0",
        ),
        Case(
            "GRU cell-linen",
            lambda r: linen.GRUCell(4),
            "nn.GRUCell(3, 4)",
            ((2, 3), (2, 4)),
            run=lambda net, x, h: net(h, x)[1],
        ),
        *_both(
            "RNN",
            lambda r: nnx.RNN(nnx.SimpleCell(3, 4, rngs=r), rngs=r),
            lambda: linen.RNN(linen.SimpleCell(4)),
            "nn.RNN(3, 4, batch_first=True)",
            ((2, 5, 3),),
            _LAST,
        ),
        *_both(
            "Attention",
            lambda r: nnx.MultiHeadAttention(2, 6, decode=False, rngs=r),
            lambda: linen.MultiHeadDotProductAttention(2),
            "nn.MultiheadAttention(6, 2, batch_first=True)",
            ((2, 5, 6),),
            "lambda net, x: net(x, x, x)[0]",
        ),
        *_both(
            "Attention to other features",
            lambda r: nnx.MultiHeadAttention(2, 6, in_kv_features=4, decode=False, rngs=r),
            lambda: linen.MultiHeadDotProductAttention(2),
            "nn.MultiheadAttention(6, 2, kdim=4, vdim=4, batch_first=True)",
            ((2, 5, 6), (2, 3, 4)),
            "lambda net, x, y: net(x, y, y)[0]",
        ),
        *_both(
            "Sequential",
            lambda r: nnx.Sequential(nnx.Linear(3, 4, rngs=r), nnx.relu, nnx.Linear(4, 2, rngs=r)),
            lambda: linen.Sequential([linen.Dense(4), linen.relu, linen.Dense(2)]),
            "nn.SequentialCell(nn.Dense(3, 4), nn.ReLU(), nn.Dense(4, 2))",
            ((2, 3),),
        ),
    ]


# Where mindspore.mint.nn has no kernel for CPUs, mindspore.ops stands in, with its parameters.
_MINT_CONV = "lambda net, x: ms.ops.conv{}d(x, net.weight, net.bias)"
_MINT = [
    Case("mint Linear", lambda r: nnx.Linear(3, 4, rngs=r), "mint.nn.Linear(3, 4)", ((2, 3),)),
    Case(
        "mint Conv1d",
        lambda r: nnx.Conv(4, 6, (3,), padding="VALID", rngs=r),
        "mint.nn.Conv1d(4, 6, 3)",
        ((2, 6, 4),),
        _MINT_CONV.format(1),
        first=True,
    ),
    Case(
        "mint Conv2d",
        lambda r: nnx.Conv(4, 6, (3, 2), padding="VALID", rngs=r),
        "mint.nn.Conv2d(4, 6, (3, 2))",
        ((2, 6, 5, 4),),
        _MINT_CONV.format(2),
        first=True,
    ),
    Case(
        "mint Conv3d",
        lambda r: nnx.Conv(4, 6, (3, 2, 2), padding="VALID", rngs=r),
        "mint.nn.Conv3d(4, 6, (3, 2, 2))",
        ((2, 6, 5, 4, 4),),
        _MINT_CONV.format(3),
        first=True,
    ),
    Case(
        "mint ConvTranspose2d",
        lambda r: nnx.ConvTranspose(4, 6, (3, 2), padding="VALID", rngs=r),
        "mint.nn.ConvTranspose2d(4, 6, (3, 2))",
        ((2, 6, 5, 4),),
        "lambda net, x: ms.ops.Conv2DTranspose(6, (3, 2), 'valid')"
        "(x, net.weight, (2, 6, 8, 6)) + net.bias[None, :, None, None]",
        first=True,
    ),
    Case(
        "mint BatchNorm2d",
        lambda r: nnx.BatchNorm(4, use_running_average=True, rngs=r),
        "mint.nn.BatchNorm2d(4)",
        ((3, 5, 2, 4),),
        "lambda net, x: ms.ops.batch_norm("
        "x, net.running_mean, net.running_var, net.weight, net.bias, False)",
        first=True,
    ),
    Case(
        "mint LayerNorm",
        lambda r: nnx.LayerNorm(4, epsilon=_EPS, rngs=r),
        "mint.nn.LayerNorm((4,))",
        ((3, 4),),
        "lambda net, x: nn.LayerNorm("
        "(4,), gamma_init=net.weight, beta_init=net.bias, epsilon=1e-5)(x)",
    ),
    Case(
        "mint GroupNorm",
        lambda r: nnx.GroupNorm(6, 2, epsilon=_EPS, rngs=r),
        "mint.nn.GroupNorm(2, 6)",
        ((3, 5, 2, 6),),
        "lambda net, x: nn.GroupNorm(2, 6, gamma_init=net.weight, beta_init=net.bias)(x)",
        first=True,
    ),
    Case(
        "mint Embedding",
        lambda r: nnx.Embed(5, 4, rngs=r),
        "mint.nn.Embedding(5, 4)",
        ((2, 3),),
        "lambda net, x: net.weight[x.astype(ms.int32)]",
        run=lambda net, x: net(x.astype(int)),
    ),
    Case("mint PReLU", lambda r: nnx.PReLU(), "mint.nn.PReLU(1)", ((3, 4),)),
]

_STACKS = [
    Case(
        "stack of Dense-nnx",
        lambda r: nnx.vmap(lambda r: nnx.Linear(4, 4, rngs=r))(r.split(3)),
        "nn.SequentialCell(nn.Dense(4, 4), nn.Dense(4, 4), nn.Dense(4, 4))",
        ((2, 4),),
        run=lambda net, x: nnx.scan(
            lambda x, layer: layer(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry
        )(x, net),
    ),
    Case(
        "stack of Dense-linen",
        lambda r: linen.scan(
            _Step, variable_axes={"params": 1}, split_rngs={"params": True}, length=3
        )(),
        "nn.SequentialCell(*[nn.SequentialCell(nn.Dense(4, 4), nn.LayerNorm((4,), epsilon=1e-6))"
        " for _ in range(3)])",
        ((2, 4),),
        run=lambda net, x: net(x, None)[0],
    ),
]


class _Step(linen.Module):
    """A step of a scan, whose layers have the names of a SequentialCell."""

    @linen.compact
    def __call__(self, x: jax.Array, _: Any) -> tuple[jax.Array, None]:
        return linen.LayerNorm(name="1")(linen.Dense(4, name="0")(x)), None


CASES = [*_layers(), *_STACKS, *(case._replace(base="mint") for case in _MINT)]


def random_inputs(case: Case) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    if "Embed" in case.name:
        return [rng.integers(0, 5, shape).astype(np.float32) for shape in case.inputs]
    return [rng.normal(size=shape).astype(np.float32) for shape in case.inputs]


def randomised(path: Any, leaf: Any) -> jax.Array:
    """Random numbers in the place of a leaf, all positive: there is a variance among them."""
    seed = sum(jax.tree_util.keystr(path).encode())
    return jax.random.uniform(jax.random.key(seed), leaf.shape, leaf.dtype, 0.1, 1)

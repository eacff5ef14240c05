"""The layers of Flax, and their parameters in MindSpore: one table.

MindSpore's names and shapes are those of 2.10 (measured: ``Cell.get_parameters`` of each layer).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from msckpt_jax.conventions import pattern
from msckpt_jax.conventions.pattern import Pattern

#: The names of the bases of a convention.
BASES = ("mindspore", "mint")


class Layer(NamedTuple):
    """A layer of Flax.

    Attributes:
        kind: the key of its rows in :data:`LAYERS`.
        inputs: the number of axes that a dense layer reads.
        rank: the rank of a convolution's kernel, or None when it is unknown.
        shapes: the shapes of its own leaves, where its module tells.
    """

    kind: str
    inputs: int = 1
    rank: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = {}


class Row(NamedTuple):
    """The place of a leaf of a layer in MindSpore.

    Attributes:
        name: the name of the parameter in MindSpore; ``{}`` stands for ``_l0`` and the like.
        patterns: the layout by the rank of the leaf; without patterns the layout is kept.
        part: the leaf is part ``part[0]`` of ``part[1]`` equal parts along axis 0.
        zeros: a second parameter, which MindSpore adds to the first. It is written as zeros, and
            added to the leaf when a file is loaded.
        zero_from: from part ``zero_from[0]`` of ``zero_from[1]`` on, ``zeros`` has no counterpart
            in Flax, and must be zero in a file.
    """

    name: str
    patterns: Mapping[int, str] = {}
    part: tuple[int, int] = (0, 1)
    zeros: str | None = None
    zero_from: tuple[int, int] | None = None


_T = {2: "i o -> o i"}
_CONV = {3: "k i o -> o i 1 k", 4: "h w i o -> o i h w", 5: "d h w i o -> o i d h w"}
# jax.lax.conv_transpose does not flip the kernel, MindSpore's layer does.
_CONV_TRANSPOSE = {
    3: "k i o -> i o 1 -k",
    4: "h w i o -> i o -h -w",
    5: "d h w i o -> i o -d -h -w",
}
_TRANSPOSED_KERNEL = {
    3: "k o i -> i o 1 k",
    4: "h w o i -> i o h w",
    5: "d h w o i -> i o d h w",
}
_BIAS = Row("bias")
_NORM = {"scale": Row("gamma"), "bias": Row("beta")}


def _recurrent(gates: str) -> dict[str, Row]:
    """The kernels of a cell: a leaf for each gate (``if_`` in nnx), or a leaf for all gates."""
    rows = {
        "dense_i.kernel": Row("weight_ih{}", _T),
        "dense_h.kernel": Row("weight_hh{}", _T),
    }
    for index, gate in enumerate(gates):
        part = index, len(gates)
        for leaf in (f"i{gate}.kernel", f"i{gate}_.kernel"):
            rows[leaf] = Row("weight_ih{}", _T, part)
        rows[f"h{gate}.kernel"] = Row("weight_hh{}", _T, part)
    return rows


def _lstm() -> dict[str, Row]:
    rows = _recurrent("ifgo")
    rows["dense_h.bias"] = Row("bias_hh{}", zeros="bias_ih{}")
    for index, gate in enumerate("ifgo"):
        rows[f"h{gate}.bias"] = Row("bias_hh{}", part=(index, 4), zeros="bias_ih{}")
    return rows


def _gru() -> dict[str, Row]:
    return _recurrent("rzn") | {
        "ir.bias": Row("bias_ih{}", part=(0, 3), zeros="bias_hh{}"),
        "iz.bias": Row("bias_ih{}", part=(1, 3), zeros="bias_hh{}"),
        "in.bias": Row("bias_ih{}", part=(2, 3)),
        "hn.bias": Row("bias_hh{}", part=(2, 3)),
        # The cell of nnx has no bias inside of the reset gate's product.
        "dense_i.bias": Row("bias_ih{}", zeros="bias_hh{}", zero_from=(2, 3)),
    }


def _simple() -> dict[str, Row]:
    bias = Row("bias_ih{}", zeros="bias_hh{}")
    return {
        "dense_i.kernel": Row("weight_ih{}", _T),
        "dense_h.kernel": Row("weight_hh{}", _T),
        "dense_i.bias": bias,
        "i.kernel": Row("weight_ih{}", _T),
        "h.kernel": Row("weight_hh{}", _T),
        "i.bias": bias,
    }


def _attention(fused: bool) -> dict[str, Row]:
    rows = {
        "out.kernel": Row("out_proj.weight", {3: "h d e -> e (h d)"}),
        "out.bias": Row("out_proj.bias"),
    }
    for index, leaf in enumerate(("query", "key", "value")):
        name, part = ("in_proj_weight", (index, 3)) if fused else (f"{leaf[0]}_proj_weight", (0, 1))
        rows[f"{leaf}.kernel"] = Row(name, {3: "e h d -> (h d) e"}, part)
        rows[f"{leaf}.bias"] = Row("in_proj_bias", {2: "h d -> (h d)"}, (index, 3))
    return rows


#: For each kind of layer, the leaves by their names in the layer.
LAYERS: dict[str, dict[str, Row]] = {
    "Dense": {"kernel": Row("weight", _T), "bias": _BIAS},
    "DenseGeneral": {"kernel": Row("weight"), "bias": _BIAS},
    "Conv": {"kernel": Row("weight", _CONV), "bias": _BIAS},
    "ConvTranspose": {"kernel": Row("weight", _CONV_TRANSPOSE), "bias": _BIAS},
    "ConvTranspose(transpose_kernel=True)": {
        "kernel": Row("weight", _TRANSPOSED_KERNEL),
        "bias": _BIAS,
    },
    "BatchNorm": _NORM | {"mean": Row("moving_mean"), "var": Row("moving_variance")},
    "LayerNorm": _NORM,
    "RMSNorm": {"scale": Row("gamma")},
    "GroupNorm": _NORM,
    "InstanceNorm": _NORM,
    "Embed": {"embedding": Row("embedding_table")},
    "PReLU": {"negative_slope": Row("w", {0: "-> 1"})},
    "LSTM": _lstm(),
    "GRU": _gru(),
    "RNN cell": _simple(),
    "Attention": _attention(fused=True),
    "Attention(kdim, vdim)": _attention(fused=False),
    # These have no leaves of their own, but their names leave no trace in MindSpore.
    "Sequential": {},
    "RNN": {},
    "Bidirectional": {},
    # Any other module: its leaves keep their names.
    "other": {},
}

RECURRENT = ("LSTM", "GRU", "RNN cell")

#: Classes of flax.nnx and flax.linen, by name, to kinds of layers.
CLASSES = {
    "Linear": "Dense",
    "Dense": "Dense",
    "LinearGeneral": "DenseGeneral",
    "DenseGeneral": "DenseGeneral",
    "Conv": "Conv",
    "ConvTranspose": "ConvTranspose",
    "BatchNorm": "BatchNorm",
    "LayerNorm": "LayerNorm",
    "RMSNorm": "RMSNorm",
    "GroupNorm": "GroupNorm",
    "InstanceNorm": "InstanceNorm",
    "Embed": "Embed",
    "PReLU": "PReLU",
    "LSTMCell": "LSTM",
    "OptimizedLSTMCell": "LSTM",
    "GRUCell": "GRU",
    "SimpleCell": "RNN cell",
    "MultiHeadAttention": "Attention",
    "MultiHeadDotProductAttention": "Attention",
    "Sequential": "Sequential",
    "RNN": "RNN",
    "Bidirectional": "Bidirectional",
}

#: The names of mindspore.mint.nn, which are PyTorch's.
_MINT = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "embedding_table": "weight",
    "w": "weight",
}
_MINT_PATTERNS = {"k i o -> o i 1 k": "k i o -> o i k"}
#: In a layer that is the whole network, parameters have their own names, not their attributes'.
_AT_ROOT = {"moving_mean": "mean", "moving_variance": "variance", "w": "a"}


def name_of(row_name: str, base: str, at_root: bool) -> str:
    """The name of a row in the base; ``at_root``: the layer is the whole network."""
    if base == "mint":
        return _MINT.get(row_name, row_name)
    return _AT_ROOT.get(row_name, row_name) if at_root else row_name


def pattern_of(layer: Layer, leaf: str, ndim: int, base: str) -> Pattern | None:
    """The layout of a leaf of rank ``ndim`` in its parameter; None when the rank is impossible."""
    row = LAYERS[layer.kind][leaf]
    if leaf == "kernel" and layer.rank not in (None, ndim):
        return None
    if layer.kind == "DenseGeneral":
        inputs = layer.inputs if leaf == "kernel" else 0
        return pattern.general(inputs, ndim - inputs) if ndim > inputs else None
    if not row.patterns or (layer.kind == "PReLU" and ndim):
        return pattern.identity(ndim)
    text = row.patterns.get(ndim)
    if text is None:
        return None
    return pattern.parse(_MINT_PATTERNS.get(text, text) if base == "mint" else text)


def constants(
    layer: Layer, base: str, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """The parameters that only MindSpore's layer has, with their initial values."""
    if layer.kind == "BatchNorm" and base == "mint":
        return {"num_batches_tracked": np.zeros((), np.int64)}
    if layer.kind == "InstanceNorm" and base == "mindspore" and shapes:
        shape = next(iter(shapes.values()))
        return {"moving_mean": np.zeros(shape, np.float32),
                "moving_variance": np.ones(shape, np.float32)}  # fmt: skip
    return {}

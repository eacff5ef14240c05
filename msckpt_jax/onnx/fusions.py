"""Operators that ONNX has beside those of ``lowering.fusions``, which every format has.

MindSpore's CPU lacks them or is rough: its Mish errs by 1e-4 (MindSpore 2.10.0).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax.lowering.algorithms import convolutions
from msckpt_jax.lowering.fusions import Fusion, Pattern, elementwise
from msckpt_jax.lowering.operator import operator
from msckpt_jax.lowering.rewrites import Rewrite
from msckpt_jax.lowering.rewrites.ignoring import ignoring


def _leaky_relu(shape: tuple[Any, ...]) -> Iterator[Pattern]:
    attrs = (("negative_slope", None),)
    yield Pattern(jax.nn.leaky_relu, (shape,), attrs, "negative_slope")


def _gelu(shape: tuple[Any, ...]) -> Iterator[Pattern]:
    yield Pattern(partial(jax.nn.gelu, approximate=False), (shape,), (("approximate", 0),))


FUSIONS = (
    Fusion("MishExt", ("mul", "tanh", "select_n"), elementwise(jax.nn.mish), exact=True),
    Fusion(
        "Softplus",
        ("select_n", "add", "log1p"),
        elementwise(jax.nn.softplus),
        exact=True,
        wide=False,
    ),
    Fusion("LeakyReLUExt", ("select_n", "mul"), _leaky_relu, exact=True, wide=False),
    Fusion("GeluExt", ("mul", "erfc"), _gelu, exact=True, wide=False),
)


@functools.wraps(convolutions.convolution, assigned=())
def _conv(lhs: Any, rhs: Any, **params: Any) -> Any:
    """A convolution of dilated images, where ConvTranspose computes it."""
    strides, dilations = params["lhs_dilation"], params["rhs_dilation"]
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    sizes = [rhs.shape[axis] for axis in rhs_spec[2:]]
    reach = [(size - 1) * by for size, by in zip(sizes, dilations, strict=True)]
    pads = [(r - low, r - high) for r, (low, high) in zip(reach, params["padding"], strict=True)]
    output = [max(0, -high) if isinstance(high, int) else 0 for _, high in pads]
    plain = (
        all(stride == 1 for stride in params["window_strides"])
        and params["feature_group_count"] == params["batch_group_count"] == 1
        and jnp.issubdtype(lhs.dtype, np.floating)
        and lhs.dtype != np.float64  # onnxruntime has no kernel
        and lhs.dtype == rhs.dtype
        and params["preferred_element_type"] in (None, lhs.dtype)
    )
    known = all(isinstance(n, int) for pair in pads for n in pair)
    if not known or max(strides, default=1) == 1 or not plain:
        return convolutions.convolution(lhs, rhs, **params)
    if any(low < 0 for low, _ in pads) or not all(map(int.__lt__, output, strides)):
        return convolutions.convolution(lhs, rhs, **params)
    order = (rhs_spec[1], rhs_spec[0], *rhs_spec[2:])
    kernel = lax.rev(lax.transpose(rhs, order), tuple(range(2, rhs.ndim)))
    numbers = lax.ConvDimensionNumbers(*[tuple(range(lhs.ndim))] * 3)

    def reference(x: Any, w: Any) -> Any:
        w = lax.rev(jnp.swapaxes(w, 0, 1), tuple(range(2, w.ndim)))
        return lax.conv_general_dilated(x, w, **{**params, "dimension_numbers": numbers})

    convolved = operator(
        "Conv2DBackpropInput", reference, lax.transpose(lhs, lhs_spec), kernel,
        stride=tuple(strides), dilation=tuple(dilations), output_padding=tuple(output),
        pad_list=tuple(max(0, n) for pair in pads for n in pair),
    )  # fmt: skip
    return lax.transpose(convolved, np.argsort(out_spec))


#: Rewrites that come before those of ``lowering.algorithms``.
REWRITES: Mapping[str, Rewrite] = {
    "conv_general_dilated": ignoring(_conv, "precision", "out_sharding")
}

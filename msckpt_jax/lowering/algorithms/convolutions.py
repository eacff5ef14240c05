"""Convolutions of float64 and integers, for which onnxruntime and MindSpore's CPU have no kernel.

There is a product of matrices for each place in the kernel.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.rewrites.declined import Declined
from msckpt_jax.lowering.rewrites.ignoring import ignoring


def convolution(
    x: Array, kernel: Array, *, window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]], lhs_dilation: Sequence[int], rhs_dilation: Sequence[int],
    dimension_numbers: lax.ConvDimensionNumbers, feature_group_count: int, batch_group_count: int,
    preferred_element_type: np.dtype | None = None,
) -> Array:  # fmt: skip
    """Convolve in the canonical layout, N C ... and O I ...; other layouts are declined.

    The general rewrite brings these into the canonical layout first.
    """
    axes = tuple(range(x.ndim))
    if (
        (x.dtype != np.float64 and x.dtype.kind not in "iu")
        or any(tuple(spec) != axes for spec in dimension_numbers)
        or set(lhs_dilation) != {1}
        or batch_group_count != 1
    ):
        raise Declined
    dtype = preferred_element_type or x.dtype
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    groups, outputs = feature_group_count, kernel.shape[0]
    x = lax.pad(x, np.zeros((), x.dtype), [(0, 0, 0)] * 2 + [(*pair, 0) for pair in padding])
    sizes = kernel.shape[2:]
    spans = [(k - 1) * d for k, d in zip(sizes, rhs_dilation, strict=True)]
    counts = [(n - span - 1) // s + 1
              for n, span, s in zip(x.shape[2:], spans, window_strides, strict=True)]  # fmt: skip
    total: Any = 0
    for place in itertools.product(*map(range, sizes)):
        first = [at * d for at, d in zip(place, rhs_dilation, strict=True)]
        last = [f + (n - 1) * s + 1
                for f, n, s in zip(first, counts, window_strides, strict=True)]  # fmt: skip
        part = lax.slice(x, (0, 0, *first), (*x.shape[:2], *last), (1, 1, *window_strides))
        part = part.reshape(x.shape[0], groups, x.shape[1] // groups, -1)
        factors = kernel[(slice(None), slice(None), *place)].reshape(groups, outputs // groups, -1)
        total = total + jnp.einsum("ngcs,goc->ngos", part, factors)
    return total.reshape(x.shape[0], outputs, *counts)


REWRITES = {"conv_general_dilated": ignoring(convolution, "precision", "out_sharding")}

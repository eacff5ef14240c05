"""Convolutions, all as convolutions of images: batch and channels first, input not dilated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.lowering.forms import outwards
from msckpt_jax.lowering.rewrites.ignoring import ignoring


def conv_general_dilated(
    lhs: Array, rhs: Array, *, window_strides: Sequence[int], padding: Sequence[tuple[Any, Any]],
    lhs_dilation: Sequence[int], rhs_dilation: Sequence[int],
    dimension_numbers: lax.ConvDimensionNumbers, feature_group_count: int, batch_group_count: int,
    precision: Any, preferred_element_type: np.dtype | None,
) -> Array:  # fmt: skip
    """Bring batch and channels to the front; a single axis becomes two."""
    dtype = jnp.promote_types(lhs.dtype, rhs.dtype)
    result = dtype if preferred_element_type is None else preferred_element_type
    dtype = jnp.promote_types(dtype, result)
    lhs, rhs = lhs.astype(dtype), rhs.astype(dtype)
    if jnp.issubdtype(dtype, np.complexfloating):
        window = (window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers)
        return _of_complex(lhs, rhs, *window, feature_group_count, batch_group_count, precision)
    lhs_spec, rhs_spec, out_spec = dimension_numbers
    lhs, rhs = lax.transpose(lhs, lhs_spec), lax.transpose(rhs, rhs_spec)
    lhs, padding = _dilated(lhs, padding, lhs_dilation)
    if batch_group_count > 1:
        lhs = _batches_to_channels(lhs, batch_group_count)
        feature_group_count = batch_group_count
    missing = max(2 - len(padding), 0)
    axes = range(2, 2 + missing)
    out = lax.conv_general_dilated(
        lax.expand_dims(lhs, axes),
        lax.expand_dims(rhs, axes),
        (1,) * missing + tuple(window_strides),
        ((0, 0),) * missing + tuple(padding),
        rhs_dilation=(1,) * missing + tuple(rhs_dilation),
        feature_group_count=feature_group_count,
        precision=precision,
    )
    return lax.transpose(lax.squeeze(out, axes), np.argsort(out_spec)).astype(result)


def _of_complex(lhs: Array, rhs: Array, *window: Any) -> Array:
    def conv(x: Array, y: Array) -> Array:
        return lax.conv_general_dilated(x, y, *window)

    real = conv(lhs.real, rhs.real) - conv(lhs.imag, rhs.imag)
    return lax.complex(real, conv(lhs.real, rhs.imag) + conv(lhs.imag, rhs.real))


def _dilated(
    lhs: Array, padding: Sequence[tuple[Any, Any]], dilation: Sequence[int]
) -> tuple[Array, Sequence[tuple[Any, Any]]]:
    """Put zeros between elements, and padding that cuts off or is symbolic, into the operand."""
    if all(n == 1 for n in dilation) and outwards(padding):
        return lhs, padding
    config = [(low, high, n - 1) for (low, high), n in zip(padding, dilation, strict=True)]
    lhs = lax.pad(lhs, np.zeros((), lhs.dtype), [(0, 0, 0), (0, 0, 0), *config])
    return lhs, [(0, 0)] * len(padding)


def _batches_to_channels(lhs: Array, groups: int) -> Array:
    batch, channels, *image = lhs.shape
    lhs = lax.reshape(lhs, (groups, batch // groups, channels, *image))
    lhs = lax.transpose(lhs, (1, 0, *range(2, lhs.ndim)))
    return lax.reshape(lhs, (batch // groups, groups * channels, *image))


REWRITES = {"conv_general_dilated": ignoring(conv_general_dilated, "out_sharding")}

"""Layers of networks: products, convolutions, normalization."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import lax

from msckpt_jax.air.meaning.operands import Meaning, NotRunError, alike, along, axis_of, ints


def _matmul(
    x: Any, y: Any, bias: Any = None, offset: Any = None, *,
    transpose_x1: bool, transpose_x2: bool,
) -> Any:  # fmt: skip
    return _product(_turned(x, transpose_x1), _turned(y, transpose_x2), bias, offset)


def _batch_matmul(
    x: Any, y: Any, bias: Any = None, offset: Any = None, *, adj_x1: bool, adj_x2: bool
) -> Any:
    """Multiply matrices; ``adj`` conjugates, too."""
    x = jnp.conj(x) if adj_x1 else x
    y = jnp.conj(y) if adj_x2 else y
    return _product(_turned(x, adj_x1), _turned(y, adj_x2), bias, offset)


def _turned(x: Any, flag: bool) -> Any:
    return jnp.swapaxes(x, -1, -2) if flag else x


def _product(x: Any, y: Any, bias: Any, offset: Any) -> Any:
    """The product of matrices; of int8 it is int32."""
    alike(x, y)
    _no_offset(offset)
    wide = jnp.int32 if x.dtype == jnp.int8 else None
    out = jnp.matmul(x, y, preferred_element_type=wide)
    return out if bias is None else _plus(out, bias)


def _of_quantised(
    x: Any, weight: Any, scale: Any, offset: Any = None, quant_scale: Any = None,
    quant_offset: Any = None, bias: Any = None, *,
    transpose_x: bool, transpose_weight: bool, antiquant_group_size: int,
) -> Any:  # fmt: skip
    """The product with ``(weight + offset) * scale``; a scale is a channel's, or a group's."""
    alike(x, scale, offset)
    if quant_scale is not None or quant_offset is not None:
        raise NotRunError("a product that is quantised again is not run in JAX")
    depth = int(transpose_weight)  # the axis that is summed over

    def spread(part: Any) -> Any:
        if not antiquant_group_size:
            return along(part.reshape(-1), 2, 1 - depth)
        wide = jnp.repeat(part, antiquant_group_size, depth)
        return lax.slice_in_dim(wide, 0, weight.shape[depth], axis=depth)

    wide = weight.astype(x.dtype)
    wide = (wide if offset is None else wide + spread(offset)) * spread(scale)
    out = jnp.matmul(_turned(x, transpose_x), _turned(wide, transpose_weight))
    return out if bias is None else out + bias.astype(out.dtype)


def _no_offset(offset: Any) -> None:
    if offset is not None:
        raise NotRunError("the offsets of quantised weights are not run in JAX")


def _plus(x: Any, bias: Any) -> Any:
    alike(x, bias)
    return x + bias


def _layouts(data_format: str) -> tuple[str, str, str]:
    """The layouts of data, filter and result in lax's letters."""
    weights = "OIDHW" if "D" in data_format else "OIHW"
    if data_format[1] != "C":
        weights = "DHWIO" if "D" in data_format else "HWIO"
    return data_format, weights, data_format


def _conv(
    x: Any, weights: Any, bias: Any = None, offset: Any = None, *, strides: Sequence[int],
    pads: Sequence[int], dilations: Sequence[int], groups: int, data_format: str,
) -> Any:  # fmt: skip
    alike(x, weights)
    _no_offset(offset)
    at = [i for i, letter in enumerate(data_format) if letter not in "NC"]
    out = lax.conv_general_dilated(
        x,
        weights,
        window_strides=[strides[i] for i in at],
        padding=list(zip(pads[0::2], pads[1::2], strict=True)),
        rhs_dilation=[dilations[i] for i in at],
        dimension_numbers=_layouts(data_format),
        feature_group_count=groups,
        preferred_element_type=jnp.int32 if x.dtype == jnp.int8 else None,
    )
    return out if bias is None else _plus(out, along(bias, out.ndim, data_format.index("C")))


def _channel(x: Any, data_format: str) -> int:
    return 1 if data_format.startswith("NC") else x.ndim - 1


def _bias_add(x: Any, bias: Any, *, data_format: str) -> Any:
    return _plus(x, along(bias, x.ndim, _channel(x, data_format)))


def _batch_norm(
    x: Any, scale: Any, offset: Any, mean: Any, variance: Any, *,
    epsilon: float, data_format: str, is_training: bool,
) -> Any:  # fmt: skip
    if is_training:
        raise NotRunError("BatchNorm in training is not run in JAX")
    over = partial(along, rank=x.ndim, axis=_channel(x, data_format))
    factor = over(scale) * lax.rsqrt(over(variance) + epsilon)
    out = (x - over(mean)) * factor + over(offset)
    reserved = jnp.full((1,), jnp.nan, mean.dtype)
    return out.astype(x.dtype), mean, variance, mean, variance, reserved


def _layer_norm(
    x: Any, gamma: Any, beta: Any, *, begin_norm_axis: int, begin_params_axis: int, epsilon: float
) -> Any:
    alike(x, gamma, beta)
    wanted = x.shape[axis_of(begin_params_axis, x.ndim) :]
    if jnp.shape(gamma) != wanted or jnp.shape(beta) != wanted:
        raise ValueError(f"gamma {jnp.shape(gamma)}, beta {jnp.shape(beta)}; expected {wanted}")
    return _normalised(x, gamma, beta, begin_norm_axis, epsilon)


def _normalised(x: Any, gamma: Any, beta: Any, first: int, epsilon: float) -> Any:
    axes = tuple(range(axis_of(first, x.ndim), x.ndim))
    mean = jnp.mean(x, axes, keepdims=True)
    variance = jnp.var(x, axes, keepdims=True)
    out = (x - mean) * lax.rsqrt(variance + epsilon) * gamma + beta
    return out, mean, variance


def _layer_norm_v3(
    x: Any, gamma: Any, beta: Any, *, begin_norm_axis: int, begin_params_axis: int, epsilon: float
) -> Any:
    out, mean, variance = _layer_norm(
        x, gamma, beta,
        begin_norm_axis=begin_norm_axis, begin_params_axis=begin_params_axis, epsilon=epsilon,
    )  # fmt: skip
    return out, mean, lax.rsqrt(variance + epsilon)


def _layer_norm_v4(
    x: Any, shape: Any, gamma: Any = None, beta: Any = None, *, epsilon: float
) -> Any:
    ones = jnp.ones(ints(shape), x.dtype)
    if x.shape[x.ndim - ones.ndim :] != ones.shape:
        raise ValueError(f"normalized_shape {ones.shape} of a tensor of shape {x.shape}")
    gamma, beta = ones if gamma is None else gamma, 0 if beta is None else beta
    out, mean, variance = _normalised(x, gamma, beta, x.ndim - ones.ndim, epsilon)
    rstd = lax.rsqrt(variance + epsilon)
    return out.astype(x.dtype), mean.astype(jnp.float32), rstd.astype(jnp.float32)


TABLE: dict[str, Meaning] = {
    "BatchMatMul": _batch_matmul,
    "BatchMatMulV2": _batch_matmul,
    "BatchNorm": _batch_norm,
    "BiasAdd": _bias_add,
    "Conv2D": _conv,
    "Conv3D": _conv,
    "LayerNorm": _layer_norm,
    "LayerNormV3": _layer_norm_v3,
    "LayerNormV4": _layer_norm_v4,
    "MatMul": _matmul,
    "MatMulV2": _matmul,
    "WeightQuantBatchMatmulV2": _of_quantised,
}

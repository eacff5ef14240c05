"""Normalizations; statistics are float32 at least, like MindSpore's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax.errors import MindIRError


def _channels(v: Any, x: Any) -> Any:
    return jnp.reshape(v, (1, -1, *[1] * (x.ndim - 2)))


def _wide(x: Any) -> Any:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def normalized(x: Any, axes: tuple[int, ...], epsilon: float) -> tuple[Any, Any, Any]:
    """The normalized values, mean and variance over ``axes``."""
    wide = _wide(x)
    mean = jnp.mean(wide, axes, keepdims=True)
    variance = jnp.mean(jnp.square(wide - mean), axes, keepdims=True)
    return (wide - mean) * lax.rsqrt(variance + epsilon), mean, variance


def _moved(x: Any, running: tuple[Any, Any], batch: tuple[Any, Any], momentum: Any) -> Any:
    """The running mean and variance, moved towards those of a batch, ``x``, without bias."""
    count = x.size // x.shape[1]
    unbiased = batch[0], batch[1] * (count / max(count - 1, 1))
    return tuple(
        (old + momentum * (b - old)).astype(old.dtype)
        for old, b in zip(running, unbiased, strict=True)
    )


def batch_norm(
    x: Any, scale: Any, bias: Any, mean: Any, variance: Any, is_training: bool = False,
    epsilon: float = 1e-5, momentum: float = 0.1, data_format: Any = 0, *, format: Any = None,
) -> Any:  # fmt: skip
    """The result, the statistics twice, and the new running statistics.

    In training, statistics are the batch's, and the running ones move towards them.
    """
    if data_format in (1, "NHWC") or format == "NHWC":
        raise MindIRError("BatchNorm in the format NHWC: only NCHW is supported")
    new = mean, variance
    if is_training:
        axes = (0, *range(2, x.ndim))
        batch = jnp.mean(_wide(x), axes), jnp.var(_wide(x), axes)
        new = _moved(x, new, batch, momentum)
        mean, variance = batch
    factor = scale * lax.rsqrt(variance + epsilon)
    y = _wide(x) * _channels(factor, x) + _channels(bias - mean * factor, x)
    return y.astype(x.dtype), mean, variance, mean, variance, *new


def _batch_norm_ext(
    x: Any, weight: Any, bias: Any, mean: Any, variance: Any, training: bool = False,
    momentum: float = 0.1, epsilon: float = 1e-5, *, moves: bool = False,
) -> Any:  # fmt: skip
    """The result, mean and factor; then the new running statistics, if it ``moves`` them."""
    if training and mean is not None and not moves:
        raise MindIRError(
            "BatchNormExt in training changes running statistics that are no parameters of the "
            "network: export in eval mode"
        )
    running = mean, variance
    if training or mean is None or variance is None:
        axes = (0, *range(2, x.ndim))
        mean, variance = jnp.mean(_wide(x), axes), jnp.var(_wide(x), axes)
    factor = lax.rsqrt(_wide(variance) + epsilon)
    out = (_wide(x) - _channels(mean, x)) * _channels(factor, x)
    out = out if weight is None else out * _channels(weight, x)
    out = out if bias is None else out + _channels(bias, x)
    new = _moved(x, running, (mean, variance), momentum) if moves else ()
    return out.astype(x.dtype), mean, factor, *new


def _layer_norm(
    x: Any, gamma: Any, beta: Any, begin_norm_axis: int = 1, begin_params_axis: int = 1,
    epsilon: float = 1e-7,
) -> Any:  # fmt: skip
    axes = tuple(range(begin_norm_axis % x.ndim, x.ndim))
    out, mean, variance = normalized(x, axes, epsilon)
    return (out * gamma + beta).astype(x.dtype), mean, variance


def _layer_norm_v3(*args: Any) -> Any:
    out, mean, variance = _layer_norm(*args)
    epsilon = args[5] if len(args) > 5 else 1e-7
    return out, mean, lax.rsqrt(variance + epsilon)


def _layer_norm_ext(
    x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    out, mean, variance = normalized(x, axes, eps)
    out = out if weight is None else out * weight
    out = out if bias is None else out + bias
    return out.astype(x.dtype), mean, lax.rsqrt(variance + eps)


def _group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    grouped = jnp.reshape(x, (x.shape[0], num_groups, -1))
    out, mean, variance = normalized(grouped, (2,), eps)
    out = jnp.reshape(out, x.shape)
    out = out if weight is None else out * _channels(weight, x)
    out = out if bias is None else out + _channels(bias, x)
    moments = (mean[..., 0], lax.rsqrt(variance + eps)[..., 0])
    return out.astype(x.dtype), *(moment.astype(x.dtype) for moment in moments)


def _instance_norm(
    x: Any, gamma: Any, beta: Any, mean: Any = None, variance: Any = None, *,
    epsilon: float = 1e-5, momentum: float = 0.1,
) -> Any:  # fmt: skip
    out, average, spread = normalized(x, tuple(range(2, x.ndim)), epsilon)
    y = out * _channels(gamma, x) + _channels(beta, x)
    return y.astype(x.dtype), jnp.ravel(average), jnp.ravel(spread)


def rms_norm(x: Any, gamma: Any, epsilon: float = 1e-6) -> Any:
    """The numbers over the root of the mean of their squares, and its reciprocal."""
    wide = _wide(x)
    axes = tuple(range(x.ndim - gamma.ndim, x.ndim))
    factor = lax.rsqrt(jnp.mean(jnp.square(wide), axes, keepdims=True) + epsilon)
    return (wide * factor * gamma).astype(x.dtype), factor


def _add_rms_norm(x: Any, y: Any, gamma: Any, epsilon: float = 1e-6) -> Any:
    out, factor = rms_norm(x + y, gamma, epsilon)
    return out, factor, x + y


def _lrn(
    x: Any, *, depth_radius: int = 5, bias: float = 1.0, alpha: float = 1.0, beta: float = 0.5,
    norm_region: str = "ACROSS_CHANNELS",
) -> Any:  # fmt: skip
    window = (1, 2 * depth_radius + 1, 1, 1)
    pads = ((0, 0), (depth_radius, depth_radius), (0, 0), (0, 0))
    # A start that is known while tracing makes this a sum, which can be differentiated.
    total = lax.reduce_window(jnp.square(x), np.zeros((), x.dtype), lax.add, window, (1,) * 4, pads)
    return x / (bias + alpha * total) ** beta


TABLE: dict[str, Callable[..., Any]] = {
    "BatchNorm": batch_norm,
    "BatchNormExt": _batch_norm_ext,
    "LayerNorm": _layer_norm,
    "LayerNormV3": _layer_norm_v3,
    "LayerNormExt": _layer_norm_ext,
    "GroupNorm": _group_norm,
    "InstanceNorm": _instance_norm,
    "RmsNorm": rms_norm,
    "AddRmsNorm": _add_rms_norm,
    "LRN": _lrn,
}

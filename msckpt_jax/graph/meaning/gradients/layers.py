"""Gradients of normalizations, dropout and recurrent layers.

A normalization's gradient has the mean and the spread that the forward operator has computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.meaning import recurrent
from msckpt_jax.graph.meaning.gradients.rule import Gradient, Row


def _wide(x: Any) -> Any:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _normalized(
    dout: Any, x: Any, mean: Any, factor: Any, gamma: Any, axes: Sequence[int],
    over: Sequence[int],
) -> tuple[Any, Any, Any]:  # fmt: skip
    """The gradients of the values, of gamma and of beta.

    All arrays broadcast to each other. ``factor`` is one by the spread, ``axes`` are those of mean
    and spread, ``over`` those along which gamma is the same.
    """
    dtype, dout, x = x.dtype, _wide(dout), _wide(x)
    unit = (x - mean) * factor
    scaled = dout * gamma
    dx = factor * (
        scaled
        - jnp.mean(scaled, axes, keepdims=True)
        - unit * jnp.mean(scaled * unit, axes, keepdims=True)
    )
    return dx.astype(dtype), jnp.sum(dout * unit, over), jnp.sum(dout, over)


def _as(like: Any, *parts: Any) -> tuple[Any, ...]:
    return tuple(jnp.reshape(part, like.shape).astype(like.dtype) for part in parts)


def _layer_norm(
    x: Any, dout: Any, factor: Any, mean: Any, gamma: Any, begin_norm_axis: int,
    begin_params_axis: int,
) -> Any:  # fmt: skip
    axes = range(begin_norm_axis % x.ndim, x.ndim)
    over = tuple(range(begin_params_axis % x.ndim))
    shape = x.shape[: axes.start] + (1,) * len(axes)
    dx, *rest = _normalized(
        dout, x, jnp.reshape(mean, shape), jnp.reshape(factor, shape), gamma, tuple(axes), over
    )
    return dx, *_as(gamma, *rest)


def _layer_norm_of_variance(
    x: Any, dout: Any, variance: Any, mean: Any, gamma: Any, begin_norm_axis: int = 1,
    begin_params_axis: int = 1, *, epsilon: float = 1e-7,
) -> Any:  # fmt: skip
    # Files have epsilon as an attribute, beside arguments that are operands.
    factor = lax.rsqrt(variance + epsilon)
    return _layer_norm(x, dout, factor, mean, gamma, begin_norm_axis, begin_params_axis)


def _layer_norm_twice(
    x: Any, dout: Any, variance: Any, mean: Any, gamma: Any, ddx: Any, ddgamma: Any, ddbeta: Any,
    begin_norm_axis: int = 1, begin_params_axis: int = 1, *, epsilon: float = 1e-7,
) -> Any:  # fmt: skip
    """The gradients of LayerNormGrad's values, ``dout`` and gamma."""
    axes = tuple(range(begin_norm_axis % x.ndim, x.ndim))

    def once(x: Any, dout: Any, gamma: Any) -> Any:
        wide = _wide(x)
        return _layer_norm_of_variance(
            x, dout, jnp.var(wide, axes), jnp.mean(wide, axes), gamma, begin_norm_axis,
            begin_params_axis, epsilon=epsilon,
        )  # fmt: skip

    _, back = jax.vjp(once, x, dout, gamma)
    return back((ddx, ddgamma, ddbeta))


def _layer_norm_ext(
    dout: Any, x: Any, shape: Any, mean: Any, factor: Any, gamma: Any, beta: Any,
    output_mask: Any = (1, 1, 1),
) -> Any:  # fmt: skip
    begin = x.ndim - len(shape)
    gamma = jnp.ones(shape, x.dtype) if gamma is None else gamma
    return _layer_norm(x, dout, factor, mean, gamma, begin, begin)


def _add_layer_norm(
    dout: Any, x: Any, y: Any, factor: Any, mean: Any, gamma: Any, dsum: Any = None
) -> Any:
    begin = x.ndim - gamma.ndim
    dx, *rest = _layer_norm(x + y, dout, factor, mean, gamma, begin, begin)
    return dx if dsum is None else dx + dsum, *rest


def _channels(v: Any, x: Any) -> Any:
    return jnp.reshape(v, (1, -1, *[1] * (x.ndim - 2)))


def _batch_norm(
    dout: Any, x: Any, scale: Any, mean: Any, factor: Any, is_training: bool
) -> tuple[Any, Any, Any]:  # fmt: skip
    axes = (0, *range(2, x.ndim))
    scale_, mean, factor = (_channels(v, x) for v in (scale, mean, factor))
    dx, *rest = _normalized(dout, x, mean, factor, scale_, axes, axes)
    if not is_training:  # statistics of before are constants
        dx = (_wide(dout) * scale_ * factor).astype(x.dtype)
    return dx, *_as(scale, *rest)


def _batch_norm_of_variance(
    dout: Any, x: Any, scale: Any, mean: Any, variance: Any, reserve: Any = None,
    is_training: bool = False, epsilon: float = 1e-5, data_format: Any = 0, *, format: Any = None,
) -> Any:  # fmt: skip
    if data_format in (1, "NHWC") or format == "NHWC":
        raise MindIRError("BatchNormGrad in the format NHWC: only NCHW is supported")
    return _batch_norm(dout, x, scale, mean, lax.rsqrt(variance + epsilon), is_training)


def _batch_norm_twice(
    x: Any, dout: Any, scale: Any, mean: Any, variance: Any, ddx: Any, ddscale: Any, ddbias: Any,
    is_training: bool = False, epsilon: float = 1e-5, data_format: Any = 0, *, format: Any = None,
) -> Any:  # fmt: skip
    """The gradients of BatchNormGrad's values, ``dout`` and scale."""
    axes = (0, *range(2, x.ndim))

    def once(x: Any, dout: Any, scale: Any) -> Any:
        wide = _wide(x)
        moments = (jnp.mean(wide, axes), jnp.var(wide, axes)) if is_training else (mean, variance)
        return _batch_norm_of_variance(
            dout, x, scale, *moments, None, is_training, epsilon, data_format, format=format
        )

    out, back = jax.vjp(once, x, dout, scale)
    given = (ddx, ddscale, ddbias)
    return back(tuple(g.astype(o.dtype) for g, o in zip(given, out, strict=True)))


def _batch_norm_ext(
    dout: Any, x: Any, weight: Any, running_mean: Any, running_variance: Any, mean: Any,
    factor: Any, training: bool = False, epsilon: float = 1e-5, output_mask: Any = (1, 1, 1),
) -> Any:  # fmt: skip
    weight = jnp.ones(x.shape[1], x.dtype) if weight is None else weight
    if not training:
        mean, factor = running_mean, lax.rsqrt(running_variance + epsilon)
    return _batch_norm(dout, x, weight, mean, factor, training)


def _group_norm(
    dout: Any, x: Any, mean: Any, factor: Any, gamma: Any, num_groups: int, *_: Any
) -> Any:
    grouped = (x.shape[0], num_groups, x.shape[1] // num_groups, -1)
    mean, factor = (jnp.reshape(v, (*grouped[:2], 1, 1)) for v in (mean, factor))
    scale = jnp.reshape(gamma, (1, *grouped[1:3], 1))
    dx, *rest = _normalized(
        jnp.reshape(dout, grouped), jnp.reshape(x, grouped), mean, factor, scale, (2, 3), (0, 3)
    )
    return jnp.reshape(dx, x.shape), *_as(gamma, *rest)


def _instance_norm(
    dout: Any, x: Any, gamma: Any, mean: Any, variance: Any, *, epsilon: float = 0.0,
    momentum: float = 0.1,
) -> Any:  # fmt: skip
    axes = tuple(range(2, x.ndim))
    mean, factor = (
        jnp.reshape(v, (*x.shape[:2], *[1] * len(axes)))
        for v in (mean, lax.rsqrt(variance + epsilon))
    )
    dx, *rest = _normalized(dout, x, mean, factor, _channels(gamma, x), axes, (0, *axes))
    return dx, *_as(gamma, *rest)


def _instance_norm_v2(
    dout: Any, x: Any, gamma: Any, mean: Any, variance: Any, saved_mean: Any,
    saved_variance: Any, *, is_training: bool = True, epsilon: float = 1e-5,
) -> Any:  # fmt: skip
    """The gradients of the values, gamma and beta, all of [N, C, 1, 1] but the first."""
    axes = (2, 3)
    if is_training:
        mean, variance = saved_mean, saved_variance
    factor = lax.rsqrt(variance + epsilon)
    dx, dgamma, dbeta = _normalized(dout, x, mean, factor, gamma, axes, axes)
    if not is_training:
        dx = (_wide(dout) * gamma * factor).astype(x.dtype)
    return dx, *_as(gamma, dgamma, dbeta)


def _rms_norm(dout: Any, x: Any, factor: Any, gamma: Any) -> Any:
    axes = tuple(range(x.ndim - gamma.ndim, x.ndim))
    wide, dwide = _wide(x), _wide(dout)
    unit, scaled = wide * factor, dwide * gamma
    dx = factor * (scaled - unit * jnp.mean(scaled * unit, axes, keepdims=True))
    return dx.astype(x.dtype), jnp.sum(dwide * unit, tuple(range(axes[0])))


def _dropout(dout: Any, mask: Any, *, keep_prob: float = 0.5) -> Any:
    return dout * mask.astype(dout.dtype) / keep_prob


def _lstm(
    x: Any, h: Any, c: Any, weights: Any, y: Any, last_h: Any, last_c: Any, dy: Any, dh: Any,
    dc: Any, reserve: Any = None, *, input_size: int, hidden_size: int, num_layers: int = 1,
    has_bias: bool = True, bidirectional: bool = False, dropout: float = 0.0, proj_size: int = 0,
) -> Any:  # fmt: skip
    def function(*args: Any) -> Any:
        return recurrent.TABLE["LSTM"](
            *args, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers,
            has_bias=has_bias, bidirectional=bidirectional, dropout=dropout, proj_size=proj_size,
        )[:3]  # fmt: skip

    _, back = jax.vjp(function, x, h, c, weights)
    return back((dy, dh, dc))


ROWS: dict[str, Row] = {
    "LayerNormGrad": _layer_norm_of_variance,
    "LayerNormGradGrad": _layer_norm_twice,
    "LayerNormGradV3": _layer_norm,
    "LayerNormGradExt": _layer_norm_ext,
    "AddLayerNormGrad": _add_layer_norm,
    "BatchNormGrad": _batch_norm_of_variance,
    "BatchNormGradExt": _batch_norm_ext,
    "BatchNormGradGrad": _batch_norm_twice,
    "GroupNormGrad": _group_norm,
    "InstanceNormGrad": _instance_norm,
    "InstanceNormV2Grad": _instance_norm_v2,
    "RmsNormGrad": _rms_norm,
    "L2NormalizeGrad": Gradient("x out dout", "L2Normalize", "x"),
    "LRNGrad": Gradient("dout x out", "LRN", "x"),
    "DropoutGrad": _dropout,
    "LSTMGrad": _lstm,
}

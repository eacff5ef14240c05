"""Whole numbers with scales: quantisation, products of quantised numbers, and its simulation.

MindSpore has no CPU kernels of these: they follow the definitions in its documents, and of the
simulation (``FakeQuant``) its kernels for Ascend (``mindspore/ops/_op_impl/_custom_op``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax.errors import MindIRError


def refuse(op: str, **given: Any) -> None:
    """Refuse the arguments that are given and have no meaning here.

    Raises:
        MindIRError: one of them is given.
    """
    names = [name for name, value in given.items() if value is not None]
    if names:
        raise MindIRError(
            f"{op} with {', '.join(names)} is not supported: give it a meaning, rules="
        )


def int8(x: Any) -> Any:
    """The nearest whole numbers, halves to even ones, within the range of int8."""
    return jnp.clip(jnp.round(x), -128, 127).astype(jnp.int8)


def scale_of(scale: Any) -> Any:
    """A scale as float32; whole numbers of 64 bits hold its bits in their lower half."""
    if scale.dtype in (np.dtype(np.uint64), np.dtype(np.int64)):
        return lax.bitcast_convert_type(scale.astype(jnp.uint32), jnp.float32)
    return scale.astype(jnp.float32)


def _quant(
    x: Any, scale: Any, offset: Any, sqrt_mode: bool = False, rounding_mode: Any = 0,
    dst_type: Any = np.int8,
) -> Any:  # fmt: skip
    if np.dtype(dst_type) != np.int8 or rounding_mode not in (0, "ROUND"):
        raise MindIRError(f"QuantV2 to {dst_type} by {rounding_mode}: only int8 and ROUND")
    wide = x.astype(jnp.float32) * scale.astype(jnp.float32)
    wide = wide * scale.astype(jnp.float32) if sqrt_mode else wide
    return int8(wide + offset.astype(jnp.float32))


_ROUNDED = {"Round": jnp.round, "Floor": jnp.floor, "Ceil": jnp.ceil, "Trunc": jnp.trunc}


def _quant_attrs(
    x: Any, *, scale: float, offset: float, sqrt_mode: bool = False, round_mode: str = "Round",
    dtype: Any = np.int8,
) -> Any:  # fmt: skip
    if np.dtype(dtype) != np.int8:
        raise MindIRError(f"Quant to {dtype}: only int8 is supported")
    factor = scale * scale if sqrt_mode else scale
    wide = _ROUNDED[round_mode](x.astype(jnp.float32) * factor + offset)
    return jnp.clip(wide, -128, 127).astype(jnp.int8)


def _dequant(
    x: Any, scale: Any, *, sqrt_mode: bool = False, relu_flag: bool = False,
    dtype: Any = np.float16,
) -> Any:  # fmt: skip
    scale = scale_of(scale)
    out = x.astype(jnp.float32) * (scale * scale if sqrt_mode else scale)
    return (jnp.maximum(out, 0) if relu_flag else out).astype(dtype)


def _antiquant(
    x: Any, scale: Any, offset: Any, *, sqrt_mode: bool = False, dtype: Any = np.float16
) -> Any:
    factor = scale * scale if sqrt_mode else scale
    return (factor * (x.astype(jnp.float32) + offset)).astype(dtype)


def dynamic(x: Any, smooth: Any = None) -> tuple[Any, Any]:
    """Each row as whole numbers of 8 bits, and its scale: the largest number over 127."""
    wide = x.astype(jnp.float32)
    wide = wide if smooth is None else wide * smooth.astype(jnp.float32)
    scale = jnp.max(jnp.abs(wide), -1, keepdims=True) / 127
    return int8(wide / jnp.where(scale == 0, 1, scale)), scale[..., 0]


def _turned(x: Any, turn: bool) -> Any:
    return jnp.swapaxes(x, -1, -2) if turn else x


def matmul(x: Any, y: Any) -> Any:
    """The product of matrices of int8 in int32, of others in float32."""
    whole = x.dtype == np.int8 and y.dtype == np.int8
    return jnp.matmul(x, y, preferred_element_type=jnp.int32 if whole else jnp.float32)


def _quant_matmul(
    x: Any, weight: Any, scale: Any, offset: Any = None, bias: Any = None, per_token: Any = None,
    transpose_x1: bool = False, transpose_x2: bool = False, dtype: Any = np.float16,
) -> Any:  # fmt: skip
    """Compute ``(x @ weight + bias) * scale * per_token + offset``; a bias of floats comes last."""
    if x.dtype != np.int8 or weight.dtype != np.int8:
        raise MindIRError(f"QuantBatchMatmul of {x.dtype} and {weight.dtype}: only int8")
    out = matmul(_turned(x, transpose_x1), _turned(weight, transpose_x2))
    whole = bias is not None and jnp.issubdtype(bias.dtype, jnp.integer)
    out = (out + bias if whole else out).astype(jnp.float32) * scale_of(scale)
    out = out if per_token is None else out * per_token.astype(jnp.float32)[..., :, None]
    out = out if bias is None or whole else out + bias.astype(jnp.float32)
    if np.dtype(dtype) == np.int8:
        return int8(out if offset is None else out + offset.astype(jnp.float32))
    refuse("QuantBatchMatmul", offset=offset)
    return out.astype(dtype)


def dequantised(weight: Any, scale: Any, offset: Any, group: int = 0) -> Any:
    """``(weight + offset) * scale``; a group of rows has a scale each where ``group`` is not 0."""
    wide = weight.astype(jnp.float32)
    if group:
        rows = weight.shape[-2]
        scale = jnp.repeat(scale, group, -2)[..., :rows, :]
        offset = None if offset is None else jnp.repeat(offset, group, -2)[..., :rows, :]
    wide = wide if offset is None else wide + offset.astype(jnp.float32)
    return wide * scale.astype(jnp.float32)


def _weight_matmul(
    x: Any, weight: Any, scale: Any, offset: Any = None, quant_scale: Any = None,
    quant_offset: Any = None, bias: Any = None, transpose_x: bool = False,
    transpose_weight: bool = False, antiquant_group_size: int = 0,
) -> Any:  # fmt: skip
    refuse("WeightQuantBatchMatmul", quant_scale=quant_scale, quant_offset=quant_offset)
    if weight.dtype != np.int8:
        raise MindIRError(f"WeightQuantBatchMatmul with weights of {weight.dtype}: only int8")
    if transpose_weight and scale.ndim == 2:
        scale, offset = _turned(scale, True), offset if offset is None else _turned(offset, True)
    weight = _turned(weight, transpose_weight)
    out = matmul(
        _turned(x, transpose_x).astype(jnp.float32),
        dequantised(weight, scale, offset, antiquant_group_size),
    )
    return (out if bias is None else out + bias.astype(jnp.float32)).astype(x.dtype)


def _simulated(x: Any, low: Any, high: Any, bits: int, symmetric: bool, narrow: bool) -> Any:
    """Round to the numbers that ``bits`` bits tell between two limits, of which one is 0."""
    least, most = (1 if narrow else 0), 2**bits - 1
    if symmetric:
        high = jnp.maximum(-low, high)
        low = -high
    scale = (high - low) / (most - least)
    zero = jnp.floor(jnp.clip(least - low / scale, least, most) + 0.5)
    low, high = (least - zero) * scale, (most - zero) * scale
    return jnp.floor((jnp.clip(x, low, high) - low) / scale + 0.5) * scale + low


def _fake_layer(
    x: Any, low: Any, high: Any, *, num_bits: int = 8, ema: bool = False, ema_decay: float = 0.999,
    quant_delay: int = 0, symmetric: bool = False, narrow_range: bool = False,
    training: bool = True,
) -> Any:  # fmt: skip
    if quant_delay and training:
        raise MindIRError("FakeQuant with quant_delay counts the steps of a training")
    return _simulated(x, low, high, num_bits, symmetric, narrow_range)


def _fake_channel(x: Any, low: Any, high: Any, *, channel_axis: int = 1, **attrs: Any) -> Any:
    shape = [-1 if a == channel_axis else 1 for a in range(x.ndim)]
    known = _FAKE.intersection(attrs)
    return _fake_layer(x, jnp.reshape(low, shape), jnp.reshape(high, shape),
                       **{name: attrs[name] for name in known})  # fmt: skip


_FAKE = frozenset(("num_bits", "ema", "ema_decay", "quant_delay", "symmetric", "narrow_range",
                   "training"))  # fmt: skip


def _fake_vars(
    x: Any, low: Any, high: Any, *, num_bits: int = 8, narrow_range: bool = False
) -> Any:
    return _simulated(x, low, high, num_bits, False, narrow_range)


def _correction(x: Any, batch: Any, running: Any, *, channel_axis: int = 0) -> Any:
    shape = [-1 if a == channel_axis else 1 for a in range(x.ndim)]
    return x * jnp.reshape(batch / running, shape)


TABLE: dict[str, Callable[..., Any]] = {
    "QuantV2": _quant,
    "Quant": _quant_attrs,
    "Dequant": _dequant,
    "AntiQuant": _antiquant,
    "DynamicQuantExt": dynamic,
    "QuantBatchMatmul": _quant_matmul,
    "WeightQuantBatchMatmul": _weight_matmul,
    "FakeQuantPerLayer": _fake_layer,
    "FakeQuantPerChannel": _fake_channel,
    "FakeQuantWithMinMaxVars": _fake_vars,
    "FakeQuantWithMinMaxVarsPerChannel": _fake_vars,
    "CorrectionMul": _correction,
}

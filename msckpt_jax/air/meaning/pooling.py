"""Maxima and means of windows; GE has an operator for each way to give the paddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax.air.meaning.operands import Meaning, NotRunError


class _Window(NamedTuple):
    """The window of a pooling operator, over all axes of its operand."""

    size: Sequence[int]
    strides: Sequence[int]
    padding: Sequence[tuple[int, int]]


def _window(
    x: Any, data_format: str, size: Sequence[int], strides: Sequence[int], mode: str,
    pads: Sequence[int] = (), ceil_mode: int = 0, global_pooling: bool = False,
) -> _Window:  # fmt: skip
    if ceil_mode:
        raise NotRunError("ceil_mode is not run in JAX")
    at = [i for i, letter in enumerate(data_format) if letter not in "NC"]
    if len(size) < x.ndim:  # given for the spatial axes only
        size, strides = ([1, 1, *values] for values in (size, strides))
    if global_pooling:
        size = [x.shape[i] if i in at else 1 for i in range(x.ndim)]
    if mode in ("SAME", "VALID"):
        return _Window(size, strides, lax.padtype_to_pads(x.shape, size, strides, mode))
    padding = [(0, 0)] * x.ndim
    for axis, low, high in zip(at, pads[0::2], pads[1::2], strict=True):
        padding[axis] = (low, high)
    return _Window(size, strides, padding)


def _maximum(x: Any, window: _Window) -> Any:
    least = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    return lax.reduce_window(x, np.asarray(least, x.dtype), lax.max, *window)


def _total(x: Any, window: _Window) -> Any:
    return lax.reduce_window(x, np.asarray(0, x.dtype), lax.add, *window)


def _mean(x: Any, window: _Window, only_real: bool = True, divisor: int = 0) -> Any:
    """The means of windows, with ``only_real`` of those elements that are no padding."""
    total = _total(x, window)
    if divisor:
        return total / divisor
    return total / (_total(jnp.ones_like(x), window) if only_real else np.prod(window.size))


def _max_pool(
    x: Any, *, ksize: Sequence[int], strides: Sequence[int], padding: str, data_format: str
) -> Any:
    return _maximum(x, _window(x, data_format, ksize, strides, padding))


def _max_pool_3d(
    x: Any, *, ksize: Sequence[int], strides: Sequence[int], padding: str, data_format: str,
    pads: Sequence[int], dilation: Sequence[int], ceil_mode: int,
) -> Any:  # fmt: skip
    if any(step != 1 for step in dilation):
        raise NotRunError(f"MaxPool3D with dilation {list(dilation)} is not run in JAX")
    return _maximum(x, _window(x, data_format, ksize, strides, padding, pads, ceil_mode))


def _max_pool_v3(
    x: Any, *, ksize: Sequence[int], strides: Sequence[int], padding_mode: str,
    pads: Sequence[int], data_format: str, global_pooling: bool, ceil_mode: bool,
) -> Any:  # fmt: skip
    sides = (padding_mode, pads, ceil_mode, global_pooling)
    return _maximum(x, _window(x, data_format, ksize, strides, *sides))


def _avg_pool(
    x: Any, *, ksize: Sequence[int], strides: Sequence[int], padding: str, data_format: str
) -> Any:
    return _mean(x, _window(x, data_format, ksize, strides, padding))


def _avg_pool_3d(
    x: Any, *, ksize: Sequence[int], strides: Sequence[int], pads: Sequence[int],
    ceil_mode: bool, count_include_pad: bool, divisor_override: int, data_format: str,
) -> Any:  # fmt: skip
    window = _window(x, data_format, ksize, strides, "CALCULATED", pads, ceil_mode)
    return _mean(x, window, not count_include_pad, divisor_override)


def _avg_pool_v2(
    x: Any, *, ksize: Sequence[int], strides: Sequence[int], padding_mode: str,
    pads: Sequence[int], data_format: str, global_pooling: bool, ceil_mode: bool,
    exclusive: bool, divisor_override: int,
) -> Any:  # fmt: skip
    sides = (padding_mode, pads, ceil_mode, global_pooling)
    window = _window(x, data_format, ksize, strides, *sides)
    return _mean(x, window, exclusive, divisor_override)


TABLE: dict[str, Meaning] = {
    "AvgPool": _avg_pool,
    "AvgPool3D": _avg_pool_3d,
    "AvgPoolV2": _avg_pool_v2,
    "MaxPool": _max_pool,
    "MaxPool3D": _max_pool_3d,
    "MaxPoolV3": _max_pool_v3,
}

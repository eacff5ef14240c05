"""Colours of images whose last axis has the three channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp


def _contrast(x: Any, factor: Any) -> Any:
    mean = jnp.mean(x, (-3, -2), keepdims=True)
    return (x - mean) * factor + mean


def _to_hsv(x: Any) -> Any:
    r, g, b = (x[..., k] for k in range(3))
    most, least = jnp.max(x, -1), jnp.min(x, -1)
    span = most - least
    safe = jnp.where(span > 0, span, 1)
    hue = jnp.where(
        most == r, (g - b) / safe, jnp.where(most == g, 2 + (b - r) / safe, 4 + (r - g) / safe)
    )
    hue = jnp.where(span > 0, hue / 6, 0)
    hue = jnp.where(hue < 0, hue + 1, hue)
    return jnp.stack([hue, jnp.where(most > 0, span / jnp.where(most > 0, most, 1), 0), most], -1)


def _to_rgb(x: Any) -> Any:
    hue, saturation, value = (x[..., k] for k in range(3))
    shift = hue[..., None] * 6
    ramp = jnp.concatenate(
        [jnp.abs(shift - 3) - 1, 2 - jnp.abs(shift - 2), 2 - jnp.abs(shift - 4)], -1
    )
    ramp = jnp.clip(ramp, 0, 1)
    return (1 + (ramp - 1) * saturation[..., None]) * value[..., None]


def _hue(x: Any, delta: Any) -> Any:
    hsv = _to_hsv(x)
    return _to_rgb(hsv.at[..., 0].set(jnp.mod(hsv[..., 0] + delta, 1)))


def _saturation(x: Any, factor: Any) -> Any:
    hsv = _to_hsv(x)
    return _to_rgb(hsv.at[..., 1].set(jnp.clip(hsv[..., 1] * factor, 0, 1)))


TABLE: dict[str, Callable[..., Any]] = {
    "AdjustContrastv2": _contrast,
    "AdjustHue": _hue,
    "AdjustSaturation": _saturation,
    "RGBToHSV": _to_hsv,
    "HSVToRGB": _to_rgb,
}

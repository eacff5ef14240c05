"""Images that are read between their points: grids, regions, areas; NCHW unless it is said."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.meaning.arrays import ints

_MODES = {0: "bilinear", 1: "nearest", "linear": "bilinear"}
_PADDINGS = {0: "zeros", 1: "border", 2: "reflection"}


def _unnormalized(place: Any, size: int, align: bool) -> Any:
    """Positions between -1 and 1 as those of points."""
    return (place + 1) / 2 * (size - 1) if align else ((place + 1) * size - 1) / 2


def _reflected(place: Any, size: int, align: bool) -> Any:
    low, span = (0.0, size - 1) if align else (-0.5, size)
    if span == 0:
        return jnp.zeros_like(place)
    away = jnp.abs(place - low)
    rest, flips = jnp.fmod(away, span), jnp.floor(away / span)
    return jnp.where(flips % 2 == 0, rest + low, span - rest + low)


def _placed(place: Any, size: int, padding: str, align: bool) -> Any:
    place = _unnormalized(place, size, align)
    if padding == "border":
        return jnp.clip(place, 0, size - 1)
    if padding == "reflection":
        return jnp.clip(_reflected(place, size, align), 0, size - 1)
    return place


def read(x: Any, index: Sequence[Any]) -> Any:
    """The points of an image ``[C, ...]`` at positions, one array an axis; 0 outside."""
    inside: Any = True
    safe = []
    for k, place in enumerate(index):
        size = x.shape[1 + k]
        inside = inside & (place >= 0) & (place < size)
        safe.append(jnp.clip(place, 0, size - 1))
    return jnp.where(inside, x[(slice(None), *safe)], jnp.zeros((), x.dtype))


def linear(x: Any, places: Sequence[Any]) -> Any:
    """An image ``[C, ...]`` between its points; points outside are 0."""
    low = [jnp.floor(place) for place in places]
    out: Any = 0
    for corner in itertools.product((0, 1), repeat=len(places)):
        weight: Any = 1
        for side, place, base in zip(corner, places, low, strict=True):
            weight = weight * (place - base if side else 1 - (place - base))
        index = [(base + side).astype(jnp.int32) for base, side in zip(low, corner, strict=True)]
        out = out + read(x, index) * weight
    return out.astype(x.dtype)


def _grid_sample(
    x: Any, grid: Any, mode: Any = 0, padding: Any = 0, align_corners: bool = False
) -> Any:
    mode, padding = _MODES.get(mode, mode), _PADDINGS.get(padding, padding)
    rank = x.ndim - 2

    def one(x: Any, grid: Any) -> Any:
        places = [  # the grid has the last axis first
            _placed(grid[..., rank - 1 - k], x.shape[1 + k], padding, align_corners)
            for k in range(rank)
        ]
        if mode == "nearest":
            return read(x, [jnp.round(place).astype(jnp.int32) for place in places])
        return linear(x, places)

    return jax.vmap(one)(x, grid)


def _affine_grid(theta: Any, size: Any, *, align_corners: bool = False) -> Any:
    *_, sizes = [ints(size)[2:]]

    def along(n: int) -> Any:
        line = jnp.linspace(-1, 1, n, dtype=theta.dtype) if n > 1 else jnp.zeros(1, theta.dtype)
        return line if align_corners else line * ((n - 1) / n)

    places = jnp.meshgrid(*map(along, sizes), indexing="ij")
    points = jnp.stack([*places[::-1], jnp.ones(sizes, theta.dtype)], -1)
    return jnp.einsum("...p,nqp->n...q", points, theta)


def _crop_and_resize(
    images: Any, boxes: Any, index: Any, size: Any, *, method: str = "bilinear",
    extrapolation_value: float = 0.0,
) -> Any:  # fmt: skip
    """Crop boxes, which are parts of the height and width, out of NHWC images, and resize them."""
    rows, columns = ints(size)
    sides = images.shape[1:3]
    if method not in ("bilinear", "nearest"):
        raise MindIRError(f"CropAndResize by {method}: bilinear and nearest are supported")

    def line(low: Any, high: Any, n: int, side: int) -> Any:
        if n == 1:
            return jnp.reshape(0.5 * (low + high) * (side - 1), (1,))
        return low * (side - 1) + jnp.arange(n) * ((high - low) * (side - 1) / (n - 1))

    def one(box: Any, k: Any) -> Any:
        image = jnp.moveaxis(images[k].astype(jnp.float32), -1, 0)
        y, x = line(box[0], box[2], rows, sides[0]), line(box[1], box[3], columns, sides[1])
        y, x = jnp.meshgrid(y, x, indexing="ij")
        inside = (y >= 0) & (y <= sides[0] - 1) & (x >= 0) & (x <= sides[1] - 1)
        if method == "nearest":
            out = read(image, [jnp.round(y).astype(jnp.int32), jnp.round(x).astype(jnp.int32)])
        else:
            out = linear(image, [y, x])
        return jnp.moveaxis(jnp.where(inside, out, extrapolation_value), 0, -1)

    return jax.vmap(one)(boxes, index)


def _roi_align(
    x: Any, rois: Any, *, pooled_height: int, pooled_width: int, spatial_scale: float,
    sample_num: int = 2, roi_end_mode: int = 1,
) -> Any:  # fmt: skip
    """The means of bilinear samples of each bin of each region."""
    if sample_num <= 0:
        raise MindIRError("ROIAlign with sample_num 0 takes as many samples as the region is large")
    bins = (pooled_height, pooled_width)

    def line(low: Any, high: Any, n: int) -> Any:
        length = (high - low) / n
        at = jnp.arange(n)[:, None] + (jnp.arange(sample_num) + 0.5) / sample_num
        return low + jnp.ravel(at) * length

    def one(roi: Any) -> Any:
        image = x[roi[0].astype(jnp.int32)]
        x1, y1 = roi[1] * spatial_scale, roi[2] * spatial_scale
        end = 1 if roi_end_mode == 1 else 0
        x2, y2 = (roi[3] + end) * spatial_scale, (roi[4] + end) * spatial_scale
        if roi_end_mode == 0:
            x2, y2 = jnp.maximum(x2, x1 + 1), jnp.maximum(y2, y1 + 1)
        y, columns = jnp.meshgrid(line(y1, y2, bins[0]), line(x1, x2, bins[1]), indexing="ij")
        height, width = image.shape[1:]
        out = (y < -1) | (y > height) | (columns < -1) | (columns > width)
        inside = [jnp.clip(y, 0, height - 1), jnp.clip(columns, 0, width - 1)]
        values = jnp.where(out, 0, linear(image, inside))
        values = jnp.reshape(values, (-1, bins[0], sample_num, bins[1], sample_num))
        return jnp.mean(values, (2, 4)).astype(x.dtype)

    return jax.vmap(one)(rois)


def _area(n: int, out: int, align: bool) -> np.ndarray:
    """The share of each of ``n`` points in each of ``out`` intervals, of which 1 is the sum."""
    step = (n - 1) / (out - 1) if align and out > 1 else n / out
    starts, points = np.arange(out)[:, None] * step, np.arange(n)
    ends = np.minimum(starts + step, n)
    share = np.clip(np.minimum(points + 1, ends) - np.maximum(points, starts), 0, None)
    return share / share.sum(1, keepdims=True)


def _resize_area(images: Any, size: Any, *, align_corners: bool = False) -> Any:
    rows, columns = (
        jnp.asarray(_area(n, out, align_corners), jnp.float32)
        for n, out in zip(images.shape[1:3], ints(size), strict=True)
    )
    return jnp.einsum("nhwc,ph,qw->npqc", images.astype(jnp.float32), rows, columns)


TABLE: dict[str, Callable[..., Any]] = {
    "GridSampler2D": _grid_sample,
    "GridSampler3D": _grid_sample,
    "AffineGrid": _affine_grid,
    "CropAndResize": _crop_and_resize,
    "ROIAlign": _roi_align,
    "ResizeArea": _resize_area,
}

"""Resizing of images: nearest, linear and cubic along each spatial axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from msckpt_jax.graph.meaning.arrays import ints


def _positions(size: int, out: int, align: bool, half: bool, scale: float | None = None) -> Any:
    """The positions of ``out`` points among ``size`` points, in float32 like the kernels'."""
    place = np.arange(out, dtype=np.float32)
    if align:
        return place * np.float32((size - 1) / (out - 1) if out > 1 else 0)
    step = np.float32(size / out if scale is None else 1 / scale)
    return (place + np.float32(0.5)) * step - np.float32(0.5) if half else place * step


def _shape(axis: int, x: Any) -> list[int]:
    return [-1 if a == axis else 1 for a in range(x.ndim)]


def _linear(x: Any, axis: int, place: Any) -> Any:
    size = x.shape[axis]
    place = np.clip(place, 0, size - 1)
    low = np.floor(place).astype(np.int32)
    high = np.minimum(low + 1, size - 1)
    weight = np.reshape((place - low).astype(x.dtype), _shape(axis, x))
    return jnp.take(x, low, axis) * (1 - weight) + jnp.take(x, high, axis) * weight


def _cubic(x: Any, axis: int, place: Any, a: float, exclude: bool = False) -> Any:
    """Weigh four points by Keys' kernel; points outside are the edge's, or have no weight."""
    size, low = x.shape[axis], np.floor(place).astype(np.int32)
    weights, indices = [], []
    for offset in (-1, 0, 1, 2):
        d = np.abs(place - (low + offset))
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        index = low + offset
        inside = ((index >= 0) & (index < size)) | (not exclude)
        weights.append(np.where(d <= 1, near, np.where(d < 2, far, 0)) * inside)
        indices.append(np.clip(index, 0, size - 1))
    total = sum(weights) if exclude else 1
    return sum(
        jnp.take(x, index, axis) * np.reshape((weight / total).astype(x.dtype), _shape(axis, x))
        for index, weight in zip(indices, weights, strict=True)
    )


def _each(x: Any, sizes: Sequence[int], fn: Callable[..., Any]) -> Any:
    """Resize the last axes in turn."""
    for k, out in enumerate(sizes):
        axis = x.ndim - len(sizes) + k
        x = fn(x, axis, x.shape[axis], out, k)
    return x


def _bilinear(x: Any, size: Any, align_corners: bool = False, half_pixel_centers: bool = False):
    return _each(x, ints(size), lambda x, axis, n, out, k: _linear(
        x, axis, _positions(n, out, align_corners, half_pixel_centers)))  # fmt: skip


def _bicubic(x: Any, size: Any, align_corners: bool = False, half_pixel_centers: bool = False):
    """Resize as TensorFlow: 1024 steps between points, another kernel and edge for half pixels."""

    def along(x: Any, axis: int, n: int, out: int, k: int) -> Any:
        place = _positions(n, out, align_corners, half_pixel_centers)
        low = np.floor(place)
        place = low + np.round((place - low) * 1024) / np.float32(1024)
        a = -0.5 if half_pixel_centers else -0.75
        return _cubic(x, axis, place, a, exclude=half_pixel_centers)

    return _each(x, ints(size), along)


def _nearest_index(n: int, out: int, align: bool, half: bool) -> Any:
    if align:
        place = np.floor(_positions(n, out, True, False) + np.float32(0.5))  # C's round
    else:
        step = np.float32(n / out)
        place = np.floor((np.arange(out, dtype=np.float32) + (0.5 if half else 0)) * step)
    return np.clip(place, 0, n - 1).astype(np.int32)


def _nearest(x: Any, size: Any, align_corners: bool = False, half_pixel_centers: bool = False):
    return _each(x, ints(size), lambda x, axis, n, out, k: jnp.take(
        x, _nearest_index(n, out, align_corners, half_pixel_centers), axis))  # fmt: skip


def _linear_1d(x: Any, size: Any, coordinate_transformation_mode: int = 1) -> Any:
    mode = coordinate_transformation_mode
    return _bilinear(x, ints(size), mode == 1, mode == 2)


def _sizes(x: Any, rank: int, output_size: Any, scales: Any) -> tuple[Any, Any]:
    if output_size is not None:
        return ints(output_size), [None] * rank
    spatial = x.shape[x.ndim - rank :]
    return [int(n * s) for n, s in zip(spatial, scales, strict=True)], scales


def _upsample_linear(rank: int) -> Callable[..., Any]:
    def run(x: Any, output_size: Any = None, scales: Any = None, align_corners: bool = False):
        sizes, factors = _sizes(x, rank, output_size, scales)
        return _each(x, sizes, lambda x, axis, n, out, k: _linear(
            x, axis, _positions(n, out, align_corners, True, factors[k])))  # fmt: skip

    return run


def _upsample_cubic(
    x: Any, output_size: Any = None, scales: Any = None, align_corners: bool = False
):
    sizes, factors = _sizes(x, 2, output_size, scales)
    return _each(x, sizes, lambda x, axis, n, out, k: _cubic(
        x, axis, _positions(n, out, align_corners, True, factors[k]), -0.75))  # fmt: skip


def _upsample_nearest(rank: int) -> Callable[..., Any]:
    def run(x: Any, output_size: Any = None, scales: Any = None) -> Any:
        sizes, factors = _sizes(x, rank, output_size, scales)

        def along(x: Any, axis: int, n: int, out: int, k: int) -> Any:
            step = np.float32(n / out if factors[k] is None else 1 / factors[k])
            place = np.floor(np.arange(out, dtype=np.float32) * step)
            return jnp.take(x, np.clip(place, 0, n - 1).astype(np.int32), axis)

        return _each(x, sizes, along)

    return run


TABLE: dict[str, Callable[..., Any]] = {
    "ResizeBilinearV2": _bilinear,
    "ResizeBicubic": _bicubic,
    "ResizeNearestNeighbor": _nearest,
    "ResizeNearestNeighborV2": _nearest,
    "ResizeLinear1D": _linear_1d,
    "UpsampleLinear1D": _upsample_linear(1),
    "UpsampleBilinear2D": _upsample_linear(2),
    "UpsampleTrilinear3D": _upsample_linear(3),
    "UpsampleBicubic2D": _upsample_cubic,
    **{f"UpsampleNearest{n}D": _upsample_nearest(n) for n in (1, 2, 3)},
}

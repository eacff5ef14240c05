"""Pooling over fixed and adaptive windows, and patches; images are NCHW (or NCDHW, NCL)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.meaning import positions
from msckpt_jax.graph.meaning.convolution import trailing


class Windows:
    """The windows of a pooling: size, step, padding and spread along each spatial axis.

    ``extra`` is the padding after the end that rounding up adds; it counts in no window.
    """

    def __init__(
        self, x: Any, kernel: Any, stride: Any, pads: Any, dilation: Any = 1, ceil: bool = False
    ):
        rank = self.rank = x.ndim - 2
        self.sizes = x.shape[2:]
        self.kernel = trailing(kernel, rank)
        self.stride = trailing(stride, rank) if stride else self.kernel
        self.dilation = trailing(dilation, rank)
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        if pads == "SAME":
            pads = lax.padtype_to_pads(self.sizes, reach, self.stride, "SAME")
        self.pads = [(0, 0)] * rank if pads == "VALID" else [(int(a), int(b)) for a, b in pads]
        self.extra = [0] * rank
        for k, (size, step) in enumerate(zip(self.sizes, self.stride, strict=True)):
            low, high = self.pads[k]
            over = (size + low + high - reach[k]) % step
            last = (size + low + high - reach[k]) // step + 1  # the window that rounding up adds
            if ceil and over and last * step < size + low:
                self.extra[k] = step - over

    def reduce(self, x: Any, start: Any, fn: Callable[..., Any]) -> Any:
        pads = [(a, b + e) for (a, b), e in zip(self.pads, self.extra, strict=True)]
        return lax.reduce_window(
            x, start, fn, (1, 1, *self.kernel), (1, 1, *self.stride), [(0, 0), (0, 0), *pads],
            window_dilation=(1, 1, *self.dilation),
        )  # fmt: skip

    def counts(self, padding: bool) -> Any:
        """The number of elements of each window, with or without those of the padding."""
        per_axis = []
        for k, size in enumerate(self.sizes):
            (low, high), step = self.pads[k], self.stride[k]
            total = size + low + high
            n = (total + self.extra[k] - self.kernel[k]) // step + 1
            start = np.arange(n) * step - low
            first, last = (-low, size + high) if padding else (0, size)
            per_axis.append(np.minimum(start + self.kernel[k], last) - np.maximum(start, first))
        return reduce(np.multiply.outer, per_axis)


def lowest(x: Any) -> Any:
    """The smallest number of a dtype."""
    if jnp.issubdtype(x.dtype, jnp.floating):
        return np.array(-np.inf, x.dtype)
    return np.array(jnp.iinfo(x.dtype).min, x.dtype)


def _max(x: Any, windows: Windows) -> Any:
    return windows.reduce(x, lowest(x), lax.max)


def _argmax(x: Any, windows: Windows) -> Any:
    """The position of each window's first maximum, counted through the spatial axes."""
    count = int(np.prod(windows.sizes))
    place = jnp.broadcast_to(
        jnp.reshape(jnp.arange(count, dtype=jnp.int32), windows.sizes), x.shape
    )

    def better(a: Any, b: Any) -> Any:
        first = (a[0] > b[0]) | ((a[0] == b[0]) & (a[1] < b[1]))
        return jnp.where(first, a[0], b[0]), jnp.where(first, a[1], b[1])

    start = (lowest(x), np.array(count, np.int32))
    return windows.reduce((lax.stop_gradient(x), place), start, better)[1]


def _mean(x: Any, windows: Windows, padding: bool = True, divisor: Any = None) -> Any:
    total = windows.reduce(x, np.zeros((), x.dtype), lax.add)
    if divisor:
        return total / divisor
    counts = windows.counts(padding)
    return total / (counts.flat[0] if (counts == counts.flat[0]).all() else counts.astype(x.dtype))


def _mode(pad_mode: Any, pad: Any = 0) -> Any:
    mode = str({0: "pad", 1: "same", 2: "valid"}.get(pad_mode, pad_mode)).upper()
    if mode in ("SAME", "VALID"):
        return mode
    return [(pad[k], pad[k + 1]) for k in range(0, len(pad), 2)]


def _check(format: Any) -> None:
    if format not in (None, 0, "NCHW", "NCDHW"):
        raise MindIRError(f"pooling in the format {format}: only NCHW is supported")


def _max_pool(
    x: Any, *, kernel_size: Any, strides: Any, pad_mode: Any = "VALID", pad_list: Any = (),
    ceil_mode: Any = 0, format: Any = None, data_format: Any = None,
) -> Any:  # fmt: skip
    _check(format or data_format)
    return _max(x, Windows(x, kernel_size, strides, _mode(pad_mode, pad_list), 1, bool(ceil_mode)))


def _avg_pool(
    x: Any, kernel_size: Any, strides: Any, pad_mode: Any = 2, data_format: Any = 0
) -> Any:
    _check(data_format)
    return _mean(x, Windows(x, kernel_size, strides, _mode(pad_mode)), False)


def _avg_pool_3d(
    x: Any, *, kernel_size: Any, strides: Any, pad_mode: Any = "valid", pad: Any = 0,
    pad_list: Any = (), ceil_mode: Any = False, count_include_pad: Any = True,
    divisor_override: Any = 0, format: Any = None,
) -> Any:  # fmt: skip
    _check(format)
    pads = _mode(pad_mode, pad_list or ((pad,) * 6 if isinstance(pad, int) else pad))
    windows = Windows(x, kernel_size, strides, pads, 1, bool(ceil_mode))
    return _mean(x, windows, bool(count_include_pad), divisor_override)


def _symmetric(padding: Any, rank: int) -> list[tuple[int, int]]:
    return [(p, p) for p in trailing(padding, rank)]


def with_argmax(
    x: Any, kernel_size: Any, strides: Any, pads: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, argmax_type: Any = jnp.int32,
) -> Any:  # fmt: skip
    """The maxima of windows and their positions; ``pads`` are numbers, "SAME" or "VALID"."""
    pads = pads if isinstance(pads, str) else _symmetric(pads, x.ndim - 2)
    windows = Windows(x, kernel_size, strides, pads, dilation, ceil_mode)
    return _max(x, windows), _argmax(x, windows).astype(argmax_type)


def _with_argmax_3d(
    x: Any, *, ksize: Any, strides: Any, pads: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    argmax_type: Any = None, format: Any = None,
) -> Any:  # fmt: skip
    _check(format)
    return with_argmax(x, ksize, strides, pads, dilation, ceil_mode)


def _with_argmax_v2(
    x: Any, *, kernel_size: Any, strides: Any, pads: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, argmax_type: int = 4,
) -> Any:  # fmt: skip
    out, index = with_argmax(x, kernel_size, strides, pads, dilation, ceil_mode)
    wanted = np.int32 if argmax_type == 3 else np.int64  # the operator's own numbers
    return out, index.astype(jax.dtypes.canonicalize_dtype(wanted))


def _func_max_pool(
    x: Any, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    return _batched(x, 2, partial(with_argmax, kernel_size=kernel, strides=stride, pads=padding,
                                  dilation=dilation, ceil_mode=ceil_mode))  # fmt: skip


def _avg_ext(rank: int) -> Callable[..., Any]:
    def run(
        x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: Any = None,
    ) -> Any:  # fmt: skip
        def pool(x: Any) -> Any:
            windows = Windows(x, kernel_size, stride, _symmetric(padding, rank), 1, ceil_mode)
            return _mean(x, windows, count_include_pad, divisor_override)

        return _batched(x, rank, pool)

    return run


def _batched(x: Any, rank: int, pool: Callable[..., Any]) -> Any:
    """Pool a batch or, as PyTorch's operators can, a single image."""
    if x.ndim == rank + 2:
        return pool(x)
    out = pool(x[None])
    return tuple(part[0] for part in out) if isinstance(out, tuple) else out[0]


def _bounds(size: int, out: int) -> list[tuple[int, int]]:
    return [(k * size // out, -(-(k + 1) * size // out)) for k in range(out)]


def _targets(x: Any, output_size: Any, rank: int) -> list[int]:
    wanted = (output_size,) * rank if isinstance(output_size, int) else output_size
    sizes = x.shape[x.ndim - rank :]
    return [n if w is None or w < 0 else w for w, n in zip(wanted, sizes, strict=True)]


def _adaptive_mean(x: Any, output_size: Any, rank: int) -> Any:
    """Pool along each axis in turn: the mean over a box is the mean of means."""
    dtype = x.dtype
    for k, out in enumerate(_targets(x, output_size, rank)):
        axis = x.ndim - rank + k
        size = x.shape[axis]
        if size % out == 0:
            shape = (*x.shape[:axis], out, size // out, *x.shape[axis + 1 :])
            x = jnp.mean(jnp.reshape(x, shape), axis + 1)
        else:
            parts = [lax.slice_in_dim(x, a, b, axis=axis) for a, b in _bounds(size, out)]
            x = jnp.concatenate([jnp.mean(p, axis, keepdims=True) for p in parts], axis)
    return x.astype(dtype)


def _adaptive_max(x: Any, output_size: Any, rank: int) -> Any:
    """The maxima of boxes, and their positions, counted through the spatial axes."""
    targets, sizes = _targets(x, output_size, rank), x.shape[x.ndim - rank :]
    values, index = [], []
    for box in itertools.product(*map(_bounds, sizes, targets)):
        part = x[(..., *(slice(start, stop) for start, stop in box))]
        flat = jnp.reshape(part, (*part.shape[: x.ndim - rank], -1))
        place = jnp.unravel_index(positions.argmax(flat, -1), part.shape[x.ndim - rank :])
        values.append(jnp.max(flat, -1))
        index.append(sum_of_places([p + start for p, (start, _) in zip(place, box, strict=True)],
                                   sizes))  # fmt: skip
    shape = (*x.shape[: x.ndim - rank], *targets)
    return tuple(jnp.reshape(jnp.stack(part, -1), shape) for part in (values, index))


def sum_of_places(places: Sequence[Any], sizes: Sequence[int]) -> Any:
    """The position in flat order of a position an axis."""
    flat: Any = 0
    for place, size in zip(places, sizes, strict=True):
        flat = flat * size + place
    return flat.astype(jnp.int32)


def _adaptive(fn: Callable[..., Any], rank: int) -> Callable[..., Any]:
    return lambda x, output_size: fn(x, output_size, rank)


def _patches(
    x: Any, kernel: Any, stride: Any, pads: Sequence[tuple[int, int]], dilation: Any
) -> Any:
    """The patches as [N, C * kh * kw, positions]; the channel varies slowest."""
    out = lax.conv_general_dilated_patches(
        x, trailing(kernel, 2), trailing(stride, 2), list(pads), rhs_dilation=trailing(dilation, 2)
    )
    return jnp.reshape(out, (*out.shape[:2], -1))


def _im2col(
    x: Any, *, ksizes: Any, strides: Any = 1, dilations: Any = 1, pads: Any = 0,
    padding_mode: str = "CALCULATED",
) -> Any:  # fmt: skip
    if padding_mode != "CALCULATED":
        raise MindIRError(f"Im2Col with padding_mode {padding_mode}: only CALCULATED is supported")
    out = _patches(x, ksizes, strides, _symmetric(pads, 2), dilations)
    return jnp.reshape(out, (x.shape[0], x.shape[1], -1, out.shape[-1]))


def _im2col_ext(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1):
    return _patches(x, kernel_size, stride, _symmetric(padding, 2), dilation)


TABLE: dict[str, Callable[..., Any]] = {
    "MaxPool": _max_pool,
    "MaxPool3D": _max_pool,
    "MaxPoolWithMask": with_argmax,
    "MaxPoolWithIndices": with_argmax,
    "MaxPoolWithArgmaxV2": _with_argmax_v2,
    "MaxPool3DWithArgmax": _with_argmax_3d,
    "FuncMaxPool2D": _func_max_pool,
    "AvgPool": _avg_pool,
    "AvgPool3D": _avg_pool_3d,
    "AvgPool1D": _avg_ext(1),
    "AvgPool2D": _avg_ext(2),
    "AvgPool3DExt": _avg_ext(3),
    "AdaptiveAvgPool1D": _adaptive(_adaptive_mean, 1),
    "AdaptiveAvgPool2D": _adaptive(_adaptive_mean, 2),
    "AdaptiveAvgPool2DExt": _adaptive(_adaptive_mean, 2),
    "AdaptiveAvgPool3D": _adaptive(_adaptive_mean, 3),
    "AdaptiveAvgPool3DExt": _adaptive(_adaptive_mean, 3),
    "AdaptiveMaxPool1D": _adaptive(_adaptive_max, 1),
    "AdaptiveMaxPool2D": _adaptive(_adaptive_max, 2),
    "AdaptiveMaxPool3D": _adaptive(_adaptive_max, 3),
    "Im2Col": _im2col,
    "Im2ColExt": _im2col_ext,
}

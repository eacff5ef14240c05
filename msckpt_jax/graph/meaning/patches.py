"""Patches put back, positions of maxima undone, grey dilation, and pools in other forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.meaning import pooling
from msckpt_jax.graph.meaning.arrays import ints
from msckpt_jax.graph.meaning.convolution import trailing


def _col2im(
    x: Any, size: Any, *, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Any:
    """Add patches ``[N, C, kh * kw, positions]`` up to images of a size."""
    kernel, spread, pads, step = (trailing(v, 2) for v in (kernel_size, dilation, padding, stride))
    height, width = ints(size)
    counts = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip((height, width), pads, spread, kernel, step, strict=True)
    ]
    parts = jnp.reshape(x, (*x.shape[:2], *kernel, *counts))
    out = jnp.zeros((*x.shape[:2], height + 2 * pads[0], width + 2 * pads[1]), x.dtype)
    for i in range(kernel[0]):
        rows = slice(i * spread[0], i * spread[0] + step[0] * (counts[0] - 1) + 1, step[0])
        for j in range(kernel[1]):
            columns = slice(j * spread[1], j * spread[1] + step[1] * (counts[1] - 1) + 1, step[1])
            out = out.at[:, :, rows, columns].add(parts[:, :, i, j])
    return out[:, :, pads[0] : pads[0] + height, pads[1] : pads[1] + width]


def _col2im_ext(
    x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Any:
    single = x.ndim == 2
    x = x[None] if single else x
    taps = int(np.prod(trailing(kernel_size, 2)))
    x = jnp.reshape(x, (x.shape[0], -1, taps, x.shape[-1]))
    out = _col2im(x, output_size, kernel_size=kernel_size, dilation=dilation, padding=padding,
                  stride=stride)  # fmt: skip
    return out[0] if single else out


def _unpool(x: Any, places: Any, sizes: Sequence[int]) -> Any:
    """Put numbers at flat positions of images of a size; everything else is 0."""
    lead = x.shape[: x.ndim - len(sizes)]
    flat = jnp.zeros((int(np.prod(lead)), int(np.prod(sizes))), x.dtype)
    rows = jnp.arange(flat.shape[0])[:, None]
    places = jnp.reshape(places, (flat.shape[0], -1))
    out = flat.at[rows, places].set(jnp.reshape(x, places.shape))
    return jnp.reshape(out, (*lead, *sizes))


def _max_unpool(rank: int) -> Callable[..., Any]:
    def run(
        x: Any, argmax: Any, *, ksize: Any, strides: Any = 0, pads: Any = 0, output_shape: Any = (),
        data_format: str = "NC",
    ) -> Any:  # fmt: skip
        if not data_format.startswith("NC"):
            raise MindIRError(f"MaxUnpool in the format {data_format}: only NCHW is supported")
        kernel, pad = trailing(ksize, rank), trailing(pads, rank)
        step = trailing(strides, rank)
        step = kernel if not any(step) else step
        sizes = [
            (n - 1) * s - 2 * p + k
            for n, s, p, k in zip(x.shape[2:], step, pad, kernel, strict=True)
        ]
        return _unpool(x, argmax, output_shape[2:] if output_shape else sizes)

    return run


def _max_unpool_ext(
    x: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Any:  # fmt: skip
    kernel, pad = trailing(kernel_size, 2), trailing(padding, 2)
    step = trailing(stride, 2) if stride else kernel
    sizes = [
        (n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[-2:], step, pad, kernel, strict=True)
    ]
    return _unpool(x, indices, tuple(output_size)[-2:] if output_size else sizes)


def _dilation(
    x: Any, kernel: Any, *, stride: Any, dilation: Any, pad_mode: str = "SAME",
    data_format: str = "NCHW",
) -> Any:  # fmt: skip
    """The maxima of sums with a kernel; outside of the image is nothing."""
    if data_format != "NCHW":
        raise MindIRError(f"Dilation2D in the format {data_format}: only NCHW is supported")
    step, spread = trailing(stride, 2), trailing(dilation, 2)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel.shape[1:], spread, strict=True)]
    pads = lax.padtype_to_pads(x.shape[2:], reach, step, pad_mode.upper())
    low = pooling.lowest(x)
    x = lax.pad(x, low, [(0, 0, 0), (0, 0, 0), *((a, b, 0) for a, b in pads)])
    counts = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, step, strict=True)]
    best: Any = None
    for i in range(kernel.shape[1]):
        for j in range(kernel.shape[2]):
            at = (i * spread[0], j * spread[1])
            ends = [a + s * (n - 1) + 1 for a, s, n in zip(at, step, counts, strict=True)]
            part = x[:, :, at[0] : ends[0] : step[0], at[1] : ends[1] : step[1]]
            part = part + kernel[:, i, j][:, None, None]
            best = part if best is None else jnp.maximum(best, part)
    return best


def _volume_patches(x: Any, *, kernel_size: Any, strides: Any, padding: str) -> Any:
    out = lax.conv_general_dilated_patches(
        x, trailing(kernel_size, 3), trailing(strides, 3), padding.upper(),
        dimension_numbers=("NCDHW", "OIDHW", "NCDHW"),
    )  # fmt: skip
    n, c = x.shape[:2]
    out = jnp.reshape(out, (n, c, -1, *out.shape[2:]))  # the channel varies fastest in the result
    return jnp.reshape(jnp.swapaxes(out, 1, 2), (n, -1, *out.shape[3:]))


def _image_patches(x: Any, ksizes: Any, strides: Any, rates: Any, padding: Any = 2) -> Any:
    mode = str({1: "same", 2: "valid"}.get(padding, padding)).upper()
    out = lax.conv_general_dilated_patches(
        x, trailing(ksizes, 2), trailing(strides, 2), mode, rhs_dilation=trailing(rates, 2)
    )
    n, c = x.shape[:2]
    out = jnp.reshape(out, (n, c, -1, *out.shape[2:]))
    return jnp.reshape(jnp.swapaxes(out, 1, 2), (n, -1, *out.shape[3:]))


def _pool_with_argmax(
    x: Any, *, kernel_size: Any = 1, strides: Any = 1, pad_mode: str = "valid",
    data_format: Any = "NCHW",
) -> Any:  # fmt: skip
    if data_format not in ("NCHW", 0):
        raise MindIRError(f"pooling in the format {data_format}: only NCHW is supported")
    kernel, step = _middle(kernel_size), _middle(strides)
    out, place = pooling.with_argmax(x, kernel, step, pad_mode.upper())
    channel = jnp.arange(x.shape[1], dtype=jnp.int32)[:, None, None]
    return out, place + channel * (x.shape[2] * x.shape[3])  # counted through the channels, too


def _middle(value: Any) -> tuple[int, ...]:
    """Height and width of an attribute that has 1 for the batch before them, for channels after."""
    value = ints(value)
    return value[1:3] if len(value) == 4 else trailing(value, 2)


def _fixed_pool(rank: int) -> Callable[..., Any]:
    """Pools whose windows begin where random numbers, which are an operand, say."""

    def run(x: Any, samples: Any, *, ksize: Any, output_shape: Any, data_format: Any = None) -> Any:
        kernel, out = trailing(ksize, rank), trailing(output_shape, rank)
        sizes = x.shape[-rank:]
        lead = x.shape[: x.ndim - rank]
        starts = []
        for k in range(rank):
            alpha = (sizes[k] - kernel[k]) / (out[k] - 1) if out[k] > 1 else 0
            # Samples are in the order width, height for images, depth first for volumes.
            u = samples[..., rank - 1 - k if rank == 2 else k]
            u = jnp.reshape(jnp.broadcast_to(u, lead), (*lead, 1)).astype(
                jnp.promote_types(u.dtype, jnp.float32)
            )
            steps = jnp.floor((jnp.arange(out[k]) + u) * alpha) - jnp.floor(u * alpha)
            last = jnp.arange(out[k]) == out[k] - 1
            starts.append(jnp.where(last, sizes[k] - kernel[k], steps).astype(jnp.int32))
        return _windows_max(x, starts, kernel, out)

    return run


def _windows_max(x: Any, starts: list[Any], kernel: Any, out: Any) -> Any:
    """The maxima of windows that begin at positions of their own, and where they are."""
    rank, lead = len(kernel), x.shape[: x.ndim - len(kernel)]
    sizes = x.shape[-rank:]
    flat: Any = 0
    for k in range(rank):
        at = starts[k][..., :, None] + jnp.arange(kernel[k])  # [lead, out, kernel]
        shape = [1] * (2 * rank)
        shape[k], shape[rank + k] = out[k], kernel[k]
        flat = flat * sizes[k] + jnp.reshape(at, (*lead, *shape))
    flat = jnp.reshape(flat, (*lead, -1, int(np.prod(kernel))))
    values = jnp.take_along_axis(jnp.reshape(x, (*lead, -1)), jnp.reshape(flat, (*lead, -1)), -1)
    values = jnp.reshape(values, flat.shape)
    best = jnp.argmax(values, -1, keepdims=True)
    pick = [jnp.reshape(jnp.take_along_axis(v, best, -1), (*lead, *out)) for v in (values, flat)]
    return pick[0], pick[1].astype(jnp.int32)


TABLE: dict[str, Callable[..., Any]] = {
    "Col2Im": _col2im,
    "Col2ImExt": _col2im_ext,
    "MaxUnpool2D": _max_unpool(2),
    "MaxUnpool3D": _max_unpool(3),
    "MaxUnpool2DExt": _max_unpool_ext,
    "Dilation2D": _dilation,
    "ExtractVolumePatches": _volume_patches,
    "ExtractImagePatches": _image_patches,
    "MaxPoolWithArgmax": _pool_with_argmax,
    "FractionalMaxPoolWithFixedKsize": _fixed_pool(2),
    "FractionalMaxPool3DWithFixedKsize": _fixed_pool(3),
}

"""Convolutions and their transposes: NCHW (or NCDHW, NCL), weights [out, in / group, ...]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from msckpt_jax.errors import MindIRError

_SPATIAL = ("H", "HW", "DHW")
_FORMATS = (None, "NCHW", "NCDHW", "NCL")


def trailing(value: Any, rank: int) -> tuple[int, ...]:
    """An attribute's entry for each spatial axis; a longer attribute has these entries last."""
    value = (value,) if isinstance(value, int) else tuple(value)
    return value * rank if len(value) == 1 else value[-rank:]


def _check(format: Any, mode: int) -> None:
    if format not in _FORMATS:
        raise MindIRError(f"a convolution in the format {format}: only NCHW is supported")
    if mode != 1:
        raise MindIRError(f"a convolution in mode {mode}: only 1, cross-correlation, is supported")


def _numbers(rank: int, transposed: bool) -> tuple[str, str, str]:
    axes = _SPATIAL[rank - 1]
    return f"NC{axes}", f"{'IO' if transposed else 'OI'}{axes}", f"NC{axes}"


def convolve(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """Convolve; ``padding`` is "SAME", "VALID" or pairs."""
    rank = x.ndim - 2
    stride = trailing(stride, rank)
    if groups == 1 and {*weight.shape[2:]} == {1} and not _pads(padding):
        out = _pointwise(x, weight, stride)
    else:
        out = lax.conv_general_dilated(
            x, weight, stride, padding, rhs_dilation=trailing(dilation, rank),
            dimension_numbers=_numbers(rank, False), feature_group_count=groups,
        )  # fmt: skip
    return out if bias is None else out + jnp.reshape(bias, (1, -1, *[1] * rank))


def _pointwise(x: Any, weight: Any, stride: tuple[int, ...]) -> Any:
    """Convolve by a kernel of a single place: a product, whose weights XLA need not transpose."""
    x = x[(..., *(slice(None, None, step) for step in stride))]
    kernel = jnp.reshape(weight, weight.shape[:2])
    return jnp.moveaxis(lax.dot_general(x, kernel, (((1,), (1,)), ((), ()))), -1, 1)


def _pads(padding: Any) -> bool:
    """Tell whether a kernel of a single place would see padding."""
    return not isinstance(padding, str) and any(map(any, padding))


def _padding(mode: Any, pad: Any, rank: int) -> Any:
    mode = str({0: "pad", 1: "same", 2: "valid"}.get(mode, mode)).upper()
    if mode in ("SAME", "VALID"):
        return mode
    if isinstance(pad, int):
        return [(pad, pad)] * rank
    return [(pad[2 * k], pad[2 * k + 1]) for k in range(rank)]


def conv(
    x: Any, weight: Any, *, stride: Any = 1, pad_mode: Any = "valid", pad: Any = 0,
    dilation: Any = 1, group: int = 1, format: Any = None, mode: int = 1, data_format: Any = None,
) -> Any:  # fmt: skip
    """Compute Conv2D; ``pad`` has two entries an axis."""
    _check(format or data_format, mode)
    return convolve(x, weight, None, stride, _padding(pad_mode, pad, x.ndim - 2), dilation, group)


def _conv_3d(
    x: Any, weight: Any, *, stride: Any = 1, pad_mode: Any = "valid", pad: Any = 0,
    dilation: Any = 1, group: int = 1, format: Any = None, mode: int = 1, data_format: Any = None,
    strides: Any = None, dilations: Any = None,
) -> Any:  # fmt: skip
    """Compute Conv3D, of which MindSpore's kernel reads the plurals."""
    stride, dilation = strides or stride, dilations or dilation
    return conv(x, weight, stride=stride, pad_mode=pad_mode, pad=pad, dilation=dilation,
                group=group, format=format, mode=mode, data_format=data_format)  # fmt: skip


def transposed(
    x: Any, weight: Any, size: Sequence[int], stride: Any, low: Sequence[int], dilation: Any,
    groups: int,
) -> Any:  # fmt: skip
    """The transpose of a convolution with padding ``low``, whose input had the size ``size``.

    ``weight`` has the shape [in, out / groups, ...] in terms of the transpose.
    """
    rank = x.ndim - 2
    stride, dilation = trailing(stride, rank), trailing(dilation, rank)
    pairs = []
    for k in range(rank):
        reach = (weight.shape[2 + k] - 1) * dilation[k]
        before = reach - low[k]
        grown = (x.shape[2 + k] - 1) * stride[k] + 1
        pairs.append((before, size[k] + reach - before - grown))
    if groups > 1:  # from [groups * in, out, ...] to [in, groups * out, ...]
        first, second, *rest = weight.shape
        weight = jnp.reshape(weight, (groups, first // groups, second, *rest))
        weight = jnp.reshape(jnp.moveaxis(weight, 0, 1), (first // groups, groups * second, *rest))
    return lax.conv_general_dilated(
        x, jnp.flip(weight, range(2, 2 + rank)), (1,) * rank, pairs, lhs_dilation=stride,
        rhs_dilation=dilation, dimension_numbers=_numbers(rank, True), feature_group_count=groups,
    )  # fmt: skip


def _back(
    x: Any, weight: Any, size: Any, *, stride: Any = 1, pad_mode: Any = "valid", pad: Any = 0,
    dilation: Any = 1, group: int = 1, format: Any = None, mode: int = 1,
) -> Any:  # fmt: skip
    """Compute Conv2DTranspose, or Conv2DBackpropInput; ``size`` is the shape of the result."""
    _check(format, mode)
    rank = x.ndim - 2
    sizes = tuple(int(s) for s in size)[-rank:]
    steps, spread = trailing(stride, rank), trailing(dilation, rank)
    padding = _padding(pad_mode, pad, rank)
    if padding == "SAME":
        whole = [
            max((x.shape[2 + k] - 1) * steps[k] + (weight.shape[2 + k] - 1) * spread[k] + 1
                - sizes[k], 0)
            for k in range(rank)
        ]  # fmt: skip
        low = [n // 2 for n in whole]
    else:
        low = [0] * rank if padding == "VALID" else [pair[0] for pair in padding]
    return transposed(x, weight, sizes, stride, low, dilation, group)


def _transpose_3d(
    x: Any, weight: Any, bias: Any = None, *, stride: Any = 1, pad_mode: Any = "valid",
    pad: Any = 0, dilation: Any = 1, group: int = 1, output_padding: Any = 0, format: Any = None,
    mode: int = 1,
) -> Any:  # fmt: skip
    _check(format, mode)
    rank = x.ndim - 2
    steps, spread, extra = (trailing(v, rank) for v in (stride, dilation, output_padding))
    padding = _padding(pad_mode, pad, rank)
    size, low = [], []
    for k in range(rank):
        reach = (weight.shape[2 + k] - 1) * spread[k] + 1
        full = (x.shape[2 + k] - 1) * steps[k] + reach
        if padding == "SAME":
            size.append(x.shape[2 + k] * steps[k])
            low.append(max(full - size[k], 0) // 2)
        else:
            a, b = (0, 0) if padding == "VALID" else padding[k]
            size.append(full - a - b + extra[k])
            low.append(a)
    out = transposed(x, weight, size, stride, low, dilation, group)
    return out if bias is None else out + jnp.reshape(bias, (1, -1, *[1] * rank))


def _conv_ext(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Any:  # fmt: skip
    """Convolve as PyTorch does: one padding an axis, with or without a batch axis."""
    rank = weight.ndim - 2
    pairs = [(p, p) for p in trailing(padding, rank)]
    if x.ndim == weight.ndim - 1:
        return convolve(x[None], weight, bias, stride, pairs, dilation, groups)[0]
    return convolve(x, weight, bias, stride, pairs, dilation, groups)


def _conv_padding(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 2, dilation: Any = 1,
    groups: int = 1,
) -> Any:  # fmt: skip
    return convolve(x, weight, bias, stride, _padding(padding, 0, x.ndim - 2), dilation, groups)


def _conv_transpose_ext(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    rank = weight.ndim - 2
    pairs = tuple(side for width in trailing(padding, rank) for side in (width, width))
    return _transpose_3d(
        x, weight, bias, stride=stride, pad_mode="pad", pad=pairs, dilation=dilation, group=groups,
        output_padding=output_padding,
    )  # fmt: skip


def _convolution(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int,
) -> Any:  # fmt: skip
    if transposed:
        return _conv_transpose_ext(
            x, weight, bias, stride, padding, output_padding, groups, dilation
        )
    return _conv_ext(x, weight, bias, stride, padding, dilation, groups)


TABLE: dict[str, Callable[..., Any]] = {
    "Conv2D": conv,
    "Conv3D": _conv_3d,
    "Conv2DTranspose": _back,
    "Conv2DBackpropInput": _back,
    "Conv3DTranspose": _transpose_3d,
    **{f"Conv{n}DExt": _conv_ext for n in (1, 2, 3)},
    **{f"Conv{n}DPadding": _conv_padding for n in (1, 2, 3)},
    "ConvTranspose2D": _conv_transpose_ext,
    "Convolution": _convolution,
}

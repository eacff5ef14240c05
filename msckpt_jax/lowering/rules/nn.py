"""Convolutions, pooling, and MindSpore's own operators that fusions have put into the jaxpr."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.lax import ConvDimensionNumbers

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph import operators
from msckpt_jax.graph.values import Const, Dim, Operand, Tensor
from msckpt_jax.lowering.canonical import canonicalise
from msckpt_jax.lowering.context import Array, Context
from msckpt_jax.lowering.rule import Rule, rule
from msckpt_jax.lowering.rules import softmax
from msckpt_jax.lowering.rules.elementwise import full, is_nan, shaped
from msckpt_jax.lowering.rules.shape import broadcast, ints, padded, reshaped


def _conv(
    ctx: Context,
    x: Array,
    kernel: Array,
    *,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    dimension_numbers: ConvDimensionNumbers,
    feature_group_count: int,
    batch_group_count: int,
) -> Array:
    rank, groups = len(ctx.result.shape), int(feature_group_count)
    canonical = (
        rank in (4, 5)
        and all(tuple(spec) == tuple(range(rank)) for spec in dimension_numbers)
        and all(d == 1 for d in lhs_dilation)
        and batch_group_count == 1
        and all(low >= 0 and high >= 0 for low, high in padding)
        and ctx.type(x).dtype == ctx.type(kernel).dtype == ctx.result.dtype
    )
    if not canonical:
        raise UnsupportedError("it must be NCHW or NCDHW, of one dtype, without dilated input")
    sizes = tuple(int(n) for n in ctx.type(kernel).shape[2:])  # type: ignore[arg-type]
    pads = [(int(low), int(high)) for low, high in padding]
    strides, dilations = _ints(window_strides), _ints(rhs_dilation)
    if rank == 4 and ctx.options.target == "cpu" and groups == 1 and math.prod(sizes) > 1:
        return _im2col(ctx, x, kernel, strides, dilations, pads)
    more = {
        "out_channel": int(ctx.type(kernel).shape[0]), "kernel_size": sizes, "mode": 1,
        "pad_mode": "pad", "pad": tuple(n for pad in pads for n in pad),
    }  # fmt: skip
    last = {"group": groups, "groups": groups}
    if rank == 4:
        attrs = {
            **more, "stride": (1, 1, *strides), "dilation": (1, 1, *dilations),
            "format": "NCHW", "data_format": "NCHW", **last,
        }  # fmt: skip
        return ctx("Conv2D", x, kernel, attrs=attrs)
    attrs = {
        **more, "strides": (1, 1, *strides), "dilations": (1, 1, *dilations),
        "format": "NCDHW", "data_format": "NCDHW", "offset_x": 0, **last,
    }  # fmt: skip
    return ctx("Conv3D", x, kernel, attrs=attrs)


def _im2col(
    ctx: Context,
    x: Array,
    kernel: Array,
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    pads: list[tuple[int, int]],
) -> Array:
    """Convolve by a product of matrices: Conv2D of several taps takes 30 to 160 times as long."""
    given = ctx.type(x)
    if any(low != high for low, high in pads):
        x = _padded(ctx, x, ctx.like(0, x), [(0, 0), (0, 0), *pads])
        pads = [(0, 0), (0, 0)]
    out, channels, *sizes = (int(n) for n in ctx.type(kernel).shape)  # type: ignore[arg-type]
    batch, _, high, wide = ctx.result.shape
    taps = math.prod(sizes)
    attrs = {
        "ksizes": tuple(sizes), "strides": strides, "dilations": dilations,
        "pads": tuple(low for low, _ in pads),
    }  # fmt: skip
    spots, dtype = _product(high, wide), given.dtype
    columns = ctx("Im2Col", x, attrs=attrs, type=Tensor(dtype, (batch, channels, taps, spots)))
    if batch == 1:
        matrix = reshaped(ctx, columns, (channels * taps, spots))
        flat = reshaped(ctx, kernel, (out, channels * taps))
        product = ctx("MatMul", flat, matrix, Const(False), Const(False),
                      type=Tensor(dtype, (out, spots)))  # fmt: skip
        return reshaped(ctx, product, ctx.result.shape)
    matrix = reshaped(ctx, columns, (batch, channels * taps, spots))
    flat = reshaped(ctx, kernel, (1, out, channels * taps))
    flat = broadcast(ctx, flat, (batch, out, channels * taps))
    product = ctx("BatchMatMul", flat, matrix, Const(False), Const(False),
                  type=Tensor(dtype, (batch, out, spots)))  # fmt: skip
    return reshaped(ctx, product, ctx.result.shape)


def _padded(ctx: Context, x: Array, value: Array, pads: Sequence[tuple[int, ...]]) -> Array:
    """Pad an array; MindSpore works out sizes that are computed of dynamic sizes."""
    shape = tuple(
        d + low + high if isinstance(d, int) else d if low == high == 0 else f"{d} + {low + high}"
        for d, (low, high) in zip(ctx.type(x).shape, pads, strict=True)
    )
    return padded(ctx, x, value, pads, shape)


class _Window(NamedTuple):
    """Sizes and strides on the last two axes, padding on all four."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    pads: list[tuple[int, ...]]


def _pool(pooled: Callable[[Context, Array, _Window], Array], *operators: str) -> Rule:
    """The rule of a ``reduce_window`` that has an operator."""

    def emit(
        ctx: Context,
        x: Array,
        *,
        window_dimensions: Sequence[int],
        window_strides: Sequence[int],
        padding: Sequence[Sequence[int]],
        base_dilation: Sequence[int],
        window_dilation: Sequence[int],
    ) -> Array:
        sizes, strides = _ints(window_dimensions), _ints(window_strides)
        pads = list(map(_ints, padding))
        ones = (*base_dilation, *window_dilation, *sizes[:2], *strides[:2])
        if len(sizes) != 4 or any(n != 1 for n in ones) or any(pads[0] + pads[1]):
            raise UnsupportedError("it must be on the last two of four axes, without dilation")
        return pooled(ctx, x, _Window(sizes[2:], strides[2:], pads))

    return rule(emit, *operators)


def _max_pool(ctx: Context, x: Array, window: _Window) -> Array:
    filled = _padded(ctx, x, ctx.like(-np.inf, x), window.pads)
    attrs = {
        "kernel_size": (1, 1, *window.sizes), "strides": (1, 1, *window.strides),
        "pad_mode": "VALID", "format": "NCHW", "data_format": "NCHW",
    }  # fmt: skip
    result = ctx("MaxPool", filled, attrs=attrs)
    if not ctx.options.guarded:
        return result
    # MindSpore's and onnxruntime's lose NaN: pool the places where they are.
    marks = ctx.cast(is_nan(ctx, x), ctx.result.dtype)
    marks = _padded(ctx, marks, ctx.like(0, x), window.pads)
    some = ctx("MaxPool", marks, attrs=attrs)
    some = ctx("Greater", some, ctx.like(0, x), type=shaped(ctx))
    return ctx("Select", some, full(ctx, ctx.like(np.nan, x)), result)


def _min_pool(ctx: Context, x: Array, window: _Window) -> Array:
    return ctx("Neg", _max_pool(ctx, ctx("Neg", x, type=ctx.type(x)), window))


def _sum_pool(ctx: Context, x: Array, window: _Window) -> Array:
    """The mean times the number of elements; zeros are padded before, as SAME leaves them out.

    In float16 the mean would be rounded before it is multiplied.
    """
    type = ctx.result
    x = _padded(ctx, x, ctx.like(0, x), window.pads)
    if ctx.options.kernels and type.dtype == np.float64:
        return _sum_of_columns(ctx, x, window)
    if ctx.options.kernels and type.dtype.itemsize == 2:
        x, type = ctx.cast(x, np.float32), Tensor(np.dtype(np.float32), type.shape)
    valid, nchw = Const(2), Const(0)
    mean = ctx("AvgPool", x, ints(*window.sizes), ints(*window.strides), valid, nchw, type=type)
    total = ctx("Mul", mean, ctx.like(math.prod(window.sizes), x), type=type)
    return ctx.cast(total, ctx.result.dtype)


def _sum_of_columns(ctx: Context, x: Array, window: _Window) -> Array:
    """The sum of the elements of each window, laid out: MindSpore's AvgPool computes in float32."""
    *batch, high, wide = ctx.result.shape
    spots, dtype = _product(high, wide), ctx.result.dtype
    ones = (1, 1)
    attrs = {"ksizes": window.sizes, "strides": window.strides, "dilations": ones, "pads": (0, 0)}
    laid_out = Tensor(dtype, (*batch, math.prod(window.sizes), spots))
    columns = ctx("Im2Col", x, attrs=attrs, type=laid_out)
    total = Tensor(dtype, (*batch, spots))
    summed = ctx("ReduceSum", columns, ints(2), Const(False), Const(False), type=total)
    return reshaped(ctx, summed, ctx.result.shape)


def _product(x: Dim, y: Dim) -> Dim:
    return x * y if isinstance(x, int) and isinstance(y, int) else f"({x})*({y})"


def _ints(numbers: Sequence[Any]) -> tuple[int, ...]:
    return tuple(map(int, numbers))


def _ms_op(
    ctx: Context,
    *operands: Array,
    op: str,
    attrs: tuple[tuple[str, Any], ...],
    reference: Callable[..., Any],
) -> list[Array]:
    """Emit MindSpore's operator; its arguments are inputs, or attributes where it is undefined."""
    definition = operators.definition(op)
    if definition is None:
        return list(ctx.several(op, *operands, types=ctx.results, attrs=dict(attrs)))
    inputs: list[Operand] = [*operands, *(_argument(value) for _, value in attrs)]
    if len(inputs) != len(definition.arguments):
        names = [argument.name for argument in definition.arguments]
        raise UnsupportedError(f"{op} takes {len(names)} arguments, {names}, not {len(inputs)}")
    if not ctx.can(op, inputs, ctx.results[:1]):
        return _spelt_out(ctx, reference, operands)
    if ctx.options.kernels and op in softmax.RULES:
        return [softmax.RULES[op](ctx, *operands, **dict(attrs))]
    types = [*ctx.results, *_MORE.get(op, lambda *_: [])(ctx.result, *map(ctx.type, operands))]
    return [*ctx.several(op, *inputs, types=types)[: len(ctx.results)]]


def _spelt_out(
    ctx: Context, reference: Callable[..., Any], operands: Sequence[Array]
) -> list[Array]:
    """The equations that the operator stands for, where it has no kernel for the dtypes."""
    types = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in ctx.avals]
    with jax.enable_x64(any(t.dtype.itemsize == 8 for t in types)):
        jaxpr = jax.make_jaxpr(reference)(*types)
    return ctx.run(canonicalise(jaxpr, fuse=False, exact=ctx.options.exact), operands)


def _argument(value: Any) -> Operand:
    if isinstance(value, tuple):
        return tuple(_argument(part) for part in value)
    return Const(value)


def _normalised(result: Tensor, x: Tensor, *_: Tensor) -> list[Tensor]:
    """Mean and variance, of float32 where the operands are smaller."""
    moment = Tensor(np.dtype(np.float32), (*x.shape[:-1], 1))
    return [moment, moment]


def _batch_normalised(result: Tensor, x: Tensor, scale: Tensor, *_: Tensor) -> list[Tensor]:
    return [scale] * 4


#: The types of the results that only MindSpore's operator has.
_MORE = {"LayerNorm": _normalised, "BatchNorm": _batch_normalised}

_MAX_POOL = ("PadV3", "MaxPool", "NotEqual", "Greater", "BroadcastTo", "Select")

RULES: dict[str, Rule] = {
    "conv_general_dilated": rule(
        _conv, "Conv2D", "Conv3D", "PadV3", "Im2Col", "Reshape", "BroadcastTo", "MatMul",
        "BatchMatMul", ignores=("precision", "preferred_element_type", "out_sharding"),
    ),
    "ms_op": rule(_ms_op, *softmax.OPERATORS),  # its parameter names others
    "reduce_window_max": _pool(_max_pool, *_MAX_POOL),
    "reduce_window_min": _pool(_min_pool, *_MAX_POOL, "Neg"),
    "reduce_window_sum": _pool(
        _sum_pool, "PadV3", "AvgPool", "Mul", "Im2Col", "ReduceSum", "Reshape"
    ),
}  # fmt: skip

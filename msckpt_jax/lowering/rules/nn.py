"""Convolutions, pooling, and MindSpore's own operators that fusions have put into the jaxpr."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from msckpt_jax import _compat
from msckpt_jax.errors import UnsupportedError
from msckpt_jax.graph import operators
from msckpt_jax.graph.values import Const, Dim, Operand, Tensor
from msckpt_jax.lowering.canonical import canonicalise
from msckpt_jax.lowering.context import Array, Context, Rule
from msckpt_jax.lowering.rules.shape import broadcast, ints, padded, reshaped


def _conv(ctx: Context, eqn: Any, x: Array, kernel: Array) -> Array:
    params, rank = eqn.params, len(ctx.result.shape)
    _check_conv(params, rank)
    sizes = tuple(int(n) for n in ctx.type(kernel).shape[2:])  # type: ignore[arg-type]
    pads = [(int(low), int(high)) for low, high in params["padding"]]
    groups = int(params["feature_group_count"])
    if rank == 4 and ctx.options.target == "cpu" and groups == 1 and math.prod(sizes) > 1:
        return _im2col(ctx, x, kernel, params, pads)
    strides, dilations = _ints(params["window_strides"]), _ints(params["rhs_dilation"])
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


def _check_conv(params: Any, rank: int) -> None:
    iota = tuple(range(rank))
    numbers = params["dimension_numbers"]
    canonical = (
        rank in (4, 5)
        and tuple(numbers.lhs_spec) == tuple(numbers.rhs_spec) == tuple(numbers.out_spec) == iota
        and all(d == 1 for d in params["lhs_dilation"])
        and params["batch_group_count"] == 1
        and all(low >= 0 and high >= 0 for low, high in params["padding"])
    )
    if not canonical:
        raise UnsupportedError("only of NCHW or NCDHW, without dilation of the input")


def _im2col(
    ctx: Context, x: Array, kernel: Array, params: Any, pads: list[tuple[int, int]]
) -> Array:
    """A product of matrices: MindSpore's CPU runs Conv2D of several taps 30 to 160 times slower."""
    given = ctx.type(x)
    if any(low != high for low, high in pads):
        x = _padded(ctx, x, ctx.like(0, x), [(0, 0), (0, 0), *pads])
        pads = [(0, 0), (0, 0)]
    out, channels, *sizes = (int(n) for n in ctx.type(kernel).shape)  # type: ignore[arg-type]
    batch, _, high, wide = ctx.result.shape
    taps = math.prod(sizes)
    attrs = {
        "ksizes": tuple(sizes), "strides": _ints(params["window_strides"]),
        "dilations": _ints(params["rhs_dilation"]), "pads": tuple(low for low, _ in pads),
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


def _padded(ctx: Context, x: Array, value: Array, pads: Sequence[tuple[int, int]]) -> Array:
    """Of what is computed of dynamic sizes, MindSpore finds out the sizes."""
    shape = tuple(
        d + low + high if isinstance(d, int) else d if low == high == 0 else f"{d} + {low + high}"
        for d, (low, high) in zip(ctx.type(x).shape, pads, strict=True)
    )
    return padded(ctx, x, value, pads, shape)


def _window(ctx: Context, eqn: Any) -> tuple[tuple[int, ...], tuple[int, ...], list]:
    """Sizes, strides and padding of the window on the last two axes."""
    params = eqn.params
    sizes, strides = _ints(params["window_dimensions"]), _ints(params["window_strides"])
    pads = [_ints(pad) for pad in params["padding"]]
    ones = (*params["base_dilation"], *params["window_dilation"], *sizes[:2], *strides[:2])
    if len(sizes) != 4 or any(n != 1 for n in ones) or any(pads[0] + pads[1]):
        raise UnsupportedError("only on the last two of four axes, without dilation")
    return sizes[2:], strides[2:], pads


def _max_pool(ctx: Context, eqn: Any, x: Array) -> Array:
    sizes, strides, pads = _window(ctx, eqn)
    x = _padded(ctx, x, ctx.like(-np.inf, x), pads)
    attrs = {
        "kernel_size": (1, 1, *sizes), "strides": (1, 1, *strides), "pad_mode": "VALID",
        "format": "NCHW", "data_format": "NCHW",
    }  # fmt: skip
    return ctx("MaxPool", x, attrs=attrs)


def _min_pool(ctx: Context, eqn: Any, x: Array) -> Array:
    return ctx("Neg", _max_pool(ctx, eqn, ctx("Neg", x, type=ctx.type(x))))


def _sum_pool(ctx: Context, eqn: Any, x: Array) -> Array:
    """The mean times the number of elements; zeros are padded before, as SAME leaves them out."""
    sizes, strides, pads = _window(ctx, eqn)
    x = _padded(ctx, x, ctx.like(0, x), pads)
    valid, nchw = Const(2), Const(0)
    mean = ctx("AvgPool", x, ints(*sizes), ints(*strides), valid, nchw)
    return ctx("Mul", mean, ctx.like(math.prod(sizes), x))


def _product(x: Dim, y: Dim) -> Dim:
    return x * y if isinstance(x, int) and isinstance(y, int) else f"({x})*({y})"


def _ints(numbers: Sequence[Any]) -> tuple[int, ...]:
    return tuple(map(int, numbers))


def _ms_op(ctx: Context, eqn: Any, *operands: Array) -> list[Array]:
    """An operator of MindSpore: its other arguments are inputs, or attributes where it has some."""
    op, attrs = eqn.params["op"], dict(eqn.params["attrs"])
    found = operators.definition(op)
    if found is None:
        return list(ctx.several(op, *operands, types=ctx.results, attrs=attrs))
    inputs: list[Operand] = [*operands, *(_argument(value) for value in attrs.values())]
    if len(inputs) != len(found.arguments):
        names = [argument.name for argument in found.arguments]
        raise UnsupportedError(f"{op} takes {names}")
    if not ctx.can(op, inputs, ctx.results[:1]):
        return _spelt_out(ctx, eqn, operands)
    types = [*ctx.results, *_MORE.get(op, lambda *_: [])(ctx.result, *map(ctx.type, operands))]
    return [*ctx.several(op, *inputs, types=types)[: len(ctx.results)]]


def _spelt_out(ctx: Context, eqn: Any, operands: Sequence[Array]) -> list[Array]:
    """The equations that the operator stands for, where it has no kernel for the dtypes."""
    types = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
    with _compat.wide(any(t.dtype.itemsize == 8 for t in types)):
        jaxpr = jax.make_jaxpr(eqn.params["reference"])(*types)
    return ctx.run(canonicalise(jaxpr, fuse=False, exact=ctx.options.exact), operands)


def _argument(value: Any) -> Operand:
    if isinstance(value, tuple):
        return tuple(_argument(part) for part in value)
    return Const(value)


def _normalised(result: Tensor, x: Tensor, *_: Tensor) -> list[Tensor]:
    """Mean and variance, of float32 where the operands are smaller."""
    one = Tensor(np.dtype(np.float32), (*x.shape[:-1], 1))
    return [one, one]


def _batch_normalised(result: Tensor, x: Tensor, scale: Tensor, *_: Tensor) -> list[Tensor]:
    return [scale] * 4


#: The types of the results that only MindSpore's operator has.
_MORE = {"LayerNorm": _normalised, "BatchNorm": _batch_normalised}

RULES: dict[str, Rule] = {
    "conv_general_dilated": _conv,
    "ms_op": _ms_op,
    "reduce_window_max": _max_pool,
    "reduce_window_min": _min_pool,
    "reduce_window_sum": _sum_pool,
}

"""MindSpore's operators as ONNX's: one rule each.

A rule is ``rule(b, node)``: it adds ONNX nodes by calling the builder and returns the node's
results. Operands are meant by their position in MindSpore's definition. Where ONNX has no operator
(Expm1, Rsqrt, cumulative products, arithmetic shifts, …) the rule is a few that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.lowering.graph import Const, Node, Size, Tensor, Value
from msckpt_jax.onnx.builder import Builder, number

#: ``rule(builder, node)`` gives the node's first result, or a sequence of its results.
Rule = Callable[[Builder, Node], Any]

_BOOL, _I64 = np.dtype(bool), np.dtype(np.int64)
_LAST = np.iinfo(np.int64).max


def given(node: Node, position: int) -> Any:
    """A constant operand as Python has it: a number, a tuple of numbers, a dtype.

    Raises:
        UnsupportedError: it is computed, or a dynamic size.
    """
    return _plain(node, node.inputs[position])


def _plain(node: Node, operand: Any) -> Any:
    if isinstance(operand, Const):
        value = operand.value
        if isinstance(value, np.ndarray):
            return value.item() if value.ndim == 0 else tuple(value.reshape(-1).tolist())
        return value
    if isinstance(operand, Value | Size):
        raise UnsupportedError(f"{node.op} with an argument that is computed")
    assert isinstance(operand, tuple)
    return tuple(_plain(node, part) for part in operand)


def _type(node: Node, index: int = 0) -> Tensor:
    return node.outputs[index].type


def _ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def _scalar(value: Any, dtype: np.dtype) -> np.ndarray:
    return np.array(value, dtype)


def same(op: str, **attributes: Any) -> Rule:
    """One operator of all operands."""

    def rule(b: Builder, node: Node) -> Value:
        return b(op, *node.inputs, type=_type(node), **attributes)

    return rule


def _negated(op: str) -> Rule:
    def rule(b: Builder, node: Node) -> Value:
        found = b(op, *node.inputs, type=_type(node))
        return b("Not", found, type=_type(node))

    return rule


# Numbers.


def _rsqrt(b: Builder, node: Node) -> Value:
    root = b("Sqrt", node.inputs[0], type=_type(node))
    return b("Reciprocal", root, type=_type(node))


def _square(b: Builder, node: Node) -> Value:
    return b("Mul", node.inputs[0], node.inputs[0], type=_type(node))


def _expm1(b: Builder, node: Node) -> Value:
    """tanh(x/2) (exp(x) + 1), which keeps the digits that exp(x) - 1 cancels."""
    t, x = _type(node), node.inputs[0]
    half = b("Tanh", b("Mul", x, _scalar(0.5, t.dtype), type=t), type=t)
    return b("Mul", half, b("Add", b("Exp", x, type=t), _scalar(1, t.dtype), type=t), type=t)


def _log1p(b: Builder, node: Node) -> Value:
    """log(u) x / (u - 1) with u = 1 + x rounded, which corrects the rounding."""
    t, x = _type(node), node.inputs[0]
    one, bools = _scalar(1, t.dtype), Tensor(_BOOL, t.shape)
    u = b("Add", x, one, type=t)
    log, rest = b("Log", u, type=t), b("Sub", u, one, type=t)
    exact = b("Mul", log, b("Div", x, rest, type=t), type=t)
    tiny = b("Equal", u, one, type=bools)
    large = b("Equal", rest, x, type=bools)  # also infinite, where the quotient is NaN
    return b("Where", tiny, x, b("Where", large, log, exact, type=t), type=t)


def _erfc(b: Builder, node: Node) -> Value:
    t = _type(node)
    return b("Sub", _scalar(1, t.dtype), b("Erf", node.inputs[0], type=t), type=t)


def _atan2(b: Builder, node: Node) -> Value:
    """The angle of (x, y) from the quadrant and atan(y / x)."""
    t, (y, x) = _type(node), node.inputs
    bools, zero = Tensor(_BOOL, t.shape), _scalar(0, t.dtype)
    base = b("Atan", b("Div", y, x, type=t), type=t)
    half = b("Where", b("Less", y, zero, type=bools), _scalar(-np.pi, t.dtype),
             _scalar(np.pi, t.dtype), type=t)  # fmt: skip
    left = b("Less", x, zero, type=bools)
    turned = b("Where", left, b("Add", base, half, type=t), base, type=t)
    origin = b("And", b("Equal", x, zero, type=bools), b("Equal", y, zero, type=bools), type=bools)
    return b("Where", origin, zero, turned, type=t)


def _is_finite(b: Builder, node: Node) -> Value:
    t, x = _type(node), node.inputs[0]
    either = b("Or", b("IsNaN", x, type=t), b("IsInf", x, type=t), type=t)
    return b("Not", either, type=t)


def _real_div(b: Builder, node: Node) -> Value:
    return b("Div", *node.inputs, type=_type(node))


def _floor_div(b: Builder, node: Node) -> Value:
    t = _type(node)
    if t.dtype.kind not in "iu":
        return b("Floor", b("Div", *node.inputs, type=t), type=t)
    rest = b("Mod", *node.inputs, type=t)
    return b("Div", b("Sub", node.inputs[0], rest, type=t), node.inputs[1], type=t)


def _floor_mod(b: Builder, node: Node) -> Value:
    t = _type(node)
    if t.dtype.kind in "iu":
        return b("Mod", *node.inputs, type=t)
    times = b("Mul", _floor_div(b, node), node.inputs[1], type=t)
    return b("Sub", node.inputs[0], times, type=t)


def _left_shift(b: Builder, node: Node) -> Value:
    return _on_unsigned(b, node, "LEFT")


def _right_shift(b: Builder, node: Node) -> Value:
    """ONNX shifts unsigned numbers; of negative ones the complement is shifted."""
    t, x = _type(node), node.inputs[0]
    if t.dtype.kind == "u":
        return b("BitShift", *node.inputs, type=t, direction="RIGHT")
    negative = b("Less", x, _scalar(0, t.dtype), type=Tensor(_BOOL, b.type(x).shape))
    flipped = b("BitwiseNot", x, type=b.type(x))
    size = b("Where", negative, flipped, x, type=b.type(x))
    shifted = _on_unsigned(b, node, "RIGHT", size)
    return b("Where", negative, b("BitwiseNot", shifted, type=t), shifted, type=t)


def _on_unsigned(b: Builder, node: Node, direction: str, x: Any = None) -> Value:
    t = _type(node)
    x, count = node.inputs[0] if x is None else x, node.inputs[1]
    if t.dtype.kind == "u":
        return b("BitShift", x, count, type=t, direction=direction)
    dtype = np.dtype(f"u{t.dtype.itemsize}")
    operands = b.cast(x, dtype), b.cast(count, dtype)
    found = b("BitShift", *operands, type=Tensor(dtype, t.shape), direction=direction)
    return b.cast(found, t.dtype)


def _population_count(b: Builder, node: Node) -> Value:
    """Bits are added in pairs, then fours, then eights, in 64 bits."""
    shape = _type(node).shape
    u64 = np.dtype(np.uint64)
    t = Tensor(u64, shape)
    given_type = b.type(node.inputs[0])
    x: Any = node.inputs[0]
    if given_type.dtype.kind == "i":  # without the sign's copies
        x = b.cast(x, np.dtype(f"u{given_type.dtype.itemsize}"))
    x = b.cast(x, u64)

    def masked(value: Any, mask: int, by: int = 0) -> Value:
        moved = b("BitShift", value, _scalar(by, u64), type=t, direction="RIGHT") if by else value
        return b("BitwiseAnd", moved, _scalar(mask, u64), type=t)

    for by, mask in ((1, 0x55), (2, 0x33), (4, 0x0F), (8, 0xFF), (16, 0xFFFF), (32, 0xFFFFFFFF)):
        width = max(8, by * 2)
        full = sum(mask << at for at in range(0, 64, width))
        x = b("Add", masked(x, full), masked(x, full, by), type=t)
    return b.cast(x, _type(node).dtype)


def _clamp(b: Builder, node: Node) -> Value:
    x, low, high = node.inputs
    return b("Min", b("Max", x, low, type=_type(node)), high, type=_type(node))


def _cast(b: Builder, node: Node) -> Value:
    return b("Cast", node.inputs[0], type=_type(node), to=number(_type(node).dtype))


# Reductions.


def _axes(node: Node, position: int) -> np.ndarray | None:
    found = given(node, position)
    found = (found,) if isinstance(found, int) else found
    return None if not found else _ints(*found)


def _reduce(op: str) -> Rule:
    def rule(b: Builder, node: Node) -> Value:
        keep = int(bool(given(node, 2)))
        return b(op, node.inputs[0], _axes(node, 1), type=_type(node), keepdims=keep)

    return rule


def _reduce_bool(op: str) -> Rule:
    def rule(b: Builder, node: Node) -> Value:
        u8, keep = np.dtype(np.uint8), int(bool(given(node, 2)))
        numbers = b.cast(node.inputs[0], u8)
        found = b(op, numbers, _axes(node, 1), type=Tensor(u8, _type(node).shape), keepdims=keep)
        return b.cast(found, bool)

    return rule


def _arg(op: str) -> Rule:
    def rule(b: Builder, node: Node) -> Value:
        inner = Tensor(_I64, _type(node).shape)
        found = b(op, node.inputs[0], type=inner, axis=given(node, 1), keepdims=0,
                  select_last_index=0)  # fmt: skip
        return _as(b, found, _type(node).dtype)

    return rule


def _as(b: Builder, value: Value, dtype: np.dtype) -> Value:
    return value if value.type.dtype == dtype else b.cast(value, dtype)


def _cumsum(b: Builder, node: Node) -> Value:
    flags = {"exclusive": int(given(node, 2)), "reverse": int(given(node, 3))}
    return b("CumSum", node.inputs[0], _scalar(given(node, 1), _I64), type=_type(node), **flags)


def _cumulative(op: str, identity: Callable[[np.dtype], Any]) -> Rule:
    """By doubling: after step k each element is the result of the 2^k before it."""

    def rule(b: Builder, node: Node) -> Value:
        x, t = node.inputs[0], _type(node)
        axis = given(node, 1) % len(t.shape)
        size = t.shape[axis]
        if not isinstance(size, int):
            raise UnsupportedError(f"{node.op} along an axis of dynamic size")
        if len(node.inputs) > 2 and given(node, 2):
            raise UnsupportedError(f"{node.op} that leaves out the element itself")
        reverse = len(node.inputs) > 3 and bool(given(node, 3))
        step, value = 1, x
        while step < size:
            value = b(op, value, _shifted(b, value, t, axis, step, reverse, identity), type=t)
            step *= 2
        return b("Identity", value, type=t)

    return rule


def _shifted(
    b: Builder, x: Any, t: Tensor, axis: int, step: int, reverse: bool, identity: Any
) -> Value:
    size = t.shape[axis]
    assert isinstance(size, int)
    fill_shape = [step if i == axis else dim for i, dim in enumerate(t.shape)]
    kept = Tensor(t.dtype, tuple(size - step if i == axis else d for i, d in enumerate(t.shape)))
    start, stop = (step, size) if reverse else (0, size - step)
    rest = b("Slice", x, _ints(start), _ints(stop), _ints(axis), type=kept)
    value = _scalar(identity(t.dtype), t.dtype)
    fill = b("Expand", value, b.vector(tuple(map(Const, fill_shape))),
             type=Tensor(t.dtype, tuple(fill_shape)))  # fmt: skip
    parts = (rest, fill) if reverse else (fill, rest)
    return b("Concat", *parts, type=t, axis=axis)


def _lowest(dtype: np.dtype) -> Any:
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def _highest(dtype: np.dtype) -> Any:
    return np.iinfo(dtype).max if dtype.kind in "iu" else np.inf


def _sort(b: Builder, node: Node) -> list[Value]:
    """TopK of all: of equal elements the first comes first."""
    axis = node.attrs["axis"]
    size = _type(node).shape[axis]
    if not isinstance(size, int):
        raise UnsupportedError("Sort along an axis of dynamic size")
    return _top(b, node, size, axis, largest=int(node.attrs["descending"]))


def _top_k(b: Builder, node: Node) -> list[Value]:
    return _top(b, node, given(node, 1), -1, largest=1)


def _top(b: Builder, node: Node, k: int, axis: int, largest: int) -> list[Value]:
    types = [_type(node), Tensor(_I64, _type(node).shape)]
    found = b.several("TopK", node.inputs[0], _ints(k), types=types, axis=axis, largest=largest,
                      sorted=1)  # fmt: skip
    return [found[0], *(_as(b, found[1], value.type.dtype) for value in node.outputs[1:])]


# Shapes.


def _reshape(b: Builder, node: Node) -> Value:
    shape = b.vector(node.inputs[1])
    zeros = isinstance(shape, np.ndarray) and 0 in shape and -1 not in shape
    return b("Reshape", node.inputs[0], shape, type=_type(node), allowzero=int(zeros) or None)


def _broadcast_to(b: Builder, node: Node) -> Value:
    """-1 keeps the operand's size, which 1 does in Expand."""
    parts = node.inputs[1]
    if isinstance(parts, Const):
        shape: Any = np.where(np.asarray(parts.value) < 0, 1, parts.value).astype(np.int64)
    elif isinstance(parts, tuple):
        keep = lambda p: Const(1) if isinstance(p, Const) and p.value == -1 else p  # noqa: E731
        shape = b.vector(tuple(map(keep, parts)))
    else:
        shape = b.vector(parts)
    return b("Expand", node.inputs[0], shape, type=_type(node))


def _transpose(b: Builder, node: Node) -> Value:
    return b("Transpose", node.inputs[0], type=_type(node), perm=list(given(node, 1)))


def _squeeze(b: Builder, node: Node) -> Value:
    return b("Squeeze", node.inputs[0], _axes(node, 1), type=_type(node))


def _expand_dims(b: Builder, node: Node) -> Value:
    return b("Unsqueeze", node.inputs[0], _axes(node, 1), type=_type(node))


def _tile(b: Builder, node: Node) -> Value:
    times, x = given(node, 1), node.inputs[0]
    old = b.type(x)
    if len(times) > len(old.shape):
        shape = (1,) * (len(times) - len(old.shape)) + old.shape
        x = b("Reshape", x, _ints(*(d if isinstance(d, int) else -1 for d in shape)),
              type=Tensor(old.dtype, shape))  # fmt: skip
    times = (1,) * (len(b.type(x).shape) - len(times)) + tuple(times)
    return b("Tile", x, _ints(*times), type=_type(node))


def _concat(b: Builder, node: Node) -> Value:
    assert isinstance(node.inputs[0], tuple)
    return b("Concat", *node.inputs[0], type=_type(node), axis=given(node, 1))


def _split(b: Builder, node: Node) -> list[Value]:
    types = [value.type for value in node.outputs]
    axis = given(node, 1)
    return b.several("Split", node.inputs[0], types=types, axis=axis, num_outputs=len(types))


def _stack(b: Builder, node: Node) -> Value:
    assert isinstance(node.inputs[0], tuple)
    t = _type(node)
    axis = node.attrs["axis"] % len(t.shape)
    one = Tensor(t.dtype, tuple(1 if i == axis else d for i, d in enumerate(t.shape)))
    parts = [b("Unsqueeze", part, _ints(axis), type=one) for part in node.inputs[0]]
    return b("Concat", *parts, type=t, axis=axis)


def _unstack(b: Builder, node: Node) -> list[Value]:
    x = node.inputs[0]
    old = b.type(x)
    axis = node.attrs["axis"] % len(old.shape)
    one = Tensor(old.dtype, tuple(1 if i == axis else d for i, d in enumerate(old.shape)))
    count = len(node.outputs)
    parts = b.several("Split", x, types=[one] * count, axis=axis, num_outputs=count)
    return [
        b("Squeeze", part, _ints(axis), type=value.type)
        for part, value in zip(parts, node.outputs, strict=True)
    ]


def _slice(b: Builder, node: Node) -> Value:
    begin, size = b.vector(node.inputs[1]), b.vector(node.inputs[2])
    count = len(_type(node).shape)
    if isinstance(begin, np.ndarray) and isinstance(size, np.ndarray):
        ends: Any = np.where(size < 0, _LAST, begin + np.maximum(size, 0))
    else:
        ends = b("Add", begin, size, type=Tensor(_I64, (count,)))
    return b("Slice", node.inputs[0], begin, ends, _ints(*range(count)), type=_type(node))


def _strided_slice(b: Builder, node: Node) -> Value:
    if any(given(node, at) for at in range(4, 9)):
        raise UnsupportedError("StridedSlice with masks")
    begin, ends, strides = (b.vector(node.inputs[at]) for at in (1, 2, 3))
    count = len(_type(node).shape)
    return b("Slice", node.inputs[0], begin, ends, _ints(*range(count)), strides, type=_type(node))


def _reverse(b: Builder, node: Node) -> Value:
    axes = _axes(node, 1)
    assert axes is not None
    minus = np.full(len(axes), -1, np.int64)
    first = np.full(len(axes), np.iinfo(np.int64).min, np.int64)
    return b("Slice", node.inputs[0], minus, first, axes, minus, type=_type(node))


def _pad(b: Builder, node: Node) -> Value:
    """MindSpore's paddings begin with the last axis and may be fewer."""
    flat = given(node, 1)
    missing = [0] * (len(_type(node).shape) - len(flat) // 2)
    pads = _ints(*missing, *flat[-2::-2], *missing, *flat[::-2])
    mode = node.attrs.get("mode", "constant")
    value = node.inputs[2] if mode == "constant" else None
    return b("Pad", node.inputs[0], pads, value, type=_type(node), mode=mode)


def _range(b: Builder, node: Node) -> Value:
    def scalar(position: int) -> Any:
        operand = node.inputs[position]
        if isinstance(operand, Const):
            return _scalar(operand.value, _type(node).dtype)
        vector = b.vector(operand)
        value = b("Squeeze", vector, _ints(0), type=Tensor(_I64, ()))
        return _as(b, value, _type(node).dtype)

    return b("Range", *map(scalar, range(3)), type=_type(node))


# Indices.


def _gather(b: Builder, node: Node) -> Value:
    if given(node, 3):
        raise UnsupportedError("Gather with batch dimensions")
    return b("Gather", node.inputs[0], node.inputs[1], type=_type(node), axis=given(node, 2))


def _gather_d(b: Builder, node: Node) -> Value:
    x, _, index = node.inputs
    return b("GatherElements", x, index, type=_type(node), axis=given(node, 1))


def _long(b: Builder, operand: Any) -> Any:
    return operand if b.type(operand).dtype == _I64 else b.cast(operand, _I64)


def _gather_nd(b: Builder, node: Node) -> Value:
    return b("GatherND", node.inputs[0], _long(b, node.inputs[1]), type=_type(node))


def _scatter(reduction: str, negate: bool = False) -> Rule:
    def rule(b: Builder, node: Node) -> Value:
        x, indices, updates = node.inputs
        if negate:
            updates = b("Neg", updates, type=b.type(updates))
        how = None if reduction == "none" else reduction
        return b("ScatterND", x, _long(b, indices), updates, type=_type(node), reduction=how)

    return rule


def _one_hot(b: Builder, node: Node) -> Value:
    """By comparison: onnxruntime's OneHot has kernels for few combinations of dtypes."""
    index, _, on, off = node.inputs[:4]
    t, old = _type(node), b.type(node.inputs[0])
    axis = given(node, 4) % len(t.shape)
    shape = (*old.shape[:axis], 1, *old.shape[axis:])
    column = b("Unsqueeze", index, _ints(axis), type=Tensor(old.dtype, shape))
    line = [-1 if i == axis else 1 for i in range(len(t.shape))]
    numbers = np.arange(given(node, 1), dtype=old.dtype).reshape(line)
    hot = b("Equal", column, numbers, type=Tensor(_BOOL, t.shape))
    return b("Where", hot, on, off, type=t)


# Networks.


def _turned(b: Builder, x: Any) -> Value:
    old = b.type(x)
    order = [*range(len(old.shape) - 2), len(old.shape) - 1, len(old.shape) - 2]
    shape = tuple(old.shape[axis] for axis in order)
    return b("Transpose", x, type=Tensor(old.dtype, shape), perm=order)


def _matmul(b: Builder, node: Node) -> Value:
    left, right = node.inputs[:2]
    left = _turned(b, left) if given(node, 2) else left
    right = _turned(b, right) if given(node, 3) else right
    return b("MatMul", left, right, type=_type(node))


def _dense(b: Builder, node: Node) -> Value:
    x, weight, bias = node.inputs
    found = b("MatMul", x, _turned(b, weight), type=_type(node))
    if isinstance(bias, Const) and bias.value is None:
        return found
    return b("Add", found, bias, type=_type(node))


def _bias_add(b: Builder, node: Node) -> Value:
    x, bias = node.inputs[:2]
    (size,) = b.type(bias).shape
    ones = (1,) * (len(b.type(x).shape) - 2)
    shape = (size, *ones)
    line = b("Reshape", bias, _ints(-1, *ones), type=Tensor(b.type(bias).dtype, shape))
    return b("Add", x, line, type=_type(node))


def _spread(sizes: Any, rank: int) -> list[int]:
    """The numbers of the spatial axes."""
    found = [sizes] * rank if isinstance(sizes, int) else list(sizes)
    return [int(n) for n in found[-rank:]]


def _convolution(rank: int) -> Rule:
    def rule(b: Builder, node: Node) -> Value:
        a = node.attrs
        if str(a.get("pad_mode", "pad")) not in ("pad", "0"):
            raise UnsupportedError(
                f"{node.op} with pad_mode {a['pad_mode']}, only explicit paddings"
            )
        pads = list(a.get("pad_list", a.get("pad")))
        return b(
            "Conv",
            *node.inputs[:2],
            type=_type(node),
            strides=_spread(a.get("stride", a.get("strides")), rank),
            dilations=_spread(a.get("dilation", a.get("dilations")), rank),
            pads=[int(n) for n in (*pads[0::2], *pads[1::2])],
            group=int(a.get("group", a.get("groups", 1))),
        )

    return rule


_PADDINGS = {1: "SAME_UPPER", 2: "VALID", "same": "SAME_UPPER", "valid": "VALID"}


def _max_pool(b: Builder, node: Node) -> Value:
    a = node.attrs
    mode = a["pad_mode"]
    return b(
        "MaxPool",
        node.inputs[0],
        type=_type(node),
        kernel_shape=_spread(a["kernel_size"], 2),
        strides=_spread(a["strides"], 2),
        auto_pad=_PADDINGS[mode.lower() if isinstance(mode, str) else mode],
    )


def _average_pool(b: Builder, node: Node) -> Value:
    return b(
        "AveragePool",
        node.inputs[0],
        type=_type(node),
        kernel_shape=_spread(given(node, 1), 2),
        strides=_spread(given(node, 2), 2),
        auto_pad=_PADDINGS[given(node, 3)],
    )


def _batch_norm(b: Builder, node: Node) -> Value:
    if given(node, 5):
        raise UnsupportedError("BatchNorm in training")
    return b("BatchNormalization", *node.inputs[:5], type=_type(node), epsilon=given(node, 6))


def _layer_norm(b: Builder, node: Node) -> Value:
    axis = given(node, 3)
    return b("LayerNormalization", *node.inputs[:3], type=_type(node), axis=axis,
             epsilon=given(node, 5))  # fmt: skip


def _softmax(b: Builder, node: Node) -> Value:
    axes = given(node, 1)
    if not isinstance(axes, int) and len(axes) != 1:
        raise UnsupportedError(f"Softmax over {len(axes)} axes")
    axis = axes if isinstance(axes, int) else axes[0]
    return b("Softmax", node.inputs[0], type=_type(node), axis=axis)


def _log_softmax(b: Builder, node: Node) -> Value:
    return b("LogSoftmax", node.inputs[0], type=_type(node), axis=given(node, 1))


def _silu(b: Builder, node: Node) -> Value:
    x = node.inputs[0]
    return b("Mul", x, b("Sigmoid", x, type=_type(node)), type=_type(node))


def _add_n(b: Builder, node: Node) -> Value:
    assert isinstance(node.inputs[0], tuple)
    return b("Sum", *node.inputs[0], type=_type(node))


#: MindSpore's operator -> ONNX's, of the same operands.
_SAME = {
    "ACos": "Acos", "Abs": "Abs", "Acosh": "Acosh", "Add": "Add", "Asin": "Asin", "Asinh": "Asinh",
    "Atan": "Atan", "Atanh": "Atanh", "BitwiseAnd": "BitwiseAnd", "BitwiseOr": "BitwiseOr",
    "BitwiseXor": "BitwiseXor", "Ceil": "Ceil", "Cos": "Cos", "Cosh": "Cosh", "Equal": "Equal",
    "Erf": "Erf", "Exp": "Exp", "Floor": "Floor", "Greater": "Greater",
    "GreaterEqual": "GreaterOrEqual", "HSwish": "HardSwish", "Identity": "Identity",
    "Invert": "BitwiseNot", "Less": "Less", "LessEqual": "LessOrEqual", "Log": "Log",
    "LogicalAnd": "And", "LogicalNot": "Not", "LogicalOr": "Or", "LogicalXor": "Xor",
    "MatrixDeterminant": "Det", "Maximum": "Max", "Minimum": "Min", "Mish": "Mish", "Mul": "Mul",
    "Neg": "Neg", "Pow": "Pow", "ReLU": "Relu", "Reciprocal": "Reciprocal", "Rint": "Round",
    "Select": "Where", "Sigmoid": "Sigmoid", "Sign": "Sign", "Sin": "Sin", "Sinh": "Sinh",
    "Softplus": "Softplus", "Sqrt": "Sqrt", "Sub": "Sub", "Tan": "Tan", "Tanh": "Tanh",
    "TruncateDiv": "Div",
}  # fmt: skip

ADAPTERS: Mapping[str, Rule] = {
    **{name: same(op) for name, op in _SAME.items()},
    "AddN": _add_n,
    "Argmax": _arg("ArgMax"),
    "Argmin": _arg("ArgMin"),
    "Atan2": _atan2,
    "AvgPool": _average_pool,
    "BatchMatMul": _matmul,
    "BatchNorm": _batch_norm,
    "BiasAdd": _bias_add,
    "BroadcastTo": _broadcast_to,
    "Cast": _cast,
    "ClampTensor": _clamp,
    "Concat": _concat,
    "Conv2D": _convolution(2),
    "Conv3D": _convolution(3),
    "CumProd": _cumulative("Mul", lambda dtype: 1),
    "CumSum": _cumsum,
    "Cummax": _cumulative("Max", _lowest),
    "Cummin": _cumulative("Min", _highest),
    "Dense": _dense,
    "Div": _real_div,
    "Erfc": _erfc,
    "ExpandDims": _expand_dims,
    "Expm1": _expm1,
    "FloorDiv": _floor_div,
    "FloorMod": _floor_mod,
    "Gather": _gather,
    "GatherD": _gather_d,
    "GatherNd": _gather_nd,
    "GeLU": same("Gelu", approximate="tanh"),
    "IsFinite": _is_finite,
    "LayerNorm": _layer_norm,
    "LeftShift": _left_shift,
    "Log1p": _log1p,
    "LogSoftmax": _log_softmax,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Mod": same("Mod", fmod=1),
    "NotEqual": _negated("Equal"),
    "OneHot": _one_hot,
    "PadV3": _pad,
    "PopulationCount": _population_count,
    "Range": _range,
    "RealDiv": _real_div,
    "ReduceAll": _reduce_bool("ReduceMin"),
    "ReduceAny": _reduce_bool("ReduceMax"),
    "ReduceMax": _reduce("ReduceMax"),
    "ReduceMean": _reduce("ReduceMean"),
    "ReduceMin": _reduce("ReduceMin"),
    "ReduceProd": _reduce("ReduceProd"),
    "ReduceSum": _reduce("ReduceSum"),
    "Reshape": _reshape,
    "ReverseV2": _reverse,
    "RightShift": _right_shift,
    "Rsqrt": _rsqrt,
    "SiLU": _silu,
    "Slice": _slice,
    "Softmax": _softmax,
    "Sort": _sort,
    "Split": _split,
    "Square": _square,
    "Squeeze": _squeeze,
    "Stack": _stack,
    "StridedSlice": _strided_slice,
    "TensorScatterAdd": _scatter("add"),
    "TensorScatterMax": _scatter("max"),
    "TensorScatterMin": _scatter("min"),
    "TensorScatterMul": _scatter("mul"),
    "TensorScatterSub": _scatter("add", negate=True),
    "TensorScatterUpdate": _scatter("none"),
    "Tile": _tile,
    "TopK": _top_k,
    "Transpose": _transpose,
    "Unstack": _unstack,
}

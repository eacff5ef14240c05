"""Windows: pooling of images stays, all else is a fold of strided slices, axis by axis."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Primitive, jaxpr_as_fun

from msckpt_jax.errors import UnsupportedError
from msckpt_jax.lowering.forms import outwards
from msckpt_jax.lowering.rewrites.declined import Declined
from msckpt_jax.lowering.rewrites.ignoring import Ignoring, ignoring

_Sizes: TypeAlias = Sequence[int]
_Pads: TypeAlias = Sequence[tuple[int, int]]


#: Elements of a window up to which they are combined one by one.
_ONE_BY_ONE = 8


class _Window(NamedTuple):
    """JAX's parameters, each with one entry for an axis."""

    window_dimensions: _Sizes
    window_strides: _Sizes
    padding: _Pads
    base_dilation: _Sizes
    window_dilation: _Sizes

    @property
    def moving(self) -> list[int]:
        """The axes along which there is more to do than to take each element."""
        sizes = zip(self.window_dimensions, self.window_strides, self.padding, strict=True)
        return [axis for axis, size in enumerate(sizes) if size != (1, 1, (0, 0))]

    def is_of_images(self, x: Array) -> bool:
        return (
            jnp.issubdtype(x.dtype, np.floating)
            and len(self.moving) <= 2
            and all(n == 1 for n in (*self.base_dilation, *self.window_dilation))
            and outwards(self.padding)
        )


_Reducer: TypeAlias = Callable[[list[Array], list[Array]], list[Array]]


def _pool(
    function: Callable[[Array, Array], Array], neutral: Callable[[np.dtype], np.ndarray]
) -> Callable[..., Array]:
    def combine(a: list, b: list) -> list:
        return [function(a[0], b[0])]

    def rewrite(
        x: Array, *, window_dimensions: _Sizes, window_strides: _Sizes, padding: _Pads,
        base_dilation: _Sizes, window_dilation: _Sizes,
    ) -> Array:  # fmt: skip
        window = _Window(window_dimensions, window_strides, padding, base_dilation, window_dilation)
        value = neutral(x.dtype)
        if any(not isinstance(n, int) for pair in window.padding for n in pair):
            x = lax.pad(x, value, [(low, high, 0) for low, high in window.padding])
            window = window._replace(padding=((0, 0),) * x.ndim)
        if window.is_of_images(x):
            return _as_images(x, value, function, window)
        (out,) = _folded([x], [value], combine, window)
        if np.iscomplexobj(value) and np.isinf(value):  # the neutral number is not the least
            return function(jnp.full_like(out, value), out)
        return out

    return rewrite


def summed_in_slices(
    x: Array, *, window_dimensions: _Sizes, window_strides: _Sizes, padding: _Pads,
    base_dilation: _Sizes, window_dilation: _Sizes,
) -> Array:  # fmt: skip
    """The sums of windows of float64, of which onnxruntime has no pool."""
    if x.dtype != np.float64 or not outwards(padding):
        raise Declined
    window = _Window(window_dimensions, window_strides, padding, base_dilation, window_dilation)
    zero = np.zeros((), x.dtype)
    return _folded([x], [zero], lambda a, b: [lax.add(a[0], b[0])], window)[0]


def _least(dtype: np.dtype) -> np.ndarray:
    if dtype == np.bool_:
        return np.array(False)
    floating = jnp.issubdtype(dtype, np.inexact)
    return np.array(-np.inf if floating else jnp.iinfo(dtype).min, dtype)


def _greatest(dtype: np.dtype) -> np.ndarray:
    if dtype == np.bool_:
        return np.array(True)
    floating = jnp.issubdtype(dtype, np.inexact)
    return np.array(np.inf if floating else jnp.iinfo(dtype).max, dtype)


def _as_images(
    x: Array, value: np.ndarray, function: Callable[[Array, Array], Array], window: _Window
) -> Array:
    """Pool with the pooled axes last, and all other axes in the places of batch and channels."""
    moving = window.moving
    still = [axis for axis in range(x.ndim) if axis not in moving]
    order = (*still, *moving)
    batch = [x.shape[axis] for axis in still]
    lead = (1, 1) if not batch else (math.prod(batch[:-1]), batch[-1])
    lead += (1,) * (2 - len(moving))
    image = tuple(x.shape[axis] for axis in moving)
    blank = 4 - len(moving)
    out = lax.reduce_window(
        lax.reshape(lax.transpose(x, order), (*lead, *image)),
        value,
        function,
        (1,) * blank + tuple(window.window_dimensions[a] for a in moving),
        (1,) * blank + tuple(window.window_strides[a] for a in moving),
        ((0, 0),) * blank + tuple(window.padding[a] for a in moving),
    )
    out = lax.reshape(out, (*batch, *out.shape[blank:]))
    return lax.transpose(out, np.argsort(order))


def _padded(x: Array, value: Any, window: _Window) -> Array:
    sides = zip(window.padding, window.base_dilation, strict=True)
    return lax.pad(x, value, [(low, high, base - 1) for (low, high), base in sides])


def _reach(room: int, window: _Window, axis: int) -> int:
    """The distance from the first window's element at a place to the end of the last one's."""
    size, apart = window.window_dimensions[axis], window.window_dilation[axis]
    step = window.window_strides[axis]
    count = max((room - (size - 1) * apart - 1) // step + 1, 0)
    return (count - 1) * step + 1 if count else 0


def _folded(
    xs: Sequence[Array], values: Sequence[Any], combine: _Reducer, window: _Window
) -> list[Array]:
    """Pad operands of equal shape with ``values``, then combine them along each axis."""
    out = [_padded(x, value, window) for x, value in zip(xs, values, strict=True)]
    for axis, size in enumerate(window.window_dimensions):
        step, apart = window.window_strides[axis], window.window_dilation[axis]
        stop = _reach(out[0].shape[axis], window, axis)
        if size > _ONE_BY_ONE and isinstance(stop, int) and stop:
            out = _doubled(out, axis, size, apart, combine)
            out = [lax.slice_in_dim(x, 0, stop, step, axis) for x in out]
            continue
        parts = [
            [lax.slice_in_dim(x, k, k + stop, step, axis) for x in out]
            for k in range(0, size * apart, apart)
        ]
        out = functools.reduce(combine, parts)
    return out


def _doubled(
    xs: Sequence[Array], axis: int, size: int, apart: int, combine: _Reducer
) -> list[Array]:
    """Combine ``size`` elements from each element on, in their order, by parts that double.

    A window consists of parts whose lengths are the powers of two in its size.
    """

    def joined(first: Sequence[Array], second: Sequence[Array], after: int) -> list[Array]:
        rest = [lax.slice_in_dim(x, after * apart, x.shape[axis], 1, axis) for x in second]
        room = rest[0].shape[axis]
        return combine([lax.slice_in_dim(x, 0, room, 1, axis) for x in first], rest)

    part, length, out, done = list(xs), 1, list[Array](), 0
    while True:
        if size & length:
            out, done = (joined(out, part, done) if done else part), done + length
        if done == size:
            return out
        part, length = joined(part, part, length), 2 * length


def _of_arrays(jaxpr: ClosedJaxpr | Jaxpr, consts: Sequence[Any] = ()) -> _Reducer:
    """A reducer of scalars as a reducer of arrays."""
    scalars = jaxpr_as_fun(jaxpr if isinstance(jaxpr, ClosedJaxpr) else ClosedJaxpr(jaxpr, consts))

    def combine(a: list, b: list) -> list:
        shape = jnp.broadcast_shapes(*(x.shape for x in (*a, *b)))
        flat = [jnp.broadcast_to(x, shape).reshape(-1) for x in (*a, *b)]
        return [x.reshape(shape) for x in jax.vmap(scalars)(*flat)]

    return combine


def reduce_window(
    *operands: Array, jaxpr: ClosedJaxpr | Jaxpr, consts: Sequence[Any], window_dimensions: _Sizes,
    window_strides: _Sizes, padding: _Pads, base_dilation: _Sizes, window_dilation: _Sizes,
) -> list[Array]:  # fmt: skip
    xs, values = operands[: len(operands) // 2], operands[len(operands) // 2 :]
    combine = _of_arrays(jaxpr, consts)
    window = _Window(window_dimensions, window_strides, padding, base_dilation, window_dilation)
    return combine(list(values), _folded(xs, values, combine, window))


def reduce(*operands: Any, jaxpr: ClosedJaxpr | Jaxpr, dimensions: Sequence[int]) -> list[Array]:
    """Combine halves with halves, until a single element is left."""
    xs, values = operands[: len(operands) // 2], operands[len(operands) // 2 :]
    combine = _of_arrays(jaxpr)
    kept = [axis for axis in range(xs[0].ndim) if axis not in dimensions]
    shape = [xs[0].shape[axis] for axis in kept]
    count = math.prod(xs[0].shape[axis] for axis in dimensions)
    parts = [lax.reshape(lax.transpose(x, (*dimensions, *kept)), (count, *shape)) for x in xs]
    while count > 1:
        half = count // 2
        pairs = combine([x[:half] for x in parts], [x[half : 2 * half] for x in parts])
        if count % 2:
            pairs = [lax.concatenate([p, x[-1:]], 0) for p, x in zip(pairs, parts, strict=True)]
        parts, count = pairs, half + count % 2
    blank = [jnp.broadcast_to(value, shape) for value in values]
    return combine(blank, [x[0] for x in parts]) if count else blank


def _of_integers(function: Callable[[Any, Any], Array], initial: int) -> Ignoring:
    """Bitwise reductions, which targets have for bool only."""

    def rewrite(x: Array, *, axes: Sequence[int]) -> Array:
        if function is lax.bitwise_xor and x.dtype == np.bool_:
            return lax.rem(jnp.sum(x, axes, np.int32), np.int32(2)).astype(np.bool_)
        value = np.array(initial).astype(x.dtype)
        jaxpr = jax.make_jaxpr(function)(value, value)
        return reduce(x, value, jaxpr=jaxpr, dimensions=axes)[0]

    return ignoring(rewrite, "out_sharding")


def _patches(x: Array, value: np.ndarray, window: _Window) -> list[Array]:
    """The elements that all windows have at a place, for each place in the window, in order."""
    x, apart = _padded(x, value, window), window.window_dilation
    stops = [_reach(x.shape[axis], window, axis) for axis in range(x.ndim)]
    return [
        lax.slice(x, place, np.add(place, stops).tolist(), window.window_strides)
        for place in (np.multiply(at, apart).tolist() for at in _places(window))
    ]


def _places(window: _Window) -> Iterator[tuple[int, ...]]:
    return itertools.product(*map(range, window.window_dimensions))


def select_and_gather_add(
    tangents: Array, operand: Array, *, select_prim: Primitive, window_dimensions: _Sizes,
    window_strides: _Sizes, padding: _Pads, base_dilation: _Sizes, window_dilation: _Sizes,
) -> Array:  # fmt: skip
    """The tangent of the window's selected element, the first of equal elements."""
    window = _Window(window_dimensions, window_strides, padding, base_dilation, window_dilation)
    value, zero = _rejected(select_prim, operand.dtype), np.zeros((), tangents.dtype)
    best, *later = _patches(operand, value, window)
    out, *rest = _patches(tangents, zero, window)
    for x, tangent in zip(later, rest, strict=True):
        stay = select_prim.bind(best, x)
        best, out = lax.select(stay, best, x), lax.select(stay, out, tangent)
    return out


def select_and_scatter_add(
    source: Array, operand: Array, *, select_prim: Primitive, window_dimensions: _Sizes,
    window_strides: _Sizes, padding: _Pads,
) -> Array:  # fmt: skip
    """The source added to the window's selected element, the first of equal elements."""
    ones = (1,) * operand.ndim
    window = _Window(window_dimensions, window_strides, padding, ones, ones)
    value = _rejected(select_prim, operand.dtype)
    best, *later = _patches(operand, value, window)
    chosen = jnp.zeros(source.shape, np.int32)
    for k, x in enumerate(later, 1):
        stay = select_prim.bind(best, x)
        best = lax.select(stay, best, x)
        chosen = lax.select(stay, chosen, jnp.full(source.shape, k, np.int32))
    zero = np.zeros((), source.dtype)
    out = jnp.zeros(operand.shape, source.dtype)
    for k, place in enumerate(_places(window)):
        part = lax.select(chosen == k, source, jnp.zeros(source.shape, source.dtype))
        axes = zip(place, window.padding, window.window_strides, strict=True)
        before = [(at - low, step) for at, (low, _), step in axes]
        sizes = zip(before, operand.shape, source.shape, strict=True)
        config = [
            (low, n - low - (count - 1) * step - 1, step - 1) for (low, step), n, count in sizes
        ]
        out = out + lax.pad(part, zero, config)
    return out


def _rejected(select_prim: Primitive, dtype: np.dtype) -> np.ndarray:
    if jnp.issubdtype(dtype, np.complexfloating):
        raise UnsupportedError("of complex numbers, among which there is no smallest or greatest")
    return _least(dtype) if select_prim.name == "ge" else _greatest(dtype)


REWRITES = {
    "reduce": ignoring(reduce, "computation", "out_sharding"),
    "reduce_and": _of_integers(lax.bitwise_and, -1),
    "reduce_or": _of_integers(lax.bitwise_or, 0),
    "reduce_window": reduce_window,
    "reduce_window_max": _pool(lax.max, _least),
    "reduce_window_min": _pool(lax.min, _greatest),
    "reduce_window_sum": _pool(lax.add, lambda dtype: np.zeros((), dtype)),
    "reduce_xor": _of_integers(lax.bitwise_xor, 0),
    "select_and_gather_add": select_and_gather_add,
    "select_and_scatter_add": select_and_scatter_add,
}

"""Windows: pooling of images stays, all else is a fold of strided slices, axis by axis."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Primitive, jaxpr_as_fun

from msckpt_jax.lowering.forms import outwards


class _Window(NamedTuple):
    """JAX's parameters, each with one entry for an axis."""

    window_dimensions: Sequence[int]
    window_strides: Sequence[int]
    padding: Sequence[tuple[int, int]]
    base_dilation: Sequence[int]
    window_dilation: Sequence[int]

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

    def rewrite(x: Array, **params: Any) -> Array:
        window, value = _Window(**params), neutral(x.dtype)
        if any(not isinstance(n, int) for pair in window.padding for n in pair):
            x = lax.pad(x, value, [(low, high, 0) for low, high in window.padding])
            window = window._replace(padding=((0, 0),) * x.ndim)
        if window.is_of_images(x):
            return _as_images(x, value, function, window)
        return _folded([x], [value], combine, window)[0]

    return rewrite


def _least(dtype: np.dtype) -> np.ndarray:
    if dtype == np.bool_:
        return np.array(False)
    floating = jnp.issubdtype(dtype, np.floating)
    return np.array(-np.inf if floating else jnp.iinfo(dtype).min, dtype)


def _greatest(dtype: np.dtype) -> np.ndarray:
    if dtype == np.bool_:
        return np.array(True)
    floating = jnp.issubdtype(dtype, np.floating)
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


def _folded(
    xs: Sequence[Array], values: Sequence[Any], combine: _Reducer, window: _Window
) -> list[Array]:
    """Pad operands of equal shape with ``values``, then combine them along each axis."""
    sides = zip(window.padding, window.base_dilation, strict=True)
    config = [(low, high, base - 1) for (low, high), base in sides]
    out = [lax.pad(x, value, config) for x, value in zip(xs, values, strict=True)]
    for axis, size in enumerate(window.window_dimensions):
        step, apart = window.window_strides[axis], window.window_dilation[axis]
        count = max((out[0].shape[axis] - (size - 1) * apart - 1) // step + 1, 0)
        stop = (count - 1) * step + 1 if count else 0
        parts = [
            [lax.slice_in_dim(x, k, k + stop, step, axis) for x in out]
            for k in range(0, size * apart, apart)
        ]
        out = functools.reduce(combine, parts)
    return out


def _of_arrays(jaxpr: ClosedJaxpr | Jaxpr, consts: Sequence[Any] = ()) -> _Reducer:
    """A reducer of scalars as a reducer of arrays."""
    scalars = jaxpr_as_fun(jaxpr if isinstance(jaxpr, ClosedJaxpr) else ClosedJaxpr(jaxpr, consts))

    def combine(a: list, b: list) -> list:
        shape = jnp.broadcast_shapes(*(x.shape for x in (*a, *b)))
        flat = [jnp.broadcast_to(x, shape).reshape(-1) for x in (*a, *b)]
        return [x.reshape(shape) for x in jax.vmap(scalars)(*flat)]

    return combine


def reduce_window(
    *operands: Array, jaxpr: ClosedJaxpr | Jaxpr, consts: Sequence[Any], **params: Any
) -> list[Array]:
    xs, values = operands[: len(operands) // 2], operands[len(operands) // 2 :]
    combine = _of_arrays(jaxpr, consts)
    return combine(list(values), _folded(xs, values, combine, _Window(**params)))


def reduce(
    *operands: Any, jaxpr: ClosedJaxpr | Jaxpr, dimensions: Sequence[int], **_: Any
) -> list[Array]:
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


def _of_integers(function: Callable[[Any, Any], Array], initial: int) -> Callable[..., Array]:
    """Bitwise reductions, which targets have for bool only."""

    def rewrite(x: Array, *, axes: Sequence[int], **_: Any) -> Array:
        if function is lax.bitwise_xor and x.dtype == np.bool_:
            return lax.rem(jnp.sum(x, axes, np.int32), np.int32(2)).astype(np.bool_)
        value = np.array(initial).astype(x.dtype)
        jaxpr = jax.make_jaxpr(function)(value, value)
        return reduce(x, value, jaxpr=jaxpr, dimensions=axes)[0]

    return rewrite


def _patches(x: Array, value: np.ndarray, window: _Window, shape: Sequence[int]) -> list[Array]:
    """The elements that all windows have at a place, for each place in the window, in order."""
    x = lax.pad(x, value, [(low, high, 0) for low, high in window.padding])
    ends = [(n - 1) * step + 1 for n, step in zip(shape, window.window_strides, strict=True)]
    return [
        lax.slice(x, place, np.add(place, ends).tolist(), window.window_strides)
        for place in itertools.product(*map(range, window.window_dimensions))
    ]


def select_and_gather_add(
    tangents: Array, operand: Array, *, select_prim: Primitive, **params: Any
) -> Array:
    """The tangent of the window's selected element, the first of equal elements."""
    window = _Window(**params)
    ends = zip(operand.shape, window.padding, strict=True)
    room = [n + low + high for n, (low, high) in ends]
    shape = (np.subtract(room, window.window_dimensions) // window.window_strides + 1).tolist()
    value, zero = _rejected(select_prim, operand.dtype), np.zeros((), tangents.dtype)
    best, *later = _patches(operand, value, window, shape)
    out, *rest = _patches(tangents, zero, window, shape)
    for x, tangent in zip(later, rest, strict=True):
        stay = select_prim.bind(best, x)
        best, out = lax.select(stay, best, x), lax.select(stay, out, tangent)
    return out


def select_and_scatter_add(
    source: Array, operand: Array, *, select_prim: Primitive, **params: Any
) -> Array:
    """The source added to the window's selected element, the first of equal elements."""
    ones = (1,) * operand.ndim
    window = _Window(**params, base_dilation=ones, window_dilation=ones)
    value = _rejected(select_prim, operand.dtype)
    best, *later = _patches(operand, value, window, source.shape)
    chosen = jnp.zeros(source.shape, np.int32)
    for k, x in enumerate(later, 1):
        stay = select_prim.bind(best, x)
        best = lax.select(stay, best, x)
        chosen = lax.select(stay, chosen, jnp.full(source.shape, k, np.int32))
    zero = np.zeros((), source.dtype)
    out = jnp.zeros(operand.shape, source.dtype)
    for k, place in enumerate(itertools.product(*map(range, window.window_dimensions))):
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
    return _least(dtype) if select_prim.name == "ge" else _greatest(dtype)


REWRITES = {
    "reduce": reduce,
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

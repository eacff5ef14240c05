"""Views of mutable arrays: indices and reshapes, one after another, as reads and writes of values.

A view is one of JAX's own transforms of references; they are told apart by their attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax.errors import UnsupportedError


def views(tree: Any, leaves: Sequence[Any]) -> tuple[Any, ...]:
    """The views that an equation has as a tree and its leaves."""
    return tuple(view for view in jax.tree.unflatten(tree, leaves) or () if view is not None)


def read(x: Array, given: Sequence[Any]) -> Array:
    """The elements of an array that views show."""
    for view in given:
        x = _shown(x, view)
    return x


def write(x: Array, given: Sequence[Any], value: Array, *, add: bool = False) -> Array:
    """The array with a value in the place of the elements that views show, or added to them."""
    if not given:
        return x + value if add else value
    view, *rest = given
    if rest:
        value, add = write(_shown(x, view), rest, value, add=add), False
    if hasattr(view, "indices"):
        return _Window.of(x, view).put(x, value, add)
    before = _shown(x, view)
    return jnp.reshape(before + value if add else value, x.shape)


def read_in_bounds(x: Array, given: Sequence[Any]) -> Array:
    """What ``read`` gives, with a number that stands for none in the place of what is outside."""
    *given, last = given or (None,)
    x = read(x, given)
    if last is None:
        return x
    window = _Window.of(x, last)
    return window.get(window.padded(x))


def write_in_bounds(x: Array, given: Sequence[Any], value: Array) -> Array:
    """What ``write`` gives, without the elements that are outside."""
    if not given:
        return value
    if len(given) > 1:
        raise UnsupportedError("a masked write to a view of a view: index the array at once")
    window = _Window.of(x, given[0])
    changed = window.put(window.padded(x), value, False)
    return changed if changed.shape == x.shape else lax.slice(changed, [0] * x.ndim, x.shape)


def uninitialised(shape: Sequence[Any], dtype: Any) -> Array:
    """An array of the number that JAX's interpreter of kernels puts where nothing is written."""
    if not any(jnp.issubdtype(dtype, kind) for kind in (np.floating, np.integer, np.bool_)):
        return jnp.zeros(shape, np.int32)  # a semaphore: what takes it is refused with its line
    if jnp.issubdtype(dtype, np.floating):
        return jnp.full(shape, jnp.nan, dtype)
    zero = dtype == np.bool_ or dtype == np.int16  # int16 is what it has for semaphores
    return jnp.full(shape, 0 if zero else jnp.iinfo(dtype).min, dtype)


def _shown(x: Array, view: Any) -> Array:
    if hasattr(view, "indices"):
        return _Window.of(x, view).get(x)
    if type(view).__name__ == "ReshapeTransform":
        return jnp.reshape(x, view.shape)
    raise UnsupportedError(f"a view by {type(view).__name__}: index or reshape the array itself")


class _Window(NamedTuple):
    """The smallest box around the elements that an index shows, and which of it these are."""

    starts: Sequence[Any]
    sizes: Sequence[int]
    strides: Sequence[int]
    #: Axes of size 1 that the result has not.
    single: tuple[int, ...]
    #: Arrays of indices by their axes.
    arrays: Mapping[int, Array]

    @classmethod
    def of(cls, x: Array, view: Any) -> _Window:
        starts: list[Any] = [0] * x.ndim
        sizes, strides, single, arrays = [*x.shape], [1] * x.ndim, [], {}
        for axis, index in enumerate(view.indices):
            if hasattr(index, "stride"):
                if not isinstance(index.size, int):
                    raise UnsupportedError("a slice of a dynamic size")
                starts[axis], strides[axis] = _start(index.start), index.stride
                sizes[axis] = max(0, (index.size - 1) * index.stride + 1)
            elif np.ndim(index) == 0:
                starts[axis], sizes[axis] = _start(index), 1
                single.append(axis)
            else:
                arrays[axis] = jnp.asarray(index)
        return cls(starts, sizes, strides, tuple(single), arrays)

    def get(self, x: Array) -> Array:
        box = self._box(x)
        if self.arrays:
            return box[self._picked()]
        if any(stride != 1 for stride in self.strides):
            box = lax.slice(box, [0] * x.ndim, box.shape, self.strides)
        return lax.squeeze(box, self.single)

    def put(self, x: Array, value: Array, add: bool) -> Array:
        if self.arrays or any(stride != 1 for stride in self.strides):
            places = self._box(x).at[self._picked()]
            value = places.add(value) if add else places.set(value)
        else:
            value = lax.expand_dims(value, self.single)
            value = self._box(x) + value if add else value
        if self._whole(x):
            return value
        return lax.dynamic_update_slice(x, value, [jnp.int32(start) for start in self.starts])

    def padded(self, x: Array) -> Array:
        """The array with so much behind it that no box is moved to lie within."""
        if self.arrays and len(self.arrays) < x.ndim:
            raise UnsupportedError("masked elements by arrays of indices and slices at once")
        if any(stride != 1 for stride in self.strides):
            raise UnsupportedError("a masked slice with strides")
        known = all(isinstance(start, int) for start in self.starts)
        places = zip(self.starts, self.sizes, x.shape, strict=True)
        if known and all(start >= 0 and start + size <= n for start, size, n in places):
            return x
        return lax.pad(x, uninitialised((), x.dtype), [(0, size, 0) for size in self.sizes])

    def _box(self, x: Array) -> Array:
        if self._whole(x):
            return x
        return lax.dynamic_slice(x, [jnp.int32(start) for start in self.starts], self.sizes)

    def _whole(self, x: Array) -> bool:
        return all(type(start) is int and start == 0 for start in self.starts) and (
            tuple(self.sizes) == x.shape
        )

    def _picked(self) -> tuple[Any, ...]:
        return tuple(
            self.arrays[axis] if axis in self.arrays else 0 if axis in self.single
            else slice(None, None, stride)
            for axis, stride in enumerate(self.strides)
        )  # fmt: skip


def _start(index: Any) -> Any:
    """An index as an int where it is known."""
    return int(index) if isinstance(index, int | np.integer | np.ndarray) else index

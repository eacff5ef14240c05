"""Weights whose bytes are made when they are written, and weights as arrays."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from msckpt_jax import boxes, dtypes
from msckpt_jax.checkpoint import leaves, records
from msckpt_jax.graph.values import Parameter, Tensor


def parameter(
    name: str,
    type: Tensor,
    make: Callable[[], np.ndarray],
    stored: tuple[np.dtype, tuple[int, ...]] | None = None,
) -> Parameter:
    """A weight whose numbers ``make`` gives, in any shape of their size.

    ``stored``: the dtype and the shape of the bytes, where these are not those of the weight.
    """
    dtype, shape = stored or (type.dtype, tuple(int(n) for n in type.shape))
    source = _Late(lambda: make().reshape(shape), math.prod(shape))
    content = records.Tensor(shape, dtype, ((boxes.whole(shape), source),))
    row = dtypes.of_array(dtype)
    assert row is not None
    return Parameter(type, name, leaves.Given(records.Record(name, row.name, shape, content)))


class _Late:
    """An array that is made when it is first read, and let go when all of it was."""

    def __init__(self, make: Callable[[], np.ndarray], size: int):
        self._make, self._size = make, size
        self._array: np.ndarray | None = None
        self._left = size
        self._lock = threading.Lock()

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        with self._lock:
            array = self._make() if self._array is None else self._array
            part = array[index]
            self._left -= part.size
            done = self._left <= 0
            self._array, self._left = (None, self._size) if done else (array, self._left)
            return part


def array(name: str, data: Any, layer: int | None = None) -> np.ndarray:
    """A weight, or a layer of it, as an array: a view where it is one, not kept where it is not."""
    content = leaves.of_value(name, data).content
    if isinstance(content, np.ndarray):
        return content if layer is None else content[layer : layer + 1]
    assert isinstance(content, records.Tensor)
    box = boxes.whole(content.shape)
    box = box if layer is None else ((layer, layer + 1), *box[1:])
    out = np.empty(boxes.shape_of(box), content.stored)
    boxes.gather(content.pieces, box, out)
    return out

"""``get_slice``: an array of a file, of which only the indexed part is read."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint.copying import Readable
from msckpt_jax.checkpoint.entries import Entry
from msckpt_jax.checkpoint.int4 import to_int4
from msckpt_jax.visible import visible


class TensorSlice:
    """An array of a file; indexing it with ints and slices reads only that part."""

    def __init__(self, file: Readable, entry: Entry):
        self._file, self._entry = file, entry
        self.shape = entry.shape
        self.dtype = entry.row.array

    def __getitem__(self, key: Any) -> np.ndarray:
        keys = key if isinstance(key, tuple) else (key,)
        first, rest = self._box(keys)
        out = boxes.view(self._pieces, first)
        if out is None:
            out = np.empty(boxes.shape_of(first), self._entry.row.stored)
            boxes.gather(self._pieces, first, out)
        out = out[rest]
        return to_int4(out, self._entry.name, self._file.path) if self._is_int4 else out

    @functools.cached_property
    def _pieces(self) -> Sequence[boxes.Piece]:
        return self._file.pieces(self._entry.name)

    @property
    def _is_int4(self) -> bool:
        return self._entry.type == "Int4"

    def _box(self, keys: tuple) -> tuple[boxes.Box, tuple]:
        """The box that holds everything asked for, and the index that remains within it."""
        if keys.count(Ellipsis) > 1 or len(keys) - keys.count(Ellipsis) > len(self.shape):
            raise IndexError(f"too many indices for shape {self.shape}")
        if Ellipsis not in keys:
            keys = (*keys, Ellipsis)
        at = keys.index(Ellipsis)
        fill = (slice(None),) * (len(self.shape) - len(keys) + 1)
        box, rest = [], []
        for k, n in zip(keys[:at] + fill + keys[at + 1 :], self.shape, strict=True):
            if isinstance(k, slice):
                span = range(n)[k]
                ends = sorted((span[0], span[-1])) if span else (0, -1)  # min() would go through it
                low, high = ends[0], ends[1] + 1
                box.append((low, high))
                rest.append(slice(None, None, k.step))
            else:
                i = _index(k, n, len(box))
                box.append((i, i + 1))
                rest.append(0)
        return tuple(box), tuple(rest)

    def __repr__(self) -> str:
        return visible(f"<TensorSlice {self._entry.name} {self.dtype}{list(self.shape)}>")


def _index(key: Any, size: int, axis: int) -> int:
    """The place that a number stands for in an axis."""
    try:
        return range(size)[operator.index(key)]
    except TypeError:
        kind = type(key).__name__
        raise TypeError(f"tensors are sliced by ints and slices, not by {kind}") from None
    except IndexError:
        raise IndexError(f"{key} is outside of axis {axis}, which has {size}") from None

"""Sources of pieces that are rearranged while they are read; no array is transposed as a whole."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from msckpt_jax import boxes
from msckpt_jax.boxes import Box, Piece
from msckpt_jax.conventions import tiles
from msckpt_jax.conventions.mapping import down
from msckpt_jax.conventions.pattern import Pattern
from msckpt_jax.conventions.transform import Transform
from msckpt_jax.errors import CheckpointError


class Arranged:
    """The box ``corner`` of a parameter, made of ``source``, the box ``origin`` of a leaf."""

    def __init__(
        self, source: Any, origin: Box, corner: Box, pattern: Pattern, leaf: tuple[int, ...]
    ):
        self.source, self.origin, self.corner = source, origin, corner
        self.pattern, self.leaf = pattern, leaf
        self.shape, self.dtype = boxes.shape_of(corner), source.dtype

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        box = _absolute(index, self.corner)
        out = np.empty(boxes.shape_of(box), self.dtype)
        for mine, where in self.pattern.back(box, self.leaf):
            part = np.asarray(self.source[boxes.slices(mine, self.origin)])
            tiles.copy(out[(*boxes.slices(where, box), ...)], self.pattern.arrange(part))
        return out


def arrange(pieces: Sequence[Piece], pattern: Pattern, leaf: tuple[int, ...]) -> list[Piece]:
    """The pieces of a leaf as pieces of the parameter that the pattern makes of it."""
    out: list[Piece] = []
    for origin, source in pieces:
        for _, box in pattern.forth(origin, leaf):
            out.append((box, Arranged(source, origin, box, pattern, leaf)))
    return out


def shifted(pieces: Sequence[Piece], rows: int) -> list[Piece]:
    """The pieces, moved by ``rows`` down axis 0."""
    return [(down(box, rows), source) for box, source in pieces]


class Place(NamedTuple):
    """The place of a leaf in a stored parameter: from row ``start`` on, laid out by ``pattern``."""

    pieces: Sequence[Piece]
    pattern: Pattern
    start: int


class Restored:
    """A leaf that is read from the parameters that hold it.

    Several parameters of the same part of the leaf are added up; those of other layers follow one
    another on the axes that count these.
    """

    def __init__(self, places: Sequence[Place], leaf: tuple[int, ...], dtype: np.dtype):
        self.leaf, self.dtype = leaf, dtype
        self._axes = [axis for axis, _ in places[0].pattern.fixed]
        self._layers: dict[tuple[int, ...], list[Place]] = {}
        for place in places:
            index = tuple(at for _, at in place.pattern.fixed)
            self._layers.setdefault(index, []).append(place)

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        box = _absolute(index, boxes.whole(self.leaf))
        out = np.empty(boxes.shape_of(box), self.dtype)
        for first, *added in self._layers_in(box):
            for mine, theirs in first.pattern.forth(box, self.leaf):
                part = self._stored(first, theirs)
                for place in added:
                    more = self._stored(place, theirs)
                    if more.any():  # -0.0 + 0.0 would change the sign
                        part = (part + more).astype(self.dtype)
                restored = first.pattern.restore(part, boxes.shape_of(mine))
                tiles.copy(out[(*boxes.slices(mine, box), ...)], restored)
        return out

    def windows(self, box: Box, limit: int) -> Iterator[Box]:
        """Yield ``box`` in parts of at most ``limit`` elements, cut along the rows of the file."""
        for first, *_ in self._layers_in(box):
            how = first.pattern
            for _, theirs in how.forth(box, self.leaf):
                shape = boxes.shape_of(theirs)
                for part in boxes.of_range(shape, 0, boxes.size_of(theirs), limit):
                    moved = _moved(part, theirs)
                    yield from (mine for mine, _ in how.back(moved, self.leaf))

    def _layers_in(self, box: Box) -> Iterator[list[Place]]:
        """Yield the places of each layer of which ``box`` has a part."""
        for index in itertools.product(*(range(*box[axis]) for axis in self._axes)):
            yield self._layers[index]

    def _stored(self, place: Place, theirs: Box) -> np.ndarray:
        return _read(place.pieces, self.dtype, down(theirs, place.start))


class Assembled:
    """The tensor ``name``, made of parts of others while it is read; what no part fills is zero.

    ``read``: the dtype in which parts are read, where it is a wider one.

    Raises:
        CheckpointError: values that are no floats are scaled.
    """

    def __init__(
        self, parts: Sequence[tuple[Sequence[Piece], Transform]], shape: tuple[int, ...],
        dtype: np.dtype, name: str, read: np.dtype | None = None,
    ):  # fmt: skip
        if any(how.steps for _, how in parts) and not jnp.issubdtype(dtype, jnp.floating):
            raise CheckpointError(
                "the values of this parameter are scaled: they must be floats; bring quantised "
                "ones back first", name=name, found=dtype,
            )  # fmt: skip
        self.shape, self.dtype, self.name, self._read = shape, dtype, name, read or dtype
        self._full = sum(how.size for _, how in parts) == math.prod(shape)
        bounds = [how.inverse.bounds() for _, how in parts]
        self._axes = [axis for axis in range(len(shape))
                      if all(box[axis][1] - box[axis][0] == 1 for box in bounds)]  # fmt: skip
        self._parts: dict[tuple[int, ...], list[tuple[Sequence[Piece], Transform]]] = {}
        for part, box in zip(parts, bounds, strict=True):
            index = tuple(box[axis][0] for axis in self._axes)
            self._parts.setdefault(index, []).append(part)

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        box = _absolute(index, boxes.whole(self.shape))
        out = (np.empty if self._full else np.zeros)(boxes.shape_of(box), self.dtype)
        for pieces, how in self._parts_in(box):
            try:
                how.pull(box, functools.partial(_read, pieces, self._read), out)
            except CheckpointError as error:
                raise error.within(None, self.name) from None
        return out

    def windows(self, box: Box, limit: int) -> Iterator[Box]:
        """Yield ``box`` in parts of at most ``limit`` elements, cut along the rows of the parts."""
        if not self._full:
            whole = boxes.of_range(boxes.shape_of(box), 0, boxes.size_of(box), limit)
            yield from (_moved(part, box) for part in whole)
            return
        for _, how in self._parts_in(box):
            yield from how.inverse.windows(box, limit)

    def _parts_in(self, box: Box) -> Iterator[tuple[Sequence[Piece], Transform]]:
        for index in itertools.product(*(range(*box[axis]) for axis in self._axes)):
            yield from self._parts.get(index, ())


def _read(pieces: Sequence[Piece], dtype: np.dtype, box: Box) -> np.ndarray:
    """A box of a tensor in pieces; a view where one piece holds all of it."""
    part = boxes.view(pieces, box)
    if part is None:
        part = np.empty(boxes.shape_of(box), dtype)
        boxes.gather(pieces, box, part)
    return part


def _moved(part: Box, origin: Box) -> Box:
    return tuple((a + o, b + o) for (a, b), (o, _) in zip(part, origin, strict=True))


def _absolute(index: tuple[slice, ...], origin: Box) -> Box:
    return tuple((s.start + o, s.stop + o) for s, (o, _) in zip(index, origin, strict=True))

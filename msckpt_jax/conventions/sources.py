"""Sources of pieces that are rearranged while they are read; no array is transposed as a whole."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from msckpt_jax import boxes, dtypes
from msckpt_jax.boxes import Box, Piece
from msckpt_jax.checkpoint import narrowing
from msckpt_jax.conventions import tiles
from msckpt_jax.conventions.mapping import down
from msckpt_jax.conventions.pattern import Pattern
from msckpt_jax.conventions.transform import Transform
from msckpt_jax.deferred import jnp
from msckpt_jax.errors import CheckpointError

#: The pieces of a tensor, and how it becomes a part of another.
_Transformed: TypeAlias = tuple[Sequence[Piece], Transform]


class Later(Sequence[Piece]):
    """The pieces of a tensor, looked up when they are used: there may be many thousand tensors."""

    def __init__(self, find: Callable[[], Sequence[Piece]]):
        self._find = find

    def __getitem__(self, index: Any) -> Any:
        return self._find()[index]

    def __iter__(self) -> Iterator[Piece]:
        return iter(self._find())

    def __len__(self) -> int:
        return len(self._find())

    def near(self, box: Box) -> Iterable[Piece]:
        return boxes.near(self._find(), box)


class _Made:
    """A tensor whose parts are made when they are read: the box ``corner`` of another."""

    corner: Box
    dtype: np.dtype

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        box = _absolute(index, self.corner)
        out = np.empty(boxes.shape_of(box), self.dtype)
        self._fill(box, out)
        return out

    def copy_into(self, out: np.ndarray, index: tuple[slice, ...]) -> None:
        """Do ``out[...] = self[index]``, without an array between where the dtypes are equal."""
        if out.dtype == self.dtype:
            self._fill(_absolute(index, self.corner), out)
        else:
            out[...] = self[index]

    def _fill(self, box: Box, out: np.ndarray) -> None:
        raise NotImplementedError


class Arranged(_Made):
    """The box ``corner`` of a parameter, made of ``source``, the box ``origin`` of a leaf."""

    def __init__(
        self, source: Any, origin: Box, corner: Box, pattern: Pattern, leaf: tuple[int, ...]
    ):
        self.source, self.origin, self.corner = source, origin, corner
        self.pattern, self.leaf = pattern, leaf
        self.shape, self.dtype = boxes.shape_of(corner), source.dtype

    def _fill(self, box: Box, out: np.ndarray) -> None:
        for mine, where in self.pattern.back(box, self.leaf):
            part = np.asarray(self.source[boxes.slices(mine, self.origin)])
            tiles.copy(out[(*boxes.slices(where, box), ...)], self.pattern.arrange(part))

    def origins(self, box: Box) -> Iterator[Piece]:
        for mine, _ in self.pattern.back(_moved(box, self.corner), self.leaf):
            yield from boxes.origins_of([(self.origin, self.source)], mine)


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


class Restored(_Made):
    """A leaf that is read from the parameters that hold it.

    Several parameters of the same part of the leaf are added up; those of other layers follow one
    another on the axes that count these.
    """

    def __init__(self, places: Sequence[Place], leaf: tuple[int, ...], dtype: np.dtype):
        self.leaf, self.dtype, self.corner = leaf, dtype, boxes.whole(leaf)
        self._axes = [axis for axis, _ in places[0].pattern.fixed]
        self._layers: dict[tuple[int, ...], list[Place]] = {}
        for place in places:
            index = tuple(at for _, at in place.pattern.fixed)
            self._layers.setdefault(index, []).append(place)

    def _fill(self, box: Box, out: np.ndarray) -> None:
        for first, *added in self._layers_in(box):
            for mine, theirs in first.pattern.forth(box, self.leaf):
                part = self._stored(first, theirs)
                for place in added:
                    more = self._stored(place, theirs)
                    if more.any():  # -0.0 + 0.0 would change the sign
                        part = (part + more).astype(self.dtype)
                restored = first.pattern.restore(part, boxes.shape_of(mine))
                tiles.copy(out[(*boxes.slices(mine, box), ...)], restored)

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
        return read(place.pieces, self.dtype, down(theirs, place.start))


class Assembled(_Made):
    """The tensor ``name``, made of parts of others while it is read; what no part fills is zero.

    ``read``: the dtype in which parts are read, where it is a wider one.

    Raises:
        CheckpointError: values that are no floats are scaled.
    """

    def __init__(
        self, parts: Sequence[_Transformed], shape: tuple[int, ...], dtype: np.dtype, name: str
    ):
        if any(how.steps for _, how in parts) and not dtypes.is_float(dtype):
            raise CheckpointError(
                "the values of this parameter are scaled: they must be floats; bring quantised "
                "ones back first", name=name, found=dtype,
            )  # fmt: skip
        self.shape, self.dtype, self.name = shape, dtype, name
        self.corner = boxes.whole(shape)
        self._all = parts
        self._full = sum(how.size for _, how in parts) == math.prod(shape)

    @functools.cached_property
    def _by_index(self) -> tuple[list[int], dict[tuple[int, ...], list[_Transformed]]]:
        """The axes on which each part has one index, and the parts by these indices.

        They are put in order when the first is read: a plan has more parts than anyone reads.
        """
        bounds = [how.inverse.bounds() for _, how in self._all]
        axes = [axis for axis in range(len(self.shape))
                if all(box[axis][1] - box[axis][0] == 1 for box in bounds)]  # fmt: skip
        out: dict[tuple[int, ...], list[_Transformed]] = {}
        for part, box in zip(self._all, bounds, strict=True):
            out.setdefault(tuple(box[axis][0] for axis in axes), []).append(part)
        return axes, out

    def _fill(self, box: Box, out: np.ndarray) -> None:
        if not self._full:
            out[...] = 0
        for pieces, how in self._parts_in(box):
            try:
                how.pull(box, pieces, out)
            except CheckpointError as error:
                raise error.within(None, self.name) from None

    def windows(self, box: Box, limit: int) -> Iterator[Box]:
        """Yield ``box`` in parts of at most ``limit`` elements, cut along the rows of the parts."""
        if not self._full:
            whole = boxes.of_range(boxes.shape_of(box), 0, boxes.size_of(box), limit)
            yield from (_moved(part, box) for part in whole)
            return
        for _, how in self._parts_in(box):
            yield from how.inverse.windows(box, limit)

    def origins(self, box: Box) -> Iterator[Piece]:
        for pieces, how in self._parts_in(box):
            for read in how.reads(box):
                yield from boxes.origins_of(pieces, read)

    def _parts_in(self, box: Box) -> Iterator[_Transformed]:
        axes, parts = self._by_index
        for index in itertools.product(*(range(*box[axis]) for axis in axes)):
            yield from parts.get(index, ())


def exact(
    parts: Sequence[tuple[Sequence[Piece], Transform]], shape: tuple[int, ...], dtype: np.dtype,
    name: str,
) -> list[Piece]:  # fmt: skip
    """The piece of a tensor of ``dtype`` made of parts of others, in float32 if it is scaled."""
    scaled = any(how.steps for _, how in parts) and dtypes.is_float(dtype)
    wide = jnp.promote_types(dtype, np.float32) if scaled else dtype
    whole = Assembled(parts, shape, wide, name)
    return [*narrowing.checked([(boxes.whole(shape), whole)], wide, dtype, name=name)]


def read(pieces: Sequence[Piece], dtype: np.dtype, box: Box) -> np.ndarray:
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

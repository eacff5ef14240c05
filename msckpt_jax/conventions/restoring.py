"""The leaves of a tree as a function of the parameters of a file: what undoes a convention, in JAX.

What :mod:`loading` does with windows of a file is done here with whole arrays, so that it can be
traced: a model file whose parameters are those of a CheckPoint begins with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend import source_info_util

from msckpt_jax import boxes
from msckpt_jax.boxes import Box
from msckpt_jax.conventions import transform
from msckpt_jax.conventions.geometry import Slot
from msckpt_jax.conventions.mapping import Part, Target, View
from msckpt_jax.conventions.pattern import Pattern
from msckpt_jax.conventions.transform import Step, Workpiece
from msckpt_jax.errors import CheckpointError

source_info_util.register_exclusion(__file__)

#: A part of a leaf, and where it lies there.
_Piece: TypeAlias = tuple[Box, Array]


class Place(NamedTuple):
    """A parameter, and the part of it that is a part of a leaf."""

    target: Target
    part: Part | View


def places(targets: Sequence[Target]) -> dict[str, list[Place]]:
    """The places of each leaf in the parameters, those first that are written."""
    out: dict[str, list[Place]] = {}
    for target in targets:
        for part in target.parts if not target.copy_of else ():
            out.setdefault(part.leaf, []).append(Place(target, part))
    return {leaf: sorted(all, key=lambda place: not place.part.written)
            for leaf, all in out.items()}  # fmt: skip


def is_identity(places: Sequence[Place]) -> bool:
    """Tell whether a leaf is a parameter as it is."""
    (target, part), *others = places
    return not others and part.is_identity and target.shape == part.shape


def restored(places: Sequence[Place], values: Mapping[str, Array], dtype: np.dtype) -> Array:
    """The leaf that these parameters hold.

    What no parameter holds is zero.

    Args:
        places: all places of the leaf.
        values: the parameters by their names.
        dtype: that of the leaf, to which values that are scaled are rounded.

    Raises:
        CheckpointError: LoRA is merged into the parameter; the parts of the leaf do not lie on a
            common grid.
    """
    views = [(target, part) for target, part in places if isinstance(part, View)]
    if not views:
        parts = [(target, part) for target, part in places if isinstance(part, Part)]
        return _joined(list(_of_parts(parts, values).items()), parts[0][1].shape)
    leaf, shape = views[0][1].leaf, views[0][1].shape
    if any(part.plus is not None for _, part in views):
        raise CheckpointError(
            "LoRA is merged into a weight when it is saved, and no graph takes it out again: "
            "merge it into the tree first", name=leaf,
        )  # fmt: skip
    works = [Workpiece.of(part.transform.placed()) for _, part in views]
    try:
        grid = _common_grid(works, len(shape))
        pieces = [
            _of_view(work, _undone(values[target.name], part.how.inverse.steps, dtype))
            for work, (target, part) in zip(works, views, strict=True)
        ]
        return _joined(pieces, grid).reshape(shape)
    except _ApartError:
        raise CheckpointError(
            "the parts that a file has of this leaf do not lie on a common grid", name=leaf
        ) from None


class _ApartError(ValueError):
    """Parts of a leaf do not lie on a common grid."""


def _of_parts(
    places: Sequence[tuple[Target, Part]], values: Mapping[str, Array]
) -> dict[Box, Array]:
    """The parts of a leaf; several parameters of the same part are added up."""
    out: dict[Box, Array] = {}
    for target, part in places:
        value = values[target.name]
        if rows := part.pattern.shape(part.shape)[:1]:
            value = value[part.start : part.start + rows[0]]
        box = list(boxes.whole(part.shape))
        for axis, at in part.pattern.fixed:
            box[axis] = at, at + 1
        where = tuple(box)
        piece = _restored(value, part.pattern, boxes.shape_of(where))
        out[where] = out[where] + piece if where in out else piece
    return out


def _restored(value: Array, pattern: Pattern, shape: Sequence[int]) -> Array:
    """A part of a parameter in the layout of the leaf, where it has this shape."""
    order = pattern.order
    loose = [shape[axis] for axis in order]
    fixed = [-1 for _ in pattern.fixed]
    axes = fixed + [number for number, group in enumerate(pattern.groups) for _ in group]
    turned = _transposed(value, loose, axes, [order.index(axis) for axis in range(len(order))])
    turned = lax.rev(turned, tuple(pattern.flipped)) if pattern.flipped else turned
    return -turned if pattern.negated else turned


def _transposed(
    value: Array, shape: Sequence[int], axes: Sequence[int], order: Sequence[int]
) -> Array:
    """``value.reshape(shape).transpose(order)``, with no axis cut that need not be.

    ``axes``: of which axis of the value each axis of the shape is a part.
    """
    groups: list[list[int]] = []
    for axis in order:
        if groups and groups[-1][-1] == axis - 1 and axes[axis - 1] == axes[axis]:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    before = sorted(groups)
    joined = value.reshape([math.prod(shape[axis] for axis in group) for group in before])
    turned = joined.transpose([before.index(group) for group in groups])
    return turned.reshape([shape[axis] for axis in order])


def _undone(value: Array, steps: Sequence[Step], dtype: np.dtype) -> Array:
    """A parameter with the values of the leaf."""
    if not steps:
        return value
    wide = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    return transform.changed(value.astype(wide), steps, wide).astype(dtype)


def _common_grid(works: Sequence[Workpiece], axes: int) -> list[int]:
    """The sizes of the slots of a leaf, whose axes are cut until all of its parts have the same."""
    for axis in range(axes):
        number = 1
        while len({tuple(slot.size for slot in work.left[axis]) for work in works}) > 1:
            if any(number > len(work.left[axis]) for work in works):
                raise _ApartError
            least = min(work.left[axis][-number].size for work in works)
            for work in works:
                slots = work.left[axis]
                if slots[-number].size > least:
                    try:
                        work.cut(slots, len(slots) - number, least)
                    except ValueError:
                        raise _ApartError from None
            number += 1
    return [slot.size for slots in works[0].left for slot in slots]


def _of_view(work: Workpiece, value: Array) -> _Piece:
    """The part of a leaf that is a part of a parameter, and its box in the grid of the leaf."""
    left, right = _flat(work.left), _flat(work.right)
    box = _box(work, right)
    if any(slot.size != stop - start for (_, slot), (start, stop) in zip(right, box, strict=True)):
        value = value.reshape([slot.size for _, slot in right])
        value = lax.slice(value, *zip(*box, strict=True))
    atoms = [(axis, slot.atom) for axis, slot in right if slot.atom is not None]
    order = [atom for _, atom in atoms]
    value = _transposed(
        value, [work.atoms[atom] for atom in order], [axis for axis, _ in atoms],
        [order.index(slot.atom) for _, slot in left if slot.atom is not None],
    )  # fmt: skip
    box = _box(work, left)
    return box, value.reshape(boxes.shape_of(box))


def _flat(axes: Sequence[Sequence[Slot]]) -> list[tuple[int, Slot]]:
    """The slots of all axes, and the numbers of these."""
    return [(number, slot) for number, axis in enumerate(axes) for slot in axis]


def _box(work: Workpiece, slots: Sequence[tuple[int, Slot]]) -> Box:
    return tuple((slot.start, slot.start + work.length(slot)) for _, slot in slots)


def _joined(pieces: Sequence[_Piece], shape: Sequence[int], axis: int = 0) -> Array:
    """The array of these pieces, side by side; zeros where there is none."""
    if axis == len(shape):
        ((_, value),) = pieces
        return value
    rows: dict[tuple[int, int], list[_Piece]] = {}
    for box, value in pieces:
        rows.setdefault(box[axis], []).append((box, value))
    out: list[Array] = []
    end = 0
    for (start, stop), row in sorted(rows.items()):
        if start < end:
            raise _ApartError
        joined = _joined(row, shape, axis + 1)
        out += [*_zeros(joined, axis, start - end), joined]
        end = stop
    out += _zeros(out[-1], axis, shape[axis] - end)
    return jnp.concatenate(out, axis) if len(out) > 1 else out[0]


def _zeros(like: Array, axis: int, count: int) -> list[Array]:
    shape = [*like.shape[:axis], count, *like.shape[axis + 1 :]]
    return [jnp.zeros(shape, like.dtype)] if math.prod(shape) else []

"""The way from one stack's tensors to another's: one map of a Family, or two that meet.

Where one Family has both stacks, its map is taken. Otherwise two follow each other, with Hugging
Face's names between them. Records go through lazily: their contents are read and rearranged when
they are written.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from msckpt_jax import display, dtypes, names
from msckpt_jax.checkpoint import leaves, stored
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.conventions import saving
from msckpt_jax.conventions.convention import Resolved, Resolver
from msckpt_jax.conventions.families import stacks
from msckpt_jax.conventions.families.family import Family
from msckpt_jax.conventions.families.table import FILES, JAX
from msckpt_jax.conventions.loading import Translated
from msckpt_jax.conventions.mapping import Target, View
from msckpt_jax.errors import CheckpointError

#: The stack in the middle.
MIDDLE = "huggingface"
#: The most tensors that an error names.
_MOST = 10


class Link(NamedTuple):
    """A tensor of the source in one of the target, and how it gets there."""

    source: str
    target: str
    how: str


class Map(NamedTuple):
    """A Family in one direction.

    Attributes:
        family: the Family.
        to_files: from the leaves of a tree to the parameters of files, or back.
        scanned: whether the tree that is made has stacked layers.
        scaled: whether values are scaled; not where two maps of one stack follow each other.
    """

    family: Family
    to_files: bool
    scanned: bool = False
    scaled: bool = True

    @property
    def source(self) -> str:
        return self.family.jax if self.to_files else self.family.files

    @property
    def target(self) -> str:
        return self.family.files if self.to_files else self.family.jax

    def records(self, given: Sequence[Record]) -> list[Record]:
        """The records of the target, made of those of the source while they are written.

        Raises:
            CheckpointError: names or shapes are not those of the model, all at once.
        """
        if self.to_files:
            return saving.from_tree(self._tree(given), self._how, lambda name: True, exact=True)
        translated, order = self._translated(given)
        return [_record(leaf, translated[leaf]) for leaf in order]

    def links(self, given: Sequence[Record]) -> tuple[list[Record], list[Link]]:
        """The records of the target, without contents, and the links that lead to them.

        Raises:
            CheckpointError: as :meth:`records`.
        """
        by_name = {record.tag: record for record in given}
        made: list[Record] = []
        out: list[Link] = []
        if self.to_files:
            for target in self._targets({record.tag: record.dims for record in given}):
                first = by_name[target.parts[0].leaf]
                made.append(_empty(target.name, target.shape, dtypes.BY_NAME[first.type].stored))
                out += (Link(part.leaf, target.name, _text(part)) for part in target.parts)
            return made, out
        translated, order = self._translated(given)
        for leaf in order:
            places = translated.places(leaf)
            made.append(_empty(leaf, places[0][1].shape, translated.dtype(leaf)))
            out += (Link(target.name, leaf, stacks.turned(_text(part))) for target, part in places)
        return made, out

    @property
    def _how(self) -> Resolver:
        return self.family if self.scaled and self.source != MIDDLE else _Of(self)

    def _targets(self, shapes: Mapping[str, tuple[int, ...]]) -> list[Target]:
        targets = self.family.of_leaves(shapes)
        return targets if self.scaled else [*map(_unscaled, targets)]

    def _tree(self, given: Sequence[Record]) -> dict[str, Any]:
        flat = {record.tag: leaves.Given(record) for record in given}
        return flat if self.family.jax == MIDDLE else names.nested(flat)

    def _translated(self, given: Sequence[Record]) -> tuple[Translated, list[str]]:
        """The leaves of the target from the parameters of the source, and their order."""
        shapes = self.family.shapes(self.scanned)
        parameters = {record.tag: _tensor(record) for record in given}
        out = Translated(
            self._targets(shapes), (), parameters, self._how, skip_mismatch=True, exact=True
        )
        wrong = [f"  {name}: {why}" for name, why in out.absent.items()]
        wrong += [f"  {name}: this model lacks it" for name in out.surplus]
        if wrong:
            more = [f"  and {len(wrong) - _MOST} more"] if len(wrong) > _MOST else []
            counted = display.counted(len(wrong), "parameter")
            raise CheckpointError(
                f"{counted} of {self.source} are not those of the model in the config:",
                more=[*wrong[:_MOST], *more],
            )
        in_tree = (lambda name: name) if self.target == MIDDLE else (lambda name: name.split("."))
        return out, sorted(shapes, key=in_tree)


class _Of(Resolver):
    """The Family of a map that leaves values as they are, or whose source has been opened."""

    def __init__(self, map: Map):
        self._map, self._family = map, map.family
        self.leaves_out = map.family.leaves_out

    def opened(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        return parameters if self._map.source == MIDDLE else self._family.opened(parameters)

    def resolve(self, tree: Any) -> Resolved:
        resolved = self._family.resolve(tree)
        if self._map.scaled:
            return resolved
        return resolved._replace(targets=[*map(_unscaled, resolved.targets)])


def _unscaled(target: Target) -> Target:
    parts = [part for part in target.parts if isinstance(part, View)]
    moved = (part._replace(how=part.how._replace(steps=())) for part in parts)
    return target._replace(parts=tuple(moved))


class Route(NamedTuple):
    """The maps from one stack to another, one or two."""

    maps: tuple[Map, ...]

    @property
    def source(self) -> str:
        return self.maps[0].source

    @property
    def target(self) -> str:
        return self.maps[-1].target

    def records(self, given: Sequence[Record]) -> list[Record]:
        """The records of the target; see :meth:`Map.records`."""
        return functools.reduce(lambda records, each: each.records(records), self.maps, [*given])

    def links(self, given: Sequence[Record]) -> tuple[list[Record], list[Link]]:
        """The records of the target without contents, and the links; see :meth:`Map.links`."""
        records, out = self.maps[0].links(given)
        for each in self.maps[1:]:
            records, more = each.links(records)
            out = _joined(out, more)
        return records, out


def between(
    config: Any, source: str, target: str, *, scanned: bool | None = None, **options: Any
) -> Route:
    """The route between two stacks of the model in ``config``.

    Args:
        config: as for :class:`Family`.
        source: the stack that is read.
        target: the stack that is made.
        scanned: with stacked layers; None: where the target stacks layers at all.
        options: further arguments of :class:`Family`; ``scan_axis`` counts for both trees.

    Raises:
        CheckpointError, ValueError: those of :class:`Family`; the target does not stack layers.
    """
    made = functools.partial(Family, config, **options)
    scaled = source != target
    if source in JAX and target in FILES:
        _check_unstacked(target, scanned)
        return Route((Map(made(jax=source, files=target), True),))
    if target not in JAX:  # both are files'
        _check_unstacked(target, scanned)
        first, second = made(jax=MIDDLE, files=source), made(jax=MIDDLE, files=target)
        return Route((Map(first, False, scaled=scaled), Map(second, True, scaled=scaled)))
    family = made(jax=target, files=source if source in FILES else MIDDLE)
    stacked = family.stacks if scanned is None else scanned
    if stacked:  # the shapes of a tree that is yet to be made leave the axis open
        family = dataclasses.replace(family, scan_axis=family.layer_axis)
    last = Map(family, False, stacked, scaled)
    if source in FILES:
        return Route((last,))
    return Route((Map(made(jax=source, files=MIDDLE), True, scaled=scaled), last))


def _check_unstacked(stack: str, scanned: bool | None) -> None:
    if scanned:
        raise ValueError(f"--scanned (scanned=) is for trees: {stack} stacks no layers")


def _joined(first: Sequence[Link], second: Sequence[Link]) -> list[Link]:
    """The links from the sources of ``first`` to the targets of ``second``."""
    into: dict[str, list[Link]] = {}
    for link in first:
        into.setdefault(link.target, []).append(link)
    return [Link(a.source, b.target, _both(a.how, b.how)) for b in second for a in into[b.source]]


def _both(first: str, second: str) -> str:
    if second == stacks.turned(first):
        return "as it is"
    steps = [how for how in (first, second) if how != "as it is"]
    return "; ".join(steps) or "as it is"


def _text(part: Any) -> str:
    assert isinstance(part, View)  # a Family makes no others
    return part.how.text


def _record(name: str, tensor: Any) -> Record:
    shape, pieces = stored.pieces(name, {name: tensor})
    dtype = tensor.stored if isinstance(tensor, Tensor) else tensor.dtype
    return _empty(name, shape, dtype)._replace(content=Tensor(shape, dtype, tuple(pieces)))


def _empty(name: str, shape: tuple[int, ...], dtype: Any) -> Record:
    row = dtypes.for_saving(dtype)
    return Record(name, row.name, shape, Tensor(shape, row.stored, ()))


def _tensor(record: Record) -> Any:
    assert not isinstance(record.content, bytes)  # strings are left out before
    return record.content

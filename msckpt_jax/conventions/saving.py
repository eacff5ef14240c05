"""Make records under MindSpore's names and in its layouts from the records of the leaves.

Nothing is gathered or transposed as a whole: each shard stays a piece, and a window of the file
is rearranged when it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from msckpt_jax import boxes, names
from msckpt_jax.checkpoint import collector, leaves, records
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.conventions import convention as conventions
from msckpt_jax.conventions import holders, low_rank, sources
from msckpt_jax.conventions.convention import ConventionLike
from msckpt_jax.conventions.mapping import Part, Target, View
from msckpt_jax.deferred import jax
from msckpt_jax.errors import CheckpointError

_Sharding: TypeAlias = "jax.sharding.Sharding | records.Spread | None"


@collector.paused()
def from_tree(
    tree: Any, convention: ConventionLike, chosen: Callable[[str], bool], exact: bool = False
) -> list[Record]:
    """A record for each parameter of MindSpore that ``tree`` holds and ``chosen`` wants.

    With ``exact`` the pieces of a parameter that is scaled hold float32, which is rounded when it
    is written: no sooner where another map follows.

    Raises:
        AmbiguousLeafError, CheckpointError: those of :meth:`Convention.targets` and
            :func:`msckpt_jax.checkpoint.leaves.from_tree`, or leaves of a parameter differ in
            dtype.
    """
    values = {leaf.name: leaf.value for leaf in names.named_leaves(tree)}
    targets, derived = [], {}
    for target in conventions.of(convention).targets(tree):
        if target.derived is not None:
            value = derived[target.name] = _derived(target, values)
            target = target._replace(constant=value)
        elif target.copy_of and int(values[target.parts[0].leaf]) == derived[target.copy_of]:
            continue
        if chosen(target.name):
            targets.append(target)
    wanted = {leaf for target in targets for part in target.parts for leaf in part.leaves}
    of_leaves = leaves.from_tree(tree, wanted.__contains__)
    by_leaf = dict(zip((name for name in values if name in wanted), of_leaves, strict=True))
    try:
        return [_record(target, by_leaf, exact) for target in targets]
    finally:
        holders.forget()


def _derived(target: Target, values: Mapping[str, Any]) -> np.ndarray:
    """A count of steps, or a hyperparameter to the power of that count."""
    assert target.derived is not None
    count, base = int(values[target.derived.steps]), target.derived.base
    if base is None:
        return np.full(target.shape, count, np.int32)
    base = float(values[base]) if isinstance(base, str) else base
    return np.full(target.shape, base**count, np.float32)


def _record(target: Target, by_leaf: Mapping[str, Record], exact: bool) -> Record:
    if target.constant is not None:
        return leaves.of_value(target.name, target.constant)
    sources = [by_leaf[part.leaf] for part in target.parts]
    first, part = sources[0], target.parts[0]
    if len(sources) == 1 and part.written and part.is_identity:
        return first._replace(tag=target.name + first.tag.removeprefix(part.leaf))  # a key's @
    if len({record.type for record in sources}) > 1:
        raise CheckpointError(
            "the leaves that make one parameter have different dtypes", name=target.name,
            found=", ".join(f"{r.tag} {r.type}" for r in sources),
        )  # fmt: skip
    pieces = _assembled(target, by_leaf, exact)
    for record, part in zip(sources, target.parts, strict=True):
        if isinstance(part, Part):
            pieces += _pieces(record, part)
    content = Tensor(target.shape, _stored(first), tuple(pieces))
    frozen = all(by_leaf[leaf].frozen for part in target.parts for leaf in part.leaves)
    sharding = _joined(target, sources)
    return Record(target.name, first.type, target.shape, content, frozen, sharding)


def _stored(record: Record) -> np.dtype:
    assert not isinstance(record.content, bytes)
    return record.content.stored if isinstance(record.content, Tensor) else record.content.dtype


def _pieces(record: Record, part: Part) -> list[boxes.Piece]:
    """The pieces of a leaf at their places in the parameter."""
    if not part.written:
        shape = part.pattern.shape(part.shape)
        zeros = np.broadcast_to(np.zeros((), _stored(record)), shape)
        return sources.shifted([(boxes.whole(shape), zeros)], part.start)
    own = _own(record, part.shape)
    if not part.pattern.is_identity:
        own = sources.arrange(own, part.pattern, part.shape)
    return sources.shifted(own, part.start) if part.start else list(own)


def _assembled(target: Target, by_leaf: Mapping[str, Record], exact: bool) -> list[boxes.Piece]:
    """A parameter made of views, as a piece, or as those boxes of it that this process holds."""
    views = [part for part in target.parts if isinstance(part, View)]
    if not views:
        return []
    parts = [(_viewed(view, by_leaf), view.transform) for view in views]
    records = [by_leaf[view.leaf] for view in views]
    stored = _stored(records[0])
    if exact:
        return sources.exact(parts, target.shape, stored, target.name)
    whole = sources.Assembled(parts, target.shape, stored, target.name)
    if all(r.sharding is None or r.sharding.is_fully_addressable for r in records):
        return [(boxes.whole(target.shape), whole)]
    spreads = _spreads(target, records)
    own = dict.fromkeys(box for spread in spreads for box in holders.mine(spread))
    every = boxes.whole(target.shape)
    return [(box, boxes.part(whole, boxes.slices(box, every), target.shape)) for box in own]


def _viewed(view: View, by_leaf: Mapping[str, Record]) -> Sequence[boxes.Piece]:
    """The pieces of a leaf, with what is added to it."""
    record = by_leaf[view.leaf]
    own = _own(record, view.shape)
    if view.plus is None:
        return own
    a, b = (_own(by_leaf[half.leaf], half.shape) for half in (view.plus.a, view.plus.b))
    return low_rank.added(own, view.plus, a, b, _stored(record))


def _own(record: Record, shape: tuple[int, ...]) -> Sequence[boxes.Piece]:
    """The pieces of a leaf of this shape in the leaf."""
    content = record.content
    assert not isinstance(content, bytes)  # strings have no layer
    if isinstance(content, Tensor):
        return content.pieces
    return [(boxes.whole(shape), content)]


def _joined(target: Target, leaves: Sequence[Record]) -> _Sharding:
    """The sharding of the parameter; where none fits many processes, the boxes that each holds."""
    ways = [_arranged(r.sharding, part) for r, part in zip(leaves, target.parts, strict=True)]
    first = ways[0]
    if len(ways) == 1 and first is not None:
        return first
    if isinstance(first, jax.NamedSharding) and all(way == first for way in ways):
        rows_together = not first.spec or first.spec[0] is None  # the parts follow on axis 0
        if rows_together:
            return first
    if all(r.sharding is None or r.sharding.is_fully_addressable for r in leaves):
        return None
    spreads = list(_spreads(target, leaves))
    if len(spreads) == 1:
        return spreads[0]
    return records.Spread(tuple(dict.fromkeys(held for s in spreads for held in s.holders)))


def _spreads(target: Target, leaves: Sequence[Record]) -> Iterator[records.Spread]:
    """Yield the boxes that each part of a parameter fills, and the processes that hold them."""
    for record, part in zip(leaves, target.parts, strict=True):
        assert not isinstance(record.sharding, records.Spread)  # a leaf has none
        yield holders.of_part(record.sharding, part)


def _arranged(sharding: _Sharding, part: Part | View) -> _Sharding:
    if isinstance(part, View) or not isinstance(sharding, jax.NamedSharding):
        return sharding if part.is_identity else None
    if any(axis < len(sharding.spec) and sharding.spec[axis] for axis, _ in part.pattern.fixed):
        return None  # the layers lie on different devices
    spec = (*sharding.spec, *(None,) * (len(part.shape) - len(sharding.spec)))
    if any(spec[axis] is not None for axis in part.pattern.flipped):
        return None
    out = []
    for group in part.pattern.groups:
        outer = next((axis for axis in group if part.shape[axis] > 1), None)
        split = [axis for axis in group if spec[axis] is not None]
        if split and split != [outer]:
            return None
        out.append(spec[split[0]] if split else None)
    return jax.NamedSharding(sharding.mesh, jax.P(*out))

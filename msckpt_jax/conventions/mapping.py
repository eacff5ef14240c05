"""Map the leaves of a tree to MindSpore's parameters: names, shapes and parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import names
from msckpt_jax.boxes import Box
from msckpt_jax.conventions import layers, pattern, siblings
from msckpt_jax.conventions.layers import LAYERS, RECURRENT, Layer
from msckpt_jax.conventions.low_rank import LowRank
from msckpt_jax.conventions.modules import Layers, Located, Segments, parents
from msckpt_jax.conventions.pattern import Pattern
from msckpt_jax.conventions.transform import Step, Transform
from msckpt_jax.errors import CheckpointError

KEPT = "kept"


def down(box: Box, rows: int) -> Box:
    """The box, moved by ``rows`` down axis 0."""
    return ((box[0][0] + rows, box[0][1] + rows), *box[1:]) if rows else box


class Part(NamedTuple):
    """A leaf in a parameter, from row ``start`` on.

    ``written`` is false where the parameter gets zeros, which are added to the leaf when loaded.
    """

    leaf: str
    shape: tuple[int, ...]
    pattern: Pattern
    start: int = 0
    written: bool = True

    @property
    def is_identity(self) -> bool:
        return self.pattern.is_identity

    @property
    def leaves(self) -> tuple[str, ...]:
        return (self.leaf,)

    def boxes(self, box: Box) -> Iterator[Box]:
        """Yield the boxes of the parameter that hold the elements in ``box`` of the leaf."""
        for _, theirs in self.pattern.forth(box, self.shape):
            yield down(theirs, self.start)


class View(NamedTuple):
    """A leaf in a parameter where a transform says which elements of it, and where.

    Attributes:
        at: the layer and the expert, which the transforms of a row's tensors do not know.
        plus: what is added to the leaf before it is saved.
    """

    leaf: str
    shape: tuple[int, ...]
    how: Transform
    at: Mapping[str, int] = {}
    written: bool = True
    plus: LowRank | None = None

    @property
    def transform(self) -> Transform:
        return self.how.at(self.at)

    @property
    def is_identity(self) -> bool:
        return self.how.is_identity and self.plus is None

    @property
    def leaves(self) -> tuple[str, ...]:
        """The leaf, and those of what is added to it."""
        return (self.leaf, self.plus.a.leaf, self.plus.b.leaf) if self.plus else (self.leaf,)

    def boxes(self, box: Box) -> Iterator[Box]:
        """Yield the boxes of the parameter that hold the elements in ``box`` of the leaf."""
        yield from (theirs for _, theirs in self.transform.forth(box))


class Derived(NamedTuple):
    """A parameter made from a count of steps, the leaf ``steps``: itself, or ``base ** steps``.

    ``base`` is a number or the leaf that holds it.
    """

    steps: str
    base: float | str | None = None


class Target(NamedTuple):
    """A parameter of MindSpore and the leaves that make it.

    Attributes:
        name, shape: MindSpore's.
        parts: the leaves in it; none when it is ``constant`` or ``derived``.
        layer: the kind of the layer that it belongs to, for the report.
        constant: the value that is written when Flax has none.
        zero_rows: the rows that must be zero in a file, because Flax has no counterpart.
        derived: the count of steps that it is made from.
        copy_of: a derived parameter of the same value; the copy is written only where it differs.
    """

    name: str
    shape: tuple[int, ...]
    parts: tuple[Part | View, ...]
    layer: str
    constant: np.ndarray | None = None
    zero_rows: tuple[int, int] = (0, 0)
    derived: Derived | None = None
    copy_of: str | None = None


class Claim(NamedTuple):
    """A leaf as the part ``rel`` of the layer at ``prefix``."""

    prefix: Segments
    layer: Layer
    rel: str
    leaf: names.Leaf


def shape_of(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value, "shape", ()))


def told(located: Sequence[Located], table: Mapping[str, str]) -> Layers:
    """The layers whose whole paths ``table`` names."""
    if not table:
        return {}
    paths = dict.fromkeys(prefix for entry in located for prefix in parents(entry.segments))
    kinds = {path: [kind for regex, kind in table.items() if re.fullmatch(regex, ".".join(path))]
             for path in paths}  # fmt: skip
    return {path: Layer(first[0]) for path, first in kinds.items() if first}


def with_guesses(located: Sequence[Located], known: Layers) -> tuple[Layers, dict[str, list[str]]]:
    """The layers ``known``, and those that the leaves' names tell elsewhere.

    The second result has the leaves that can be read in several ways.
    """
    groups: dict[Segments, dict[str, Located]] = {}
    for entry in located:
        for prefix in parents(entry.segments):
            groups.setdefault(prefix, {})[".".join(entry.segments[len(prefix) :])] = entry
    out = dict(known)
    unclear: dict[str, list[str]] = {}
    for prefix, group in sorted(groups.items(), key=lambda item: len(item[0])):
        if prefix not in known and not _inside(prefix, out):
            shapes = {rel: shape_of(entry.leaf.value) for rel, entry in group.items()}
            name = prefix[-1] if prefix else ""
            guess = siblings.guess(name, shapes, all(entry.of_flax for entry in group.values()))
            if isinstance(guess, Layer):
                out[prefix] = guess
            elif guess is not None:
                unclear[group[guess[0]].leaf.name] = guess[1]
    return out, unclear


def _inside(prefix: Segments, known: Layers) -> bool:
    """Tell whether a place lies in a layer that has leaves in sub-trees, like a cell's gates."""
    last = prefix[-1] if prefix else ""
    return bool(prefix) and any(
        rel.startswith(f"{last}.") for rel in LAYERS[known.get(prefix[:-1], Layer("other")).kind]
    )


def claims(located: Sequence[Located], known: Layers) -> list[Claim | Located]:
    """Each leaf as a part of its layer, the outermost layer that has such a leaf."""
    out: list[Claim | Located] = []
    for entry in located:
        for prefix in parents(entry.segments):
            layer, rel = known.get(prefix), ".".join(entry.segments[len(prefix) :])
            if layer is not None and rel in LAYERS[layer.kind]:
                out.append(Claim(prefix, layer, rel, entry.leaf))
                break
        else:
            out.append(entry)
    return out


def build(
    claimed: Sequence[Claim | Located], known: Layers, base: str, root: Segments = ()
) -> list[Target]:
    """The parameters of MindSpore in the order of the leaves; their names begin after ``root``."""
    out: list[Target] = []
    groups: dict[Segments, list[Claim]] = {}
    for entry in claimed:
        if isinstance(entry, Claim):
            groups.setdefault(entry.prefix, []).append(entry)
    for entry in claimed:
        if isinstance(entry, Located):
            prefix, _ = prefix_of(entry.segments, known, root, of_cell=False)
            out.append(kept(entry.leaf, ".".join(prefix)))
        elif group := groups.pop(entry.prefix, []):
            out += _layer(group, known, base, root)
    return out


def kept(leaf: names.Leaf, name: str) -> Target:
    """The parameter of a leaf that keeps its layout."""
    shape = shape_of(leaf.value)
    return Target(name, shape, (Part(leaf.name, shape, pattern.identity(len(shape))),), KEPT)


class _Slot(NamedTuple):
    """The parts of a parameter while they are collected from its layer."""

    parts: dict[int, Part]
    total: int
    zero_rows: tuple[int, int] = (0, 0)


def negated(target: Target) -> Target:
    """The parameter with the opposite sign."""

    def turned(part: Part | View) -> Part | View:
        if isinstance(part, Part):
            return part._replace(pattern=part.pattern._replace(negated=True))
        sign = Step(("multiply", -1.0), ("multiply", -1.0))
        return part._replace(how=part.how._replace(steps=(*part.how.steps, sign)))

    return target._replace(parts=tuple(map(turned, target.parts)))


def _layer(group: list[Claim], known: Layers, base: str, root: Segments) -> list[Target]:
    """The parameters of a layer."""
    prefix, layer = group[0].prefix, _variant(group)
    place, level = prefix_of(prefix, known, root, of_cell=layer.kind in RECURRENT)

    def named(row_name: str) -> str:
        name = layers.name_of(row_name, base, at_root=not place).replace("{}", level)
        return ".".join((*place, name))

    slots = _slots(group, layer, base)
    out = [_target(named(name), slot, layer, prefix) for name, slot in slots.items()]
    shapes = {claim.rel: shape_of(claim.leaf.value) for claim in group}
    for name, value in layers.constants(layer, base, shapes).items():
        out.append(Target(named(name), value.shape, (), layer.kind, value))
    return out


def _slots(group: list[Claim], layer: Layer, base: str) -> dict[str, _Slot]:
    """The parts of each parameter of a layer, by the names of the layer's rows."""
    slots: dict[str, _Slot] = {}
    for claim in group:
        row, shape = LAYERS[layer.kind][claim.rel], shape_of(claim.leaf.value)
        how = layers.pattern_of(layer, claim.rel, len(shape), base)
        if how is None:
            raise CheckpointError(
                f"a {layer.kind} has no {claim.rel} of this rank; if vmap or scan stacked several "
                "layers, pass Convention(stacked={'regex of the path': layer axis})",
                name=claim.leaf.name,
                found=f"shape {list(shape)}",
            )
        index, total = row.part
        rows = how.shape(shape)[0] if total > 1 or row.zeros else 0
        part = Part(claim.leaf.name, shape, how, index * rows)
        slots.setdefault(row.name, _Slot({}, total)).parts[index] = part
        if row.zeros:
            begin, of = row.zero_from or (1, 1)
            slot = slots.setdefault(row.zeros, _Slot({}, total, (begin * rows // of, rows)))
            slot.parts[index] = part._replace(written=False)
    return slots


def _target(name: str, slot: _Slot, layer: Layer, prefix: Segments) -> Target:
    if len(slot.parts) != slot.total:
        raise CheckpointError(
            f"{name} is made of {slot.total} leaves of {'.'.join(prefix) or 'the network'}, of "
            "which some are missing",
            name=name,
            found=", ".join(part.leaf for part in slot.parts.values()),
        )
    parts = tuple(slot.parts[index] for index in sorted(slot.parts))
    shapes = [part.pattern.shape(part.shape) for part in parts]
    if len({shape[1:] for shape in shapes}) > 1 or (len(shapes) > 1 and len(set(shapes)) > 1):
        raise CheckpointError(
            "the leaves that make one parameter have different shapes", name=name,
            found=", ".join(f"{p.leaf} {list(p.shape)}" for p in parts),
        )  # fmt: skip
    shape = shapes[0]
    if len(parts) > 1:
        shape = (sum(s[0] for s in shapes), *shape[1:])
    return Target(name, shape, parts, layer.kind, zero_rows=slot.zero_rows)


def _variant(group: list[Claim]) -> Layer:
    """The layer; MindSpore keeps three projections apart whose inputs differ in size."""
    layer = group[0].layer
    if layer.kind == "Attention":
        read = {
            shape_of(claim.leaf.value)[:1]
            for claim in group
            if claim.rel in ("query.kernel", "key.kernel", "value.kernel")
        }
        if len(read) > 1:
            return Layer("Attention(kdim, vdim)")
    return layer


def prefix_of(
    prefix: Segments, known: Layers, root: Segments, of_cell: bool
) -> tuple[Segments, str]:
    """A place in MindSpore's network, and the suffix of a recurrent layer's names.

    ``of_cell``: ``prefix`` is the place of a cell, which MindSpore's recurrent layer does not name.
    """
    out: list[str] = []
    level = ""
    begin = len(root) if prefix[: len(root)] == root else 0
    for index, segment in enumerate(prefix[begin:], begin):
        kind = known.get(prefix[:index], Layer("other")).kind
        inner = known.get(prefix[: index + 1], Layer("other")).kind
        if kind == "Sequential" and segment == "layers":
            continue
        if kind == "Sequential" and (match := re.fullmatch(r"layers_(\d+)", segment)):
            out.append(match[1])
        elif of_cell and segment == "cell" and inner in RECURRENT:
            level = level or "_l0"
        elif of_cell and kind == "Bidirectional" and segment in _DIRECTIONS:
            level = _DIRECTIONS[segment]
        else:
            out.append(segment)
    return tuple(out), level


_DIRECTIONS = {"forward_rnn": "_l0", "backward_rnn": "_l0_reverse"}

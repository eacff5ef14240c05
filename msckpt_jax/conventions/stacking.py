"""Stacked layers: one leaf of a tree stands for a parameter of each layer.

``nnx.vmap``, ``scan`` and their like keep the weights of equal layers in one leaf, which has an
axis more. Each such leaf is taken apart first, so that everything after sees a network of single
layers; the parts of the parameters that it makes are led back to the leaf at the end.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from msckpt_jax import names
from msckpt_jax.conventions.mapping import Part, Target, shape_of
from msckpt_jax.conventions.modules import Layers, Located, Segments, parents
from msckpt_jax.deferred import jax
from msckpt_jax.errors import CheckpointError
from msckpt_jax.visible import log


class Stack(NamedTuple):
    """The axis of each leaf of a subtree that counts the layers, and their number.

    ``told``: by the user, so that all leaves must have the axis; otherwise leaves of no known
    class may lack it, and stay whole.
    """

    axis: int
    layers: int
    told: bool = False


class Cut(NamedTuple):
    """A layer of a leaf: the index on each of the axes that count layers."""

    leaf: names.Leaf
    at: Mapping[int, int]


#: The stacked subtrees of a network, by their paths.
Stacks: TypeAlias = dict[Segments, Stack]
#: The layers of leaves, by the names that they have while they are taken apart.
Cuts: TypeAlias = dict[str, Cut]


def find(located: Sequence[Located], known: Layers, table: Mapping[str, int]) -> Stacks:
    """The stacked subtrees: those that ``table`` names, and those that the modules tell.

    Raises:
        CheckpointError: a subtree of the table is not there or has a leaf without the axis; the
            shapes leave open which axis counts the layers.
    """
    arrays = [entry for entry in located if _is_array(entry.leaf.value)]
    told = _told(arrays, table)
    rest = [entry for entry in arrays if not any(at in told for at in _prefixes(entry.segments))]
    return told | _seen(rest, known)


def apart(located: Sequence[Located], stacks: Stacks, cuts: Cuts) -> list[Located]:
    """The leaves, the stacked ones a layer each; ``cuts`` gets these."""
    if not stacks:
        return list(located)
    out: list[Located] = []
    for entry in located:
        depths = _depths(entry.segments, stacks)
        if not depths or not _is_array(entry.leaf.value):
            out.append(entry)
            continue
        cut = [stacks[entry.segments[:depth]] for depth in depths]
        if not _fits(entry, cut) and not any(stack.told for stack in cut):
            out.append(entry)
            continue
        shape = _without(entry.leaf, cut)
        value = jax.ShapeDtypeStruct(shape, entry.leaf.value.dtype)
        for index in itertools.product(*(range(stack.layers) for stack in cut)):
            at = dict(zip((stack.axis for stack in cut), index, strict=True))
            leaf = entry.leaf._replace(name=_indexed(entry.leaf, at), value=value)
            cuts[leaf.name] = Cut(entry.leaf, at)
            out.append(entry._replace(leaf=leaf, segments=_numbered(entry.segments, depths, index)))
    return out


def states_apart(
    located: Sequence[Located], root: Segments, stacks: Stacks, cuts: Cuts
) -> list[Located]:
    """The leaves of states that MindSpore lacks, taken apart like the weights that they follow."""
    out: list[Located] = []
    for entry in located:
        assert entry.slot is not None
        own = root + entry.slot.rest
        cut = [stacks[own[:depth]] for depth in _depths(own, stacks)]
        layers = apart([entry._replace(segments=own)], stacks if _fits(entry, cut) else {}, cuts)
        before = entry.segments[: len(entry.segments) - len(entry.slot.rest)]
        out += [layer._replace(segments=before + layer.segments[len(root) :]) for layer in layers]
    return out


def repeated(known: Layers, stacks: Stacks) -> Layers:
    """The layers of modules, those in a stack once for each of its layers."""
    out: Layers = {}
    for prefix, layer in known.items():
        depths = _depths(prefix, stacks)
        counts = (range(stacks[prefix[:depth]].layers) for depth in depths)
        for index in itertools.product(*counts):
            out[_numbered(prefix, depths, index)] = layer
    return out


def together(targets: Sequence[Target], cuts: Cuts) -> list[Target]:
    """The parameters, with the leaves themselves in the place of their layers."""
    if not cuts:
        return list(targets)
    out = []
    for target in targets:
        parts = []
        for part in target.parts:
            if isinstance(part, Part) and (cut := cuts.get(part.leaf)) is not None:
                leaf, how = cut.leaf, part.pattern.inside(cut.at)
                part = part._replace(leaf=leaf.name, shape=shape_of(leaf.value), pattern=how)
            parts.append(part)
        out.append(target._replace(parts=tuple(parts)))
    return out


def _told(arrays: Sequence[Located], table: Mapping[str, int]) -> Stacks:
    out: Stacks = {}
    unused = dict(table)
    for entry in arrays:
        for prefix in _prefixes(entry.segments):
            path = ".".join(prefix)
            regex = next((regex for regex in table if re.fullmatch(regex, path)), None)
            if regex is None:
                continue
            unused.pop(regex, None)
            if prefix not in out:
                shape, axis = shape_of(entry.leaf.value), table[regex]
                out[prefix] = Stack(axis, shape[axis] if axis < len(shape) else 0, told=True)
    if unused:
        paths = dict.fromkeys(".".join(p) for e in arrays for p in parents(e.segments) if p)
        raise CheckpointError(
            f"no subtree has a path that stacked={unused!r} matches",
            found=", ".join(itertools.islice(paths, 10)) or "leaves without a path",
        )
    return out


def _seen(arrays: Sequence[Located], known: Layers) -> Stacks:
    """The outermost subtrees whose leaves have one axis more than their classes.

    The tree itself is one only where a leaf lies at its root: otherwise it is a network of stacks.
    """
    axes = {id(entry): _more_axes(entry, known) for entry in arrays}
    if not any(axes.values()):
        return {}
    groups: dict[Segments, list[Located]] = {}
    for entry in arrays:
        for prefix in parents(entry.segments):
            groups.setdefault(prefix, []).append(entry)
    out: Stacks = {}
    for prefix, group in sorted(groups.items(), key=lambda item: len(item[0])):
        at_root = not prefix and not any(len(entry.segments) == 1 for entry in group)
        if at_root or _depths(prefix, out):
            continue
        able = _common([axes[id(entry)] for entry in group])
        if len(able) > 1:
            raise CheckpointError(
                "the shapes leave open which axis counts the layers of this stack: pass "
                f"Convention(stacked={{{re.escape('.'.join(prefix))!r}: axis}})",
                name=".".join(prefix), found=f"axes {' or '.join(str(s.axis) for s in able)}",
            )  # fmt: skip
        if able:
            out[prefix] = able[0]
            log.info("%s is a stack of %d layers on axis %d", ".".join(prefix) or "the tree",
                     able[0].layers, able[0].axis)  # fmt: skip
    return out


def _more_axes(entry: Located, known: Layers) -> list[Stack] | None:
    """The axes that a leaf has beyond those of its class; None where the class does not tell."""
    layer = known.get(entry.segments[:-1])
    own = None if layer is None else layer.shapes.get(entry.segments[-1])
    if own is None:
        return None
    shape = shape_of(entry.leaf.value)
    return [
        Stack(axis, n) for axis, n in enumerate(shape) if shape[:axis] + shape[axis + 1 :] == own
    ]


def _common(axes: Sequence[list[Stack] | None]) -> list[Stack]:
    """The axes that can count the layers in all leaves whose classes are known."""
    known = [each for each in axes if each is not None]
    return [stack for stack in (known[0] if known else []) if all(stack in e for e in known)]


def _without(leaf: names.Leaf, cut: Sequence[Stack]) -> tuple[int, ...]:
    """The shape of a layer of a leaf.

    Raises:
        CheckpointError: the leaf has none of these axes, or one of another size.
    """
    shape, axes = shape_of(leaf.value), [stack.axis for stack in cut]
    if len(set(axes)) < len(axes):
        raise CheckpointError(
            "stacked= names one axis of this leaf twice: an inner stack counts its layers on an "
            "axis of its own, as numbered in the leaf", name=leaf.name, found=f"axes {axes}",
        )  # fmt: skip
    for stack in cut:
        if shape[stack.axis : stack.axis + 1] != (stack.layers,):
            raise CheckpointError(
                "a leaf of a stack has no such layer axis; narrow the expression of stacked=",
                name=leaf.name, expected=f"{stack.layers} layers on axis {stack.axis}",
                found=f"shape {list(shape)}",
            )  # fmt: skip
    return tuple(n for axis, n in enumerate(shape) if axis not in axes)


def _fits(entry: Located, cut: Sequence[Stack]) -> bool:
    shape = shape_of(entry.leaf.value)
    return all(shape[stack.axis : stack.axis + 1] == (stack.layers,) for stack in cut)


def _is_array(value: Any) -> bool:
    """Tell whether a leaf is an array of numbers; PRNG keys stay whole."""
    return isinstance(getattr(value, "dtype", None), np.dtype)


def _prefixes(segments: Segments) -> Iterator[Segments]:
    yield from parents(segments)
    yield segments


def _depths(segments: Segments, stacks: Stacks) -> list[int]:
    """The places in a path after which the number of a layer follows."""
    return [depth for depth in range(len(segments) + 1) if segments[:depth] in stacks]


def _numbered(segments: Segments, depths: Sequence[int], index: Sequence[int]) -> Segments:
    out = list(segments)
    for depth, number in sorted(zip(depths, index, strict=True), reverse=True):
        out.insert(depth, str(number))
    return tuple(out)


def _indexed(leaf: names.Leaf, at: Mapping[int, int]) -> str:
    index = (str(at.get(axis, ":")) for axis in range(max(at) + 1))
    return f"{leaf.name}[{', '.join(index)}]"

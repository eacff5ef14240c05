"""The convention that would read a file whose names differ from a network's systematically."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from msckpt_jax import display
from msckpt_jax.checkpoint import stored
from msckpt_jax.conventions import differences, edits, layers
from msckpt_jax.conventions.convention import Convention, Resolver
from msckpt_jax.conventions.differences import Difference
from msckpt_jax.conventions.mapping import Target
from msckpt_jax.errors import CheckpointError

#: Where all layers are one's own, their leaves keep names and layouts.
_OWN = {".*": "other"}


class Proposal(NamedTuple):
    """A convention that reads more of a file.

    Attributes:
        names: the parameters that it reads further, and the leaves that they make.
        keys: where they lie in the file.
        lines: what is said of it: a line for each rule, and how to write the convention.
    """

    names: frozenset[str]
    keys: frozenset[str]
    lines: tuple[str, ...]


def of(tree: Any, parameters: Mapping[str, Any], convention: Resolver | None) -> Proposal | None:
    """The convention that reads most of what ``convention`` does not; None if none surely does.

    Args:
        tree: the network.
        parameters: the content of the file.
        convention: the one by which it was read; None: by the names of the tree.
    """
    there = _shapes(parameters)
    best: tuple[Difference, list[Target], Convention] | None = None
    for base in _bases(convention):
        try:
            targets = [target for target in base.targets(tree) if target.parts]
        except CheckpointError:  # leaves that can be read in several ways, or make up no layer
            continue
        found = differences.between({t.name: t.shape for t in targets}, there)
        if found.rules and (best is None or len(found.after) > len(best[0].after)):
            best = found, targets, base
    return _told(*best, by_own_names=convention is None) if best else None


def _bases(convention: Resolver | None) -> Iterator[Convention]:
    if convention is None:
        yield Convention(layers=_OWN)
        yield from (Convention(base=base) for base in layers.BASES)
    elif isinstance(convention, Convention):
        yield convention


def _shapes(parameters: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays among the parameters."""
    out = {}
    for key in parameters:
        try:
            shape, dtype = stored.shape_and_dtype(key, parameters)
        except (CheckpointError, TypeError):  # no array
            continue
        if dtype is not None:
            out[key] = shape
    return out


def _told(
    found: Difference, targets: list[Target], base: Convention, by_own_names: bool
) -> Proposal:
    gained = found.gained
    leaves = {part.leaf for t in targets if t.name in found.after for part in t.parts}
    leaves -= {part.leaf for t in targets if t.name not in found.after for part in t.parts}
    lines = [
        f"{display.counted(len(gained), 'parameter')} of the file would fit under other names:"
    ]
    for rule, keys in found.changed():
        name, key = next(iter(keys.items()))
        lines.append(f"  {len(keys)}: {rule.text} ({name} is {key})")
    lines.append(f"convention={_written(base, found)}")
    names = leaves if by_own_names else gained.keys()
    return Proposal(frozenset(names), frozenset(gained.values()), tuple(lines))


def _written(base: Convention, found: Difference) -> str:
    """The convention as Python writes it."""
    rules = ", ".join(f"{edits.written(rule.regex)}: {rule.shown}" for rule in found.rules)
    if base == Convention(base=base.base):
        own = "" if base.base == Convention().base else f"base={base.base!r}, "
        return f"ms.Convention({own}rename={{{rules}}})"
    if base == Convention(layers=_OWN):
        return f"ms.Convention(layers={_OWN}, rename={{{rules}}})"
    if isinstance(base.rename, Mapping):
        rules = f"**convention.rename, {rules}" if base.rename else rules
        return f"dataclasses.replace(convention, rename={{{rules}}})"
    return f"your convention, with these rules behind its function rename=: {{{rules}}}"

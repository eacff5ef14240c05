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
    ways: list[_Way] = []
    for base in _bases(convention):
        try:
            targets = [target for target in base.targets(tree) if target.parts]
        except CheckpointError:  # leaves that can be read in several ways, or make up no layer
            continue
        wanted = {target.name: target.shape for target in targets}
        ways.append(_Way(base, targets, differences.between(wanted, there)))
    if not ways:
        return None
    best = max(ways, key=lambda way: (len(way.found.after), -len(way.found.rules)))
    before = ways[0].found.before  # that is how the file was read
    return _told(best, convention is None) if len(best.found.after) > len(before) else None


class _Way(NamedTuple):
    """A convention, its parameters, and how the file has them under other names."""

    base: Convention
    targets: list[Target]
    found: Difference


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


def _told(way: _Way, by_own_names: bool) -> Proposal:
    found, gained = way.found, way.found.gained
    leaves = {part.leaf for t in way.targets if t.name in found.after for part in t.parts}
    leaves -= {part.leaf for t in way.targets if t.name not in found.after for part in t.parts}
    lines = []
    for rule, keys in found.changed():
        name, key = next(iter(keys.items()))
        lines.append(f"  {len(keys)}: {rule.text} ({name} is {key})")
    names, keys = (leaves, found.after) if by_own_names else (gained.keys(), gained)
    number = display.counted(len(found.after if by_own_names else gained), "parameter")
    head = f"{number} of the file would fit under other names:"
    convention = f"convention={_written(way.base, found)}"
    return Proposal(frozenset(names), frozenset(keys.values()), (head, *lines, convention))


def _written(base: Convention, found: Difference) -> str:
    """The convention as Python writes it."""
    rules = ", ".join(f"{edits.written(rule.regex)}: {rule.shown}" for rule in found.rules)
    if base == Convention(base=base.base) and not found.rules:
        return repr(base.base)
    if base == Convention(base=base.base):
        own = "" if base.base == Convention().base else f"base={base.base!r}, "
        return f"ms.Convention({own}rename={{{rules}}})"
    if base == Convention(layers=_OWN):
        return f"ms.Convention(layers={_OWN}, rename={{{rules}}})"
    if isinstance(base.rename, Mapping):
        rules = f"**convention.rename, {rules}" if base.rename else rules
        return f"dataclasses.replace(convention, rename={{{rules}}})"
    return f"your convention, with these rules behind its function rename=: {{{rules}}}"

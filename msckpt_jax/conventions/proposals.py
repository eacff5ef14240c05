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
    read = ways[0]  # that is how the file was read
    if len(best.found.after) <= len(read.found.before):
        return None
    return _told(best, best.found.gained if best is read else best.found.after, convention is None)


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


def _told(way: _Way, keys: Mapping[str, str], of_leaves: bool) -> Proposal:
    """The proposal of a convention; ``keys`` has what it finds and the other one did not."""
    number = display.counted(len(keys), "parameter")
    lines = [f"{number} of the file would fit under other names:"]
    for rule, changed in way.found.changed():
        name, key = next(iter(changed.items()))
        lines.append(f"  {len(changed)}: {rule.text} ({name} is {key})")
    lines.append(f"convention={_written(way.base, way.found)}")
    names = frozenset(keys)
    if of_leaves:
        names = frozenset(part.leaf for t in way.targets if t.name in keys for part in t.parts)
        names -= {p.leaf for t in way.targets if t.name not in way.found.after for p in t.parts}
    return Proposal(names, frozenset(keys.values()), tuple(lines))


def _written(base: Convention, found: Difference) -> str:
    """The convention as Python writes it."""
    rules = ", ".join(f"{edits.written(regex)}: {shown}" for regex, shown in _entries(base, found))
    if base == Convention(base=base.base) and not found.rules:
        return repr(base.base)
    if base == Convention(base=base.base, network=base.network):
        given = "" if base.base == Convention().base else f"base={base.base!r}, "
        given += f"network={base.network!r}, " if base.network else ""
        return f"ms.Convention({given}rename={{{rules}}})"
    if base == Convention(layers=_OWN):
        return f"ms.Convention(layers={_OWN}, rename={{{rules}}})"
    if isinstance(base.rename, Mapping):
        rules = f"**convention.rename, {rules}" if base.rename else rules
        return f"dataclasses.replace(convention, rename={{{rules}}})"
    return f"your convention, with these rules behind its function rename=: {{{rules}}}"


def _entries(base: Convention, found: Difference) -> Iterator[tuple[str, str]]:
    """Yield the new entries of ``rename=``, whose keys differ from each other and from the old."""
    used = set(base.rename) if isinstance(base.rename, Mapping) else set()
    for rule in found.rules:
        regex = rule.regex
        while regex in used:
            regex = f"(?:{regex})"
        used.add(regex)
        yield regex, rule.shown

"""The convention of a file when none was named: the tree's own names, else the one that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from msckpt_jax import names
from msckpt_jax.checkpoint import stored
from msckpt_jax.conventions import convention as conventions
from msckpt_jax.conventions import layers, loading, prefixes
from msckpt_jax.conventions.mapping import Target
from msckpt_jax.conventions.state_names import ACCUMULATORS
from msckpt_jax.errors import CheckpointError
from msckpt_jax.visible import log


class _Reading(NamedTuple):
    """The leaves that a convention finds in a file, and the parameters in which it does."""

    base: str
    leaves: frozenset[str]
    targets: tuple[tuple[str, Any], ...]


def chosen(
    tree: Any, leaves: Sequence[names.Leaf], parameters: Mapping[str, Any], repair: bool
) -> str | None:
    """The convention that gives more leaves than their own names do; None for their own names.

    A convention is taken only if it finds all leaves that their names find, and further ones, and
    if it is the only one, or reads the file as the others do. The log tells which it is.

    Raises:
        CheckpointError: conventions that find equally many leaves read the file differently.
    """
    own = {leaf.name for leaf in leaves if leaf.name in parameters}
    wanted = [leaf.name for leaf in leaves if not leaf.name.startswith(ACCUMULATORS)]
    if own.issuperset(wanted) or (repair and prefixes.common(wanted, parameters) is not None):
        return None
    able = [reading for base in layers.BASES if (
        reading := _reading(tree, base, parameters, repair)) and reading.leaves > own]  # fmt: skip
    if not able:
        return None
    best = max(len(reading.leaves) for reading in able)
    first, *rest = (reading for reading in able if len(reading.leaves) == best)
    if any(reading.targets != first.targets for reading in rest):
        bases = " and ".join(repr(reading.base) for reading in (first, *rest))
        raise CheckpointError(
            f"the conventions {bases} read the file differently: pass one as convention=",
            file=stored.file_of(parameters),
        )
    log.warning(
        "convention=%r was taken, which finds %d of %d leaves; the tree's own names find %d",
        first.base, best, len(leaves), len(own),
    )  # fmt: skip
    return first.base


def _reading(tree: Any, base: str, parameters: Mapping[str, Any], repair: bool) -> _Reading | None:
    """The leaves that a convention finds whole, in parameters of their shapes."""
    try:
        targets = conventions.of(base).targets(tree)
    except CheckpointError:  # leaves that can be read in several ways, or make up no layer
        return None
    keys = loading.keys_of(targets, parameters, repair)
    there = [t for t in targets if t.parts and t.name in keys and _fits(t, keys, parameters)]
    whole = {part.leaf for target in there for part in target.parts}
    lost = {part.leaf for target in targets if target not in there for part in target.parts}
    held = tuple((keys[target.name], target.parts) for target in there)
    return _Reading(base, frozenset(whole - lost), held)


def _fits(target: Target, keys: Mapping[str, str], parameters: Mapping[str, Any]) -> bool:
    shape, _ = stored.shape_and_dtype(keys[target.name], parameters)
    return shape == target.shape or stored.trailing_ones(shape, target.shape)

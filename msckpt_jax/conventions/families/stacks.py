"""The stack whose tensors a checkpoint holds, and what lies around and beside them there."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from msckpt_jax.conventions.families import family as families
from msckpt_jax.conventions.families import table as tables
from msckpt_jax.conventions.families.family import Family
from msckpt_jax.conventions.families.matching import listed, normal
from msckpt_jax.conventions.families.table import JAX, Section, Table, Tensor
from msckpt_jax.conventions.notation import evaluate
from msckpt_jax.errors import CheckpointError

#: Levels around the weights in the checkpoints of training loops.
_AROUND = {"params", "base", "model"}
#: Branches of such checkpoints that hold no weights.
_BESIDE = {
    "opt_state", "optimizer", "optimizer_state", "step", "nnx_aux", "rng", "rngs", "dropout",
    "to_nnx__rngs", "training_key", "data_state",
}  # fmt: skip


class Nesting(NamedTuple):
    """The place of a leaf in the checkpoints of a stack: what comes before and after its path."""

    before: str = ""
    after: str = ""


#: MaxText wraps the variables of linen once more, Levanter has the model in the state of a trainer,
#: and tunix saves the variables of nnx.
NESTING = {
    "maxtext": Nesting("params.params."),
    "tunix": Nesting(after=".value"),
    "levanter": Nesting("model."),
}


class Weights(NamedTuple):
    """The weights in a checkpoint.

    Attributes:
        names: the names in the checkpoint by the paths of the leaves.
        left_out: the names of what a model does without.
    """

    names: dict[str, str]
    left_out: list[str]


def weights(names: Iterable[str], stack: str, family: Family) -> Weights:
    """The weights among the names in a checkpoint of ``stack``, which is a side of ``family``.

    Raises:
        CheckpointError: two names are one leaf.
    """
    own = _tops(family.section(stack))
    around = _AROUND - own if stack in JAX else set()
    beside = _BESIDE - own if stack in JAX else set()
    out = Weights({}, [])
    for name in names:
        path = _within(name, around)
        if not beside.isdisjoint(path.split(".")) or family.leaves_out(path):
            out.left_out.append(name)
        elif path in out.names:
            first = out.names[path]
            raise CheckpointError(f"{first} and {name} are one leaf, {path}", name=name)
        else:
            out.names[path] = name
    return out


def _tops(section: Section) -> set[str]:
    """The first levels of a stack's paths."""
    layers = [path for path, _ in (*section.layers, *section.scanned)]
    paths = [path for ways in section.rows.values() for path, _ in ways]
    return {path.split(".")[0] for path in (*paths, *layers)}


def _within(name: str, around: set[str]) -> str:
    """The path of a leaf without the levels around the weights."""
    top, dot, inner = name.partition(".")
    while dot and top in around:
        name = inner
        top, dot, inner = name.partition(".")
    return name


def guess(table: Table, sizes: Mapping[str, Any], names: Iterable[str]) -> str:
    """The only stack of a table that has these names.

    Raises:
        CheckpointError: there is none, or several.
    """
    there = set(names)
    there |= {_within(name, _AROUND) for name in there}
    probes = list(_probes(table, sizes))
    able = [name for name, section in table.sections.items()
            if any(_has(there, section.of(sizes), sizes, probes, scanned)
                   for scanned in {False, bool(section.scanned)})]  # fmt: skip
    if len(able) == 1:
        return able[0]
    if not able:
        raise CheckpointError(
            f"these are no names of {table.name} that its table knows, with this config: pass "
            "--from (from_stack=) to learn what differs",
            expected=", ".join(table.sections), found=", ".join(sorted(there)[:3]),
        )  # fmt: skip
    raise CheckpointError(
        "the names are those of several stacks: pass --from (from_stack=)",
        found=", ".join(able),
    )


def _probes(table: Table, sizes: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yield some tensors of a model, of all its rows."""
    ends = {0, evaluate("L", sizes) - 1}
    first = dict(sizes) | {"E": 1} if "E" in sizes else sizes
    return (t for t in families.tensors(table, first) if t.i in ends)


def _has(
    there: set[str], section: Section, sizes: Mapping[str, Any], probes: Iterable[Tensor],
    scanned: bool,
) -> bool:  # fmt: skip
    """Tell whether all probes have a name, in one of the spellings of an index in a list."""
    paths = tables.Paths(section, sizes, scanned)
    places = (paths.place(path, tensor).path
              for tensor in probes for path, _ in section.rows.get(tensor.row, ()))  # fmt: skip
    return all(not there.isdisjoint((path, normal(path), listed(path))) for path in places)


@functools.lru_cache(1024)
def turned(how: str) -> str:
    """The notation of a transform's inverse: ``undo (T); mul(2)`` for ``undo (mul(2)); T``."""
    done, rest = "", how
    if how.startswith("undo ("):
        depth = 0
        for at, character in enumerate(how):
            depth += (character == "(") - (character == ")")
            if character == ")" and not depth:
                done, rest = how[len("undo (") : at], how[at + 1 :].removeprefix("; ")
                break
    if how == "as it is":
        return how
    return "; ".join(filter(None, (rest and f"undo ({rest})", done)))

"""LoRA leaves that qwix puts beside the weights of a tree, and the tensors of PEFT's adapters.

Both follow from the row of the weight in the family's table: A has those axes of the weight that
come from the inputs of Hugging Face's (outputs, inputs), B has the others, in their order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from msckpt_jax import display
from msckpt_jax.conventions.families import matching
from msckpt_jax.conventions.families.matching import Leaf, Model
from msckpt_jax.conventions.families.table import Paths, Section
from msckpt_jax.conventions.geometry import Axis, Slot
from msckpt_jax.conventions.low_rank import Half, LowRank
from msckpt_jax.conventions.modules import Located
from msckpt_jax.conventions.transform import Step, Transform
from msckpt_jax.errors import CheckpointError

#: The ends of the names that qwix gives to A and B.
ENDS = ("_lora_a", "_lora_b")
_PREFIX, _WEIGHT = "base_model.model.", ".weight"


class Pair(NamedTuple):
    """The two LoRA leaves of a weight, whose normal path is ``path``."""

    path: str
    a: Leaf
    b: Leaf

    @property
    def rank(self) -> int:
        return self.b.shape[0]


class Module(NamedTuple):
    """A Linear layer of Hugging Face whose weight lies in a leaf that has a :class:`Pair`.

    Attributes:
        name: its name in Hugging Face's model.
        inside: the axes of the leaf that its inputs make.
        weight: its weight, and the leaf.
    """

    name: str
    inside: tuple[int, ...]
    weight: Transform

    def tensor(self, half: str) -> str:
        """The name of a half (``"A"``, ``"B"``) in PEFT's file."""
        return f"{_PREFIX}{self.name}.lora_{half}{_WEIGHT}"

    def a(self, rank: int, place: Slot) -> Transform:
        """PEFT's A of shape (rank, inputs), and the leaf, on whose last axis is ``place``."""
        axes = [self.weight.right[axis] for axis in self.inside]
        ranks = (Slot(len(self.weight.atoms), rank),)
        return self._half(rank, (ranks, self.weight.left[1]), (*axes, (place,)), ())

    def b(self, rank: int, place: Slot, steps: tuple[Step, ...] = ()) -> Transform:
        """PEFT's B of shape (outputs, rank), and the leaf, on whose first axis is ``place``."""
        axes = [axis for number, axis in enumerate(self.weight.right) if number not in self.inside]
        ranks = (Slot(len(self.weight.atoms), rank),)
        steps = (*self.weight.steps, *steps)
        return self._half(rank, (self.weight.left[0], ranks), ((place,), *axes), steps)

    def _half(
        self, rank: int, left: tuple[Axis, ...], right: tuple[Axis, ...], steps: tuple[Step, ...]
    ) -> Transform:
        atoms = (*self.weight.atoms, rank)
        used = sorted({slot.atom for axis in left for slot in axis if slot.atom is not None})
        number = {atom: at for at, atom in enumerate(used)}

        def renumbered(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
            return tuple(
                tuple(s if s.atom is None else s._replace(atom=number[s.atom]) for s in axis)
                for axis in axes
            )

        kept = tuple(atoms[atom] for atom in used)
        return Transform(kept, renumbered(left), renumbered(right), steps, self.weight.text)


def apart(leaves: Mapping[str, Leaf]) -> tuple[dict[str, Leaf], list[Pair]]:
    """The leaves that are no LoRA, and the pairs of the others, by their normal paths.

    Raises:
        CheckpointError: A or B is missing, or they have different ranks.
    """
    halves: dict[str, dict[str, Leaf]] = {}
    for path, leaf in leaves.items():
        if path.endswith(ENDS):
            end = path[-len(ENDS[0]) :]
            halves.setdefault(path.removesuffix(end), {})[end] = leaf
    pairs = []
    for path, both in halves.items():
        if len(both) < 2:
            leaf = next(iter(both.values()))
            raise CheckpointError("one half of a LoRA, A or B, is missing beside this leaf",
                                  name=leaf.name)  # fmt: skip
        a, b = (both[end] for end in ENDS)
        if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[0]:
            raise CheckpointError(
                "A and B of a LoRA have different ranks: the last axis of A, the first of B",
                name=a.name, found=f"{list(a.shape)} and {list(b.shape)}",
            )  # fmt: skip
        pairs.append(Pair(path, a, b))
    return {path: leaf for path, leaf in leaves.items() if not path.endswith(ENDS)}, pairs


def check_no_states(located: Iterable[Located]) -> None:
    """Refuse the state of an optimizer of LoRA leaves: no file has a place for it."""
    for entry in located:
        if entry.slot is not None and any(part.endswith(ENDS) for part in entry.segments):
            raise CheckpointError(
                "the optimizer has a state of LoRA leaves, for which the files have no place: pass "
                "the model without it, and save the state by save_checkpoint without a Family",
                name=entry.leaf.name,
            )


def modules(model: Model, ours: Section, pairs: Iterable[Pair]) -> dict[str, list[Module]]:
    """The layers of Hugging Face behind each pair, by the pair's path, in the table's order.

    Raises:
        CheckpointError: a pair is beside no weight of the table, or its shapes are not those that
            follow from the weight's row.
    """
    by_path = {pair.path: pair for pair in pairs}
    paths = Paths(model.table.sections["huggingface"], model.sizes)
    out: dict[str, list[Module]] = {}
    for tensor, path, weight in matching.transforms(model, ours, by_path):
        name = paths.place(tensor.row, tensor).path.removesuffix(_WEIGHT)
        out.setdefault(path, []).append(_module(name, weight, by_path[path]))
    unknown = [pair.a.name for pair in pairs if pair.path not in out]
    if unknown:
        raise CheckpointError("LoRA leaves that are beside no weight of the table:",
                              more=matching.some_of(unknown))  # fmt: skip
    return out


def _module(name: str, weight: Transform, pair: Pair) -> Module:
    loops = any(slot.loop for axis in weight.right for slot in axis)
    added = any(kind == "add" for (kind, _), _ in weight.steps)
    if len(weight.left) != 2 or loops or added or name.endswith("embed_tokens"):
        raise CheckpointError(
            "LoRA is known of the weights of Linear layers, of which this is none", name=pair.a.name
        )
    inside = _inside(weight, pair)
    made = Module(name, inside, weight)
    place = Slot(len(weight.atoms), pair.rank)
    for leaf, how in ((pair.a, made.a(pair.rank, place)), (pair.b, made.b(pair.rank, place))):
        if how.shape() != leaf.shape:
            raise CheckpointError(
                "the shape of a LoRA leaf is not that which follows from its weight",
                name=leaf.name, expected=list(how.shape()), found=list(leaf.shape),
            )  # fmt: skip
    return made


def _inside(weight: Transform, pair: Pair) -> tuple[int, ...]:
    """The axes of the weight's leaf that A has; an axis of one element may be of either side."""
    inputs = {slot.atom for slot in weight.left[1]}
    out: list[int] = []
    for number, axis in enumerate(weight.right):
        sides = {slot.atom in inputs for slot in axis if slot.atom is not None}
        if len(sides) > 1:
            raise CheckpointError("inputs and outputs share an axis of the weight: its LoRA "
                                  "cannot be separated", name=pair.a.name)  # fmt: skip
        mine = pair.a.shape[len(out) : -1][:1] == (1,) if axis == () else sides == {True}
        if mine:
            out.append(number)
    return tuple(out)


def check_alpha(alpha: Any, jax: str) -> None:
    """Refuse what is no alpha of LoRA, and one of a stack whose LoRA leaves are not known."""
    if alpha is None:
        return
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise TypeError(f"lora_alpha must be a number, not {type(alpha).__name__}")
    if not (alpha > 0 and math.isfinite(alpha)):
        raise ValueError(f"lora_alpha must be positive, not {alpha}")
    if jax != "tunix":
        raise ValueError(f"LoRA leaves are known of jax='tunix' (with qwix), not of {jax!r}")


def merges(
    model: Model, ours: Section, pairs: Sequence[Pair], alpha: float | None
) -> dict[str, LowRank]:
    """The products that are added to weights, by the normal paths of their leaves.

    Raises:
        CheckpointError: those of :func:`modules`; there is no alpha to merge with.
    """
    if not pairs:
        return {}
    if alpha is None:
        count = display.counted(2 * len(pairs), "LoRA leaf", "LoRA leaves")
        raise CheckpointError(
            f"the tree has {count}, for which a model's files have no place: merge them into their "
            "weights by Family(..., jax='tunix', lora_alpha=...), or save them as an adapter by "
            "save_adapter, and the weights without them",
            name=pairs[0].a.name,
        )
    known = modules(model, ours, pairs)
    return {
        pair.path: LowRank(
            Half(*pair.a), Half(*pair.b), known[pair.path][0].inside, alpha / pair.rank
        )
        for pair in pairs
    }

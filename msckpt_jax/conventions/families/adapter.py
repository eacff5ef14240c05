"""``Adapter``: the tensors of a PEFT adapter that the LoRA leaves of a tree make, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from msckpt_jax.checkpoint import stored
from msckpt_jax.conventions.convention import Resolved, Resolver
from msckpt_jax.conventions.families import matching, peft_config
from msckpt_jax.conventions.families.family import Family
from msckpt_jax.conventions.families.lora import Module, Pair
from msckpt_jax.conventions.geometry import Slot
from msckpt_jax.conventions.mapping import Target, View
from msckpt_jax.conventions.transform import Step, Transform
from msckpt_jax.errors import CheckpointError

#: Factors that round nothing.
_EXACT = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


class Adapter(Resolver):
    """The names and layouts of an adapter of a Family, as it is saved.

    Raises:
        CheckpointError, TypeError: the Family has no ``lora_alpha``, or other files than Hugging
            Face's.
    """

    def __init__(self, family: Any):
        if not isinstance(family, Family):
            kind = type(family).__name__
            raise TypeError(f"the convention of an adapter is a Family, not {kind}")
        if family.lora_alpha is None or family.files != "huggingface":
            raise ValueError(
                "an adapter needs Family(..., jax='tunix', lora_alpha=...), the alpha that qwix "
                "computes with, and files='huggingface'"
            )
        self.family, self.alpha = family, family.lora_alpha

    @property
    def framework(self) -> str:
        return "pt"

    def resolve(self, tree: Any) -> Resolved:
        """The tensors of the file that the LoRA leaves of ``tree`` make; it may have other leaves.

        Raises:
            CheckpointError: those of :meth:`Family.lora_modules`; there are no LoRA leaves.
        """
        out: list[Target] = []
        for pair, modules in _known(self.family, tree):
            for module in modules:
                out += self._targets(pair, module, pair.rank, 0)
        return Resolved(out, {})

    def config(self, tree: Any) -> bytes:
        """The content of ``adapter_config.json``."""
        ranks = {m.name: pair.rank for pair, ms in _known(self.family, tree) for m in ms}
        every = [name.removesuffix(".weight") for name in self.family.names]
        return peft_config.made(ranks, every, self.alpha, self.family.base)

    def _targets(
        self, pair: Pair, module: Module, rank: int, start: int, steps: tuple[Step, ...] = ()
    ) -> list[Target]:
        """A and B of a layer, whose ranks begin at ``start`` of those in the leaves."""
        place = Slot(len(module.weight.atoms), pair.rank, start)
        halves = (("A", pair.a, module.a(rank, place)), ("B", pair.b, module.b(rank, place, steps)))
        return [_target(module.tensor(half), leaf, how.inverse) for half, leaf, how in halves]


class Stored(Adapter):
    """The same for the parameters of an adapter that is loaded.

    Where the tree has one A for several layers (keys and values of Gemma), the adapter has one
    for each. They go into one leaf if they are equal, or side by side if the leaf has so many
    ranks; parts of B that belong to another layer's A are zero. alpha / rank is smaller then, and
    B is multiplied by that power of two.
    """

    def __init__(self, family: Any, config: Mapping[str, Any], parameters: Mapping[str, Any]):
        super().__init__(family)
        self._config, self._parameters = config, parameters
        self._file = stored.file_of(parameters)

    def resolve(self, tree: Any) -> Resolved:
        """The tensors of the file that make the LoRA leaves of ``tree``.

        Raises:
            CheckpointError: also where ranks or alpha of the tree are not those of the adapter.
        """
        out: list[Target] = []
        for pair, modules in _known(self.family, tree):
            there = [m for m in modules if m.tensor("B") in self._parameters]
            ranks = [self._rank(module) for module in there]
            side_by_side = len(there) > 1 and sum(ranks) == pair.rank
            if not side_by_side:
                self._check_equal(pair, there, ranks)
            start = 0
            for module, rank in zip(there, ranks, strict=True):
                steps = self._steps(pair, module, rank, side_by_side)
                out += self._targets(pair, module, rank, start, steps)
                start += rank if side_by_side else 0
            if not there:  # which is reported as missing
                out += self._targets(pair, modules[0], pair.rank, 0)
        self._check_surplus({target.name for target in out})
        return Resolved(out, {})

    def _check_surplus(self, known: set[str]) -> None:
        """Refuse tensors that change further layers; PEFT adds the base of a head to the file."""
        surplus = [name for name in self._parameters
                   if name not in known and not name.endswith(".base_layer.weight")]  # fmt: skip
        if surplus:
            raise CheckpointError(
                "the adapter has tensors for which the tree has no LoRA leaves: apply qwix to "
                "these layers, too (module_path=)", file=self._file, more=matching.some_of(surplus)
            )  # fmt: skip

    def _rank(self, module: Module) -> int:
        shape, _ = stored.shape_and_dtype(module.tensor("B"), self._parameters)
        return shape[1] if len(shape) == 2 else 0

    def _check_equal(self, pair: Pair, modules: Sequence[Module], ranks: Sequence[int]) -> None:
        """Refuse layers of another rank than the leaf, and several whose A are not one."""
        names = ", ".join(module.name for module in modules)
        if any(rank != pair.rank for rank in ranks):
            raise CheckpointError(
                "the adapter has another rank than the LoRA leaves of the tree: pass it to "
                "qwix.LoraRule(rank=...)", name=pair.a.name, file=self._file,
                expected=" or ".join(map(str, sorted({*ranks, sum(ranks)}))), found=pair.rank,
            )  # fmt: skip
        keys = [module.tensor("A") for module in modules if module.tensor("A") in self._parameters]
        values = [np.asarray(self._parameters[key]) for key in keys]
        if any(v.dtype != values[0].dtype or v.tobytes() != values[0].tobytes() for v in values):
            raise CheckpointError(
                f"{names} have an A each, and the tree has one leaf for them: give it the sum of "
                "their ranks by a qwix.LoraRule of its own, with the same alpha",
                name=pair.a.name, file=self._file, expected=f"rank {sum(ranks)}",
                found=f"rank {pair.rank}",
            )  # fmt: skip

    def _steps(self, pair: Pair, module: Module, rank: int, side_by_side: bool) -> tuple[Step, ...]:
        """What makes alpha / rank of the tree that of the adapter: a power of two, or nothing."""
        scale = peft_config.scale(self._config, module.name, rank, self._file)
        factor = scale * pair.rank / self.alpha
        exact = next((by for by in (_EXACT if side_by_side else _EXACT[:1])
                      if math.isclose(factor, by, rel_tol=1e-6)), None)  # fmt: skip
        if exact is None:
            raise CheckpointError(
                "the adapter was trained with another alpha than the tree computes with",
                name=module.name, file=self._file, found=f"lora_alpha={self.alpha:g}",
                expected=f"lora_alpha={scale * (rank if side_by_side else pair.rank):g}",
            )  # fmt: skip
        return (Step(("multiply", exact), ("divide", exact)),) if exact > 1 else ()


def _known(family: Family, tree: Any) -> list[tuple[Pair, list[Module]]]:
    known = family.lora_modules(tree)
    if not known:
        raise CheckpointError(
            "the tree has no LoRA leaves, whose names end with _lora_a and _lora_b; "
            "qwix.apply_lora_to_model makes them"
        )
    return known


def _target(name: str, leaf: Any, how: Transform) -> Target:
    return Target(name, how.shape(), (View(leaf.name, leaf.shape, how),), "LoRA")

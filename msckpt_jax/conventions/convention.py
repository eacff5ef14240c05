"""``Convention``: names and layouts in MindSpore of the leaves of a Flax tree."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from msckpt_jax import arguments, display, names
from msckpt_jax.conventions import (
    layers,
    mapping,
    modules,
    networks,
    optimizers,
    renaming,
    stacking,
)
from msckpt_jax.conventions.mapping import Target
from msckpt_jax.conventions.modules import Located
from msckpt_jax.errors import AmbiguousLeafError, CheckpointError


class Resolved(NamedTuple):
    """MindSpore's parameters, and the leaves that can be read in several ways."""

    targets: list[Target]
    unclear: dict[str, list[str]]


class Resolver:
    """Anything that maps the leaves of a tree to parameters: a Convention, a Family.

    Attributes:
        sides: the tree's and the file's, as :func:`explain` calls them.
        framework: the one whose readers the files are for, where they look for its name.
    """

    @property
    def sides(self) -> tuple[str, str]:
        return "Flax", "MindSpore"

    @property
    def framework(self) -> str:
        return "ms"

    def resolve(self, tree: Any) -> Resolved:
        """The parameters that ``tree`` makes, and its leaves that can be read in several ways."""
        raise NotImplementedError

    def targets(self, tree: Any) -> list[Target]:
        """The parameters for ``tree``, in the order of its leaves.

        Raises:
            AmbiguousLeafError: some leaves can be read in several ways.
            CheckpointError: leaves do not make up a layer, or two parameters have the same name.
        """
        resolved = self.resolve(tree)
        if resolved.unclear:
            raise _ambiguous(resolved.unclear)
        return resolved.targets

    def companions(self) -> Mapping[str, bytes]:
        """The files that belong beside the parameters in a folder, by their names."""
        return {}

    def opened(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters of a file by the names and with the values that :meth:`targets` means."""
        return parameters

    def leaves_out(self, name: str) -> bool:
        """Tell whether a tree may do without a parameter of a file: without any, by default."""
        del name
        return True

    def kinds_left_out(self, names: Sequence[str]) -> Mapping[str, int]:
        """The kinds of those parameters that :meth:`leaves_out`, to be told, and their numbers."""
        del names
        return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convention(Resolver):
    r"""Names and layouts of MindSpore for the leaves of a Flax tree.

    Attributes:
        base: ``"mindspore"`` (``mindspore.nn``) or ``"mint"`` (``mindspore.mint.nn``).
        rename: regular expression to template, or to a function of the match, as ``re.sub`` takes
            them: matches in MindSpore's names are replaced, by each rule in order. Or one function
            of the whole name. It leads from MindSpore's name to the file's when saving as when
            loading, so that no inverse is needed. An optimizer's moments have its results behind
            their prefix; its other states are not renamed.
        network: a network of a package of JAX, a key of
            :data:`msckpt_jax.conventions.networks.known` like ``"bonsai.resnet"``, whose names
            become those of MindSpore's collection, before ``rename``.
        module: the network, where the tree does not hold it: an ``nnx`` module for its state, or
            a linen module for its variables. Layers are then known by their class.
        inputs: example arguments (arrays or ``jax.ShapeDtypeStruct``) of a linen module.
        layers: regular expression of a layer's whole path (``"conv\d"``) to its kind: a key of
            :data:`msckpt_jax.conventions.layers.LAYERS`, ``"other"`` for layers of your own.
        stacked: regular expression of a subtree's whole path to the axis of its leaves that counts
            layers, as numbered in the leaf. Each layer gets parameters of its own, whose number
            follows the path: ``layers.w`` of shape (3, 2, 4) with ``{"layers": 0}`` becomes
            ``layers.0.w`` to ``layers.2.w`` of (2, 4). Layers that ``nnx.vmap`` or
            ``linen.scan`` stacked are found by their modules.
        optimizer: the class of MindSpore that goes on with the states of optax, a key of
            :data:`msckpt_jax.conventions.optimizers.OPTIMIZERS`. None: ``Momentum``, ``Adam``,
            ``RMSProp``, ``Adagrad`` or ``Adadelta`` by the states. ``optax.adam``, ``adamw``,
            ``lamb`` and others have the same kind of state: name the class if it is not ``Adam``.
        hyperparameters: ``b1`` and ``b2`` of adam if they are not 0.9 and 0.999: MindSpore keeps
            their powers, optax computes them.

    Raises:
        ValueError: a base, network, kind or optimizer is unknown, a regular expression or a
            template is faulty.
        TypeError: ``rename`` holds neither texts nor functions, ``module`` is no module of Flax,
            another argument is no dict or tuple.

    Example:
        >>> net = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        >>> convention = ms.Convention(base="mindspore", rename={"^": "backbone."})
        >>> ms.save_checkpoint(net, "model.ckpt", convention=convention)
        >>> {name: entry.shape for name, entry in ms.open_checkpoint("model.ckpt").entries.items()}
        {'backbone.bias': (3,), 'backbone.weight': (3, 2)}
    """

    base: str = "mindspore"
    rename: renaming.Rename = dataclasses.field(default_factory=dict)
    network: str | None = None
    module: Any = None
    inputs: tuple[Any, ...] = ()
    layers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    stacked: Mapping[str, int] = dataclasses.field(default_factory=dict)
    optimizer: str | None = None
    hyperparameters: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.base, str) or self.base not in layers.BASES:
            known = f"{', '.join(layers.BASES)}, or a network: {', '.join(networks.known())}"
            raise ValueError(f"base must be one of {known}; not {self.base!r}")
        if self.network is not None:
            arguments.choice("network", self.network, networks.known())
        modules.check(self.module)
        for name, kind in (("layers", Mapping), ("stacked", Mapping), ("inputs", tuple)):
            if not isinstance(value := getattr(self, name), kind):
                wanted = "dict" if kind is Mapping else "tuple"
                raise TypeError(f"{name} must be a {wanted}, not {type(value).__name__}")
        for kind in self.layers.values():
            if not isinstance(kind, str) or kind not in layers.LAYERS:
                raise ValueError(f"{kind!r} is no kind of layer; known: {', '.join(layers.LAYERS)}")
        optimizers.check(self.optimizer, self.hyperparameters)
        for regex, axis in self.stacked.items():
            if isinstance(axis, bool) or not isinstance(axis, int) or axis < 0:
                raise ValueError(f"stacked={{{regex!r}: {axis!r}}} must be an axis, 0 or more")
        renaming.check(self.rename)
        for regex in (*self.layers, *self.stacked):
            renaming.check_regex(regex)

    def __repr__(self) -> str:
        return display.fields(self)

    def resolve(self, tree: Any) -> Resolved:
        """The parameters of :meth:`targets`, and the leaves that it refuses as ambiguous."""
        known: modules.Layers = {}
        located = modules.locate(tree, names.named_leaves(tree), known)
        known |= modules.everywhere(self._known(), located)
        states = optimizers.find(located, self.optimizer)
        network = [entry for entry in located if entry.slot is None]
        moments = [entry for group in states.moments.values() for entry in group]
        known |= mapping.told(network or moments, {**self.layers, **self._network.layers})
        stacks = stacking.find(network or moments, known, self.stacked)
        cuts: stacking.Cuts = {}
        known = stacking.repeated(known, stacks)
        network = stacking.apart(network, stacks, cuts)
        states = states._replace(
            moments={
                at: stacking.apart(group, stacks, cuts) for at, group in states.moments.items()
            },
            rest=stacking.states_apart(states.rest, states.root, stacks, cuts),
        )
        moments = [entry for group in states.moments.values() for entry in group]
        known, unclear = mapping.with_guesses(network or moments, known)
        clear = [entry for entry in network if entry.leaf.name not in unclear]

        def build(group: Sequence[Located], power: int = 1) -> list[Target]:
            del power  # no weight is scaled
            made = mapping.build(mapping.claims(group, known), known, self.base, states.root)
            return [target._replace(name=self._renamed(target.name)) for target in made]

        made = build(clear) + optimizers.targets(states, build, self.hyperparameters)
        readings = {
            cuts[name].leaf.name if name in cuts else name: ways for name, ways in unclear.items()
        }
        return Resolved(self._unique(stacking.together(made, cuts)), readings)

    def _known(self) -> modules.Layers:
        if self.module is None:
            return {}
        if names.is_module(self.module):
            return modules.of_nnx(self.module)
        if not self.inputs:
            raise ValueError(
                "a linen module needs inputs=(...): it has its layers only while it is called"
            )
        return modules.of_linen(self.module, self.inputs)

    def _renamed(self, name: str) -> str:
        return renaming.renamed(renaming.renamed(name, self._network.rename), self.rename)

    @property
    def _network(self) -> networks.Network:
        return networks.NONE if self.network is None else networks.known()[self.network]

    def _unique(self, targets: list[Target]) -> list[Target]:
        seen: dict[str, Target] = {}
        for target in targets:
            first = seen.setdefault(target.name, target)
            if first is not target:
                both = [t.parts[0].leaf if t.parts else t.layer for t in (first, target)]
                advice = "rename= must keep them apart" if self.rename else "use rename="
                raise CheckpointError(
                    f"{both[0]} and {both[1]} get the same name in MindSpore; {advice}",
                    name=target.name,
                )
        return targets


ConventionLike: TypeAlias = str | Resolver


def of(convention: ConventionLike) -> Resolver:
    """The convention itself, or the convention of this name."""
    if isinstance(convention, str) and convention in networks.known():
        return Convention(network=convention)
    if isinstance(convention, str):
        return Convention(base=convention)
    if isinstance(convention, Resolver):
        return convention
    raise TypeError(
        f"convention must be a str, a Convention or a Family, not {type(convention).__name__}"
    )


def _ambiguous(unclear: dict[str, list[str]]) -> AmbiguousLeafError:
    lines = [f"  {name}: either {', or '.join(reads)}" for name, reads in unclear.items()]
    more = [f"  and {len(lines) - 10} more"] if len(lines) > 10 else []
    advice = (
        "Pass Convention(module=...) with the nnx module, or with the linen module and example "
        "inputs=(...), or name the kind of the layer: "
        "Convention(layers={'regex of the path': 'Conv'}), 'other' for a layer of your own"
    )
    leaves = display.counted(len(unclear), "leaf", "leaves")
    problem = f"{leaves} can be read in several ways:"
    return AmbiguousLeafError(problem, unclear, more=[*lines[:10], *more, advice])

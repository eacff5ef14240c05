"""``Family``: the names and layouts of a language model in JAX, and in the files of others."""

from __future__ import annotations

import collections
import dataclasses
import fnmatch
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from msckpt_jax import arguments, display, names
from msckpt_jax.checkpoint import collector
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.conventions import modules, optimizers
from msckpt_jax.conventions.convention import Resolved, Resolver
from msckpt_jax.conventions.families import config as configs
from msckpt_jax.conventions.families import lora, matching, released
from msckpt_jax.conventions.families import table as tables
from msckpt_jax.conventions.families.matching import Leaf, Model, normal
from msckpt_jax.conventions.families.table import FILES, JAX, Section, Table, Tensor
from msckpt_jax.conventions.mapping import Target, View, shape_of
from msckpt_jax.conventions.modules import Located, Segments
from msckpt_jax.conventions.notation import evaluate
from msckpt_jax.errors import CheckpointError
from msckpt_jax.lazy import jax

#: Branches of a tree that hold no weights.
_NO_WEIGHTS = {"rngs", "dropout", "to_nnx__rngs"}
#: Levels around the weights that leave no trace in the names of the tables.
_AROUND = ("params", "base")


@dataclasses.dataclass(frozen=True)
class Family(Resolver):
    """A language model whose layers, names and layouts a table knows, as a ``convention=``.

    Files of Hugging Face are read as they were released: what is quantised (MXFP4, block-wise FP8)
    is brought back window by window; parts that the model does without are left out, and logged.

    Attributes:
        config: Hugging Face's ``config.json``: its path, its folder, or its content.
        jax: whose tree it is: ``"maxtext"``, ``"tunix"``, ``"levanter"``, or ``"huggingface"`` (a
            flat tree with Hugging Face's own names). Stacked layers are seen in the tree.
        files: whose names and layouts the files have: ``"huggingface"``, ``"mindformers"`` (legacy
            names, nothing concatenated), ``"mindformers-concat"``, ``"mindformers-mcore"`` or
            ``"mindone"``.
        maxtext_model: the name of the model in MaxText. It decides whether rotary pairs lie side by
            side (``llama3.1-*``), which ``config.json`` cannot tell.
        scan_axis: the axis that counts stacked layers, where the shapes do not tell.
        table: a table of your own, the path of a TOML file.
        optimizer, hyperparameters: as of a :class:`Convention`, for the states of optax: the
            moments of weights lie in the files as these do.
        lora_alpha: the alpha of the LoRA leaves that qwix put into a tree of tunix: what is saved
            are the weights with alpha / rank times A B added, in float32, rounded once. The leaves
            by themselves are saved by :func:`save_adapter`.

    Raises:
        CheckpointError: no table knows the model, or its table has no such stack; the config does
            not tell how MaxText keeps rotary pairs; the model has parts that the table lacks.
        ValueError: an unknown stack, optimizer or hyperparameter.

    Example:
        >>> config = {"model_type": "llama", "vocab_size": 8, "hidden_size": 4,
        ...     "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 6}
        >>> family = ms.Family(config, jax="maxtext")
        >>> family.names[3]
        'model.layers.0.self_attn.q_proj.weight'
    """

    config: Any
    _: dataclasses.KW_ONLY
    jax: str
    files: str = "huggingface"
    maxtext_model: str | None = None
    scan_axis: int | None = None
    table: PathLike | None = None
    optimizer: str | None = None
    hyperparameters: Mapping[str, float] = dataclasses.field(default_factory=dict)
    lora_alpha: float | None = None

    def __post_init__(self) -> None:
        for name, known in (("jax", JAX), ("files", FILES)):
            arguments.choice(name, getattr(self, name), known)
        if self.maxtext_model is not None and not isinstance(self.maxtext_model, str):
            kind = type(self.maxtext_model).__name__
            raise TypeError(f"maxtext_model must be a str, not {kind}")
        if self.scan_axis is not None and (type(self.scan_axis) is not int or self.scan_axis < 0):
            raise ValueError(f"scan_axis must be an axis, 0 or more, not {self.scan_axis!r}")
        optimizers.check(self.optimizer, self.hyperparameters)
        lora.check_alpha(self.lora_alpha, self.jax)
        _ = self._sections  # which refuses what no table knows

    def __repr__(self) -> str:
        return display.fields(self)

    @property
    def names(self) -> list[str]:
        """The names of all tensors in the files."""
        content, table, _, files = self._sections
        paths, seen = tables.Paths(files, content), {}
        for tensor in tensors(table, content):
            for path, _ in files.rows.get(tensor.row, ()):
                seen[paths.place(path, tensor).path] = None
        return list(seen)

    def abstract(self, scanned: bool = False) -> dict[str, Any]:
        """The tree of the JAX stack, of ``jax.ShapeDtypeStruct`` in nested dicts: a ``like=``.

        Args:
            scanned: with the layers stacked, on ``scan_axis`` (MaxText's is 1 by default).

        Example:
            >>> config = {"model_type": "llama", "vocab_size": 8, "hidden_size": 4,
            ...     "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 6}
            >>> tree = ms.Family(config, jax="maxtext").abstract(scanned=True)
            >>> tree["decoder"]["layers"]["mlp"]["wi_0"]["kernel"].shape
            (4, 3, 6)
        """
        shapes, dtype = self.shapes(scanned), self.dtype
        tree = {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape in shapes.items()}
        return tree if self.jax == "huggingface" else names.nested(tree)

    def shapes(self, scanned: bool = False) -> dict[str, tuple[int, ...]]:
        """The shapes of the leaves of :meth:`abstract` by their names."""
        _, table, ours, _ = self._sections
        if scanned and not ours.scanned:
            raise ValueError(f"{self.jax} does not stack the layers of {table.name}")
        return matching.shapes(self._with_tensors(), ours, scanned, self.layer_axis)

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the weights by the config."""
        return np.dtype(self._sections[0]["dtype"])

    @property
    def stacks(self) -> bool:
        """Tell whether the JAX stack ever stacks the layers of the model."""
        return bool(self._sections[2].scanned)

    @property
    def layer_axis(self) -> int:
        """The axis that counts the layers in the leaves of :meth:`abstract`."""
        axes = self.scan_axis, self._sections[2].scan_axis, 1
        return next(axis for axis in axes if axis is not None)

    def section(self, stack: str) -> Section:
        """The rows of one of the two stacks."""
        _, _, ours, theirs = self._sections
        return ours if stack == self.jax else theirs

    @property
    def model(self) -> tuple[Table, dict[str, Any]]:
        """The family's table, and the sizes of the model."""
        return self._sections[1], self._sections[0]

    @collector.paused()
    def resolve(self, tree: Any) -> Resolved:
        """The parameters of the files that the leaves of ``tree`` make.

        Raises:
            CheckpointError: leaves that the table does not name, that are missing, or have another
                shape than the config gives, all at once; LoRA leaves without ``lora_alpha``, or in
                the state of an optimizer.
        """
        located = modules.locate(tree, names.named_leaves(tree), {})
        lora.check_no_states(located)
        states = optimizers.find(located, self.optimizer)

        def match(group: Iterable[Located], power: int | None = None) -> list[Target]:
            made = self._matched(_leaves(_weights(group), states.root))
            return made if power is None else [_of_moment(target, power) for target in made]

        made = match(entry for entry in located if entry.slot is None)
        made += optimizers.targets(states, match, self.hyperparameters)
        return Resolved(made, {})

    def of_leaves(self, shapes: Mapping[str, tuple[int, ...]]) -> list[Target]:
        """The parameters that weights make, from the names of their leaves: no tree is needed."""
        flat = self.jax == "huggingface"
        weights = ((Leaf(name, shape), (name,) if flat else tuple(name.split(".")))
                   for name, shape in shapes.items())  # fmt: skip
        return self._matched(_leaves(weights, ()))

    def _matched(self, leaves: Mapping[str, Leaf]) -> list[Target]:
        """The parameters that weights make, by their normal paths."""
        _, _, ours, theirs = self._sections
        model = self._with_tensors()
        leaves, pairs = lora.apart(leaves)
        merges = lora.merges(model, ours, pairs, self.lora_alpha)
        return matching.targets(model, ours, theirs, leaves, self.scan_axis, merges)

    def _with_tensors(self) -> Model:
        """The model, and the list of its tensors."""
        return Model(*self.model, list(tensors(*self.model)))

    def lora_modules(self, tree: Any) -> list[tuple[lora.Pair, list[lora.Module]]]:
        """The LoRA leaves of a tree, and the layers of Hugging Face that each pair changes.

        Raises:
            CheckpointError: a leaf is beside no weight of a Linear layer, or of another shape than
                follows from it; the tree has LoRA leaves in the state of an optimizer.
        """
        located = modules.locate(tree, names.named_leaves(tree), {})
        lora.check_no_states(located)
        weights = (entry for entry in located if entry.slot is None)
        _, pairs = lora.apart(_leaves(_weights(weights), ()))
        known = lora.modules(self._with_tensors(), self._sections[2], pairs)
        return [(pair, known[pair.path]) for pair in pairs]

    @property
    def sides(self) -> tuple[str, str]:
        return self.jax, self.files

    @property
    def framework(self) -> str:
        """``"pt"`` for Hugging Face's files, whose readers refuse another one; else ``"ms"``."""
        return "pt" if self.files == "huggingface" else "ms"

    def companions(self) -> dict[str, bytes]:
        """The files beside the weights in a folder: the config, and those of the folder it is of.

        These are Hugging Face's generation config and the files of its tokenizers. The config is
        that of the text model, and of plain tensors, as the weights are.
        """
        if self.files != "huggingface":
            return {}
        return configs.companions(self.config, self._sections[1].alone)

    def opened(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters of a file as it was released: by the model's names, none quantised."""
        if self.files != "huggingface":
            return parameters
        content, table, _, _ = self._sections
        config = configs.of_text(configs.read(self.config)) | {"dtype": content["dtype"]}
        rows = {name: evaluate(text, content) for name, text in table.cut.items()}
        return released.opened(parameters, table.wrapped, config, self.leaves_out, rows)

    @property
    def base(self) -> str | None:
        """The name of the model, or the folder that the config came from."""
        own = configs.read(self.config).get("_name_or_path")
        folder = None if isinstance(self.config, Mapping) else configs.folder_of(self.config)
        return own if isinstance(own, str) and own else folder

    def leaves_out(self, name: str) -> bool:
        """Tell whether the model does without a parameter of a file, such as ``inv_freq``."""
        return "." not in name or self._without.match(name) is not None

    def keeps_float32(self, name: str) -> bool:
        """Tell whether a parameter or leaf is of those that stay float32 beside narrower ones."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._sections[1].float32)

    @functools.cached_property
    def _without(self) -> re.Pattern[str]:
        content, table, _, _ = self._sections
        return re.compile("|".join(map(fnmatch.translate, table.patterns(content))))

    def kinds_left_out(self, names: Sequence[str]) -> Mapping[str, int]:
        """The wildcards of the parameters that are left out, and their numbers; of no counters."""
        content, table, _, _ = self._sections
        patterns = table.patterns(content)
        kinds = (next((p for p in patterns if fnmatch.fnmatchcase(name, p)), "") for name in names)
        return collections.Counter(filter(None, kinds))

    @functools.cached_property
    def _sections(self) -> tuple[dict[str, Any], Table, Section, Section]:
        """The sizes of the model, its table, and the sections of both stacks, read once."""
        around = configs.read(self.config)
        config = configs.of_text(around)
        table = tables.read(self.table) if self.table is not None else _known(config, around)
        content = configs.symbols(config, table.config)
        for condition in table.requires:
            if not tables.holds(condition, content):
                raise CheckpointError(
                    f"the table of {table.name} is of models where this holds: {condition}",
                    name="config.json",
                )
        for stack in (self.jax, self.files):
            if stack not in table.sections:
                raise CheckpointError(
                    f"the table of {table.name} has no {stack}", found=", ".join(table.sections)
                )
        ours = table.sections[self.jax]
        if self.jax == "maxtext":
            ours = _variant(table, ours, self.maxtext_model, content)
        return content, table, ours.of(content), table.sections[self.files].of(content)


def _known(config: Mapping[str, Any], around: Mapping[str, Any]) -> Table:
    """The table of a model, which may be the text model of the one ``around`` it."""
    known, model_type, outer = tables.known(), config["model_type"], around.get("model_type")
    if model_type not in known:
        raise CheckpointError(
            "no table knows this model_type; write one, and pass it as table=",
            expected=", ".join(known), found=model_type,
        )  # fmt: skip
    if outer not in (None, *known[model_type].model_types):
        raise CheckpointError(
            f"the model has more than its text model, a {model_type}, and no table tells its "
            "tensors apart: hand over the text model by itself, with text_config as its config, or "
            "write a table with [wrapped] and left_out, and pass it as table=",
            name="config.json", expected=", ".join(known[model_type].model_types), found=outer,
        )  # fmt: skip
    return known[model_type]


def _variant(
    table: Table, plain: Section, model: str | None, content: Mapping[str, Any]
) -> Section:
    if model is None:
        if table.unclear and tables.holds(table.unclear, content):
            raise CheckpointError(
                "the config does not tell whether MaxText keeps rotary pairs side by side, as in "
                f"{', '.join(f'{v}-*' for v in table.variants)}, or in halves, as in all others: "
                "pass maxtext_model=, the name of the model in MaxText",
                name="config.json",
            )
        return plain
    if table.variants and not any(fnmatch.fnmatchcase(model, p) for p in table.model_names):
        raise CheckpointError(
            "this is no name of a model in MaxText, which decides how rotary pairs lie",
            name="maxtext_model", expected=", ".join(table.model_names), found=model,
        )  # fmt: skip
    return next((s for name, s in table.variants.items() if model.startswith(name)), plain)


def tensors(table: Table, sizes: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yield the tensors of a model, those of no layer first."""
    inside = [key for key in table.shapes if "{layer}" in key]
    layers = [(0, [key for key in table.shapes if key not in inside])]
    for i, keys in layers + [(i, inside) for i in range(evaluate("L", sizes))]:
        symbols = {**sizes, "i": i}
        for key in keys:
            if tables.holds(table.shapes[key][1], symbols):
                experts = range(evaluate("E", sizes)) if "{e}" in key else (0,)
                yield from (Tensor(key, i, e) for e in experts)


def _of_moment(target: Target, power: int) -> Target:
    """The parameter of a moment, which holds this power of the gradients.

    Where a weight is multiplied, its gradients are divided; what is added does not change them.
    """
    parts = []
    for part in target.parts:
        assert isinstance(part, View)  # a table makes no others
        factors = [step.inverse for step in part.how.steps if step.do[0] != "add"]
        text = f"{part.how.text}; factors to the power {-power}" if factors else part.how.text
        how = part.how._replace(steps=tuple(factors) * power, text=text)
        parts.append(part._replace(how=how))
    return target._replace(parts=tuple(parts))


def _weights(located: Iterable[Located]) -> Iterator[tuple[Leaf, Segments]]:
    """Yield the leaves of a tree with their paths."""
    for entry in located:
        yield Leaf(entry.leaf.name, shape_of(entry.leaf.value)), entry.segments


def _leaves(weights: Iterable[tuple[Leaf, Segments]], root: Segments) -> dict[str, Leaf]:
    """The leaves by their normal paths: ``layers/0`` as ``layers_0``, no levels around them.

    ``root``: the place of the network in the tree.
    """
    out: dict[str, Leaf] = {}
    for leaf, path in weights:
        inside = root and path[: len(root)] == root
        segments = list(path[len(root) :] if inside else path)
        while len(segments) > 1 and segments[0] in _AROUND:
            segments.pop(0)
        if not _NO_WEIGHTS.isdisjoint(segments):
            continue
        if len(segments) > 1 and segments[-1] == "value":
            segments.pop()
        known = normal(".".join(segments))
        if known in out:
            raise CheckpointError(f"{out[known].name} and {leaf.name} are one leaf, {known}, "
                                  "to the table", name=leaf.name)  # fmt: skip
        out[known] = leaf
    return out

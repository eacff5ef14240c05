"""``Family``: the names and layouts of a language model in JAX, and in the files of others."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from msckpt_jax import names
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.conventions import modules
from msckpt_jax.conventions.convention import Resolved, Resolver
from msckpt_jax.conventions.families import config as configs
from msckpt_jax.conventions.families import lora, matching
from msckpt_jax.conventions.families import table as tables
from msckpt_jax.conventions.families.matching import Leaf, Model, normal
from msckpt_jax.conventions.families.table import FILES, JAX, Section, Table, Tensor
from msckpt_jax.conventions.mapping import shape_of
from msckpt_jax.conventions.notation import evaluate
from msckpt_jax.errors import CheckpointError

#: Branches of a tree that hold no weights.
_NO_WEIGHTS = {"rngs", "dropout", "to_nnx__rngs"}
#: Levels around the weights that leave no trace in the names of the tables.
_AROUND = ("params", "base")


@dataclasses.dataclass(frozen=True)
class Family(Resolver):
    """A language model whose layers, names and layouts a table knows, as a ``convention=``.

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
        lora_alpha: the alpha of the LoRA leaves that qwix put into a tree of tunix: what is saved
            are the weights with alpha / rank times A B added, in float32, rounded once. The leaves
            by themselves are saved by :func:`save_adapter`.

    Raises:
        CheckpointError: no table knows the model, or its table has no such stack; the config does
            not tell how MaxText keeps rotary pairs; the model has parts that the table lacks.
        ValueError: an unknown stack.

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
    lora_alpha: float | None = None

    def __post_init__(self) -> None:
        for name, known in (("jax", JAX), ("files", FILES)):
            if getattr(self, name) not in known:
                asked = getattr(self, name)
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {asked!r}")
        if self.maxtext_model is not None and not isinstance(self.maxtext_model, str):
            kind = type(self.maxtext_model).__name__
            raise TypeError(f"maxtext_model must be a str, not {kind}")
        if self.scan_axis is not None and (type(self.scan_axis) is not int or self.scan_axis < 0):
            raise ValueError(f"scan_axis must be an axis, 0 or more, not {self.scan_axis!r}")
        lora.check_alpha(self.lora_alpha, self.jax)
        _ = self._sections  # which refuses what no table knows

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
        content, table, ours, _ = self._sections
        if scanned and not ours.scanned:
            raise ValueError(f"{self.jax} does not stack the layers of {table.name}")
        model = self.model()
        axis = ours.scan_axis if self.scan_axis is None else self.scan_axis
        shapes = matching.shapes(model, ours, scanned, 1 if axis is None else axis)
        dtype = jax.numpy.dtype(content["dtype"])
        if self.jax == "huggingface":
            return {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape in shapes.items()}
        return names.nested({name: jax.ShapeDtypeStruct(shape, dtype)
                             for name, shape in shapes.items()})  # fmt: skip

    def resolve(self, tree: Any) -> Resolved:
        """The parameters of the files that the leaves of ``tree`` make.

        Raises:
            CheckpointError: leaves that the table does not name, that are missing, or have another
                shape than the config gives, all at once; a state of an optimizer; LoRA leaves
                without ``lora_alpha``.
        """
        _, _, ours, theirs = self._sections
        model, (leaves, pairs) = self.model(), lora.apart(_leaves(tree))
        merges = lora.merges(model, ours, pairs, self.lora_alpha)
        made = matching.targets(model, ours, theirs, leaves, self.scan_axis, merges)
        return Resolved(made, {})

    def model(self) -> Model:
        """The table of the model, its sizes, and its tensors."""
        content, table, _, _ = self._sections
        return Model(table, content, list(tensors(table, content)))

    def lora_modules(self, tree: Any) -> list[tuple[lora.Pair, list[lora.Module]]]:
        """The LoRA leaves of a tree, and the layers of Hugging Face that each pair changes.

        Raises:
            CheckpointError: a leaf is beside no weight of a Linear layer, or of another shape than
                follows from it.
        """
        _, pairs = lora.apart(_leaves(tree))
        known = lora.modules(self.model(), self._sections[2], pairs)
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

        These are Hugging Face's generation config and the files of its tokenizers.
        """
        if self.files != "huggingface":
            return {}
        return configs.companions(self.config)

    @property
    def base(self) -> str | None:
        """The name of the model, or the folder that the config came from."""
        own = configs.read(self.config).get("_name_or_path")
        folder = None if isinstance(self.config, Mapping) else configs.folder_of(self.config)
        return own if isinstance(own, str) and own else folder

    def leaves_out(self, name: str) -> bool:
        """Tell whether the model does without a parameter of a file, such as ``inv_freq``."""
        content, table, _, _ = self._sections
        return table.leaves_out(name, content)

    @functools.cached_property
    def _sections(self) -> tuple[dict[str, Any], Table, Section, Section]:
        """The sizes of the model, its table, and the sections of both stacks, read once."""
        config = configs.read(self.config)
        table = tables.read(self.table) if self.table is not None else _known(config["model_type"])
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
        return content, table, ours, table.sections[self.files]


def _known(model_type: str) -> Table:
    known = tables.known()
    if model_type not in known:
        raise CheckpointError(
            "no table knows this model_type; write one, and pass it as table=",
            expected=", ".join(known), found=model_type,
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


def _leaves(tree: Any) -> dict[str, Leaf]:
    """The leaves by their normal paths: ``layers/0`` as ``layers_0``, no levels around them."""
    out: dict[str, Leaf] = {}
    for entry in modules.locate(tree, names.named_leaves(tree), {}):
        if entry.slot is not None:
            raise CheckpointError(
                "a Family is of weights: pass the parameters without the optimizer's state",
                name=entry.leaf.name,
            )
        segments = list(entry.segments)
        while len(segments) > 1 and segments[0] in _AROUND:
            segments.pop(0)
        if not _NO_WEIGHTS.isdisjoint(segments):
            continue
        if len(segments) > 1 and segments[-1] == "value":
            segments.pop()
        path = normal(".".join(segments))
        if path in out:
            raise CheckpointError(f"{out[path].name} and {entry.leaf.name} are one leaf, {path}, "
                                  "to the table", name=entry.leaf.name)  # fmt: skip
        out[path] = Leaf(entry.leaf.name, shape_of(entry.leaf.value))
    return out

"""A family's table: its tensors by Hugging Face's names, and each stack's names and layouts.

Each section of the TOML file is a stack. ``[huggingface.rows]`` gives the shapes (and after ``if``
when a tensor is there), those of the others a path and, after a colon, the steps that lead from
Hugging Face's tensor to theirs (:mod:`msckpt_jax.conventions.notation`), and after ``if`` of which
models. ``{...}`` in a path is an expression of the sizes and of the layer ``i``, the expert
``{e}``, or one of the section's ``names``. ``scanned`` is the path of a layer where layers are
stacked; the index in it is the place on the axis that counts them.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.conventions.notation import Symbols, evaluate
from msckpt_jax.errors import CheckpointError

#: The stacks whose trees and whose files a table may describe.
JAX = ("maxtext", "tunix", "levanter", "huggingface")
FILES = ("huggingface", "mindformers", "mindformers-concat", "mindformers-mcore", "mindone")

#: Parameters of files that a model does without, besides counters, whose names have no dot: a table
#: that it computes itself, the state of an optimizer.
LEFT_OUT = ("*.rotary_emb.inv_freq", "adam_[mv].*", "exp_avg*.*", "moment[s12].*", "vhat.*")


class Tensor(NamedTuple):
    """A tensor of Hugging Face: its row, its layer and its expert."""

    row: str
    i: int = 0
    e: int = 0


class Place(NamedTuple):
    """The path of a tensor in a stack, and its index where layers are stacked."""

    path: str
    layer: int | None


class Section(NamedTuple):
    """The rows of a stack.

    Attributes:
        rows: by Hugging Face's names, the path and the steps of each tensor that is made of it.
        layers: the path of a layer, alternatives with their conditions.
        scanned: the same where layers are stacked; empty if they never are.
        names: further expressions that paths may use.
        scan_axis: the axis that counts the layers, where the stack has only one.
        conditions: of rows of some models, by the name of Hugging Face and the path.
    """

    rows: Mapping[str, list[tuple[str, str]]]
    layers: tuple[tuple[str, str], ...]
    scanned: tuple[tuple[str, str], ...]
    names: Mapping[str, str]
    scan_axis: int | None = None
    conditions: Mapping[tuple[str, str], str] = {}

    def of(self, sizes: Symbols) -> Section:
        """The section with the rows of a model of these sizes."""
        rows = {key: [(path, steps) for path, steps in ways
                      if holds(self.conditions.get((key, path), ""), sizes)]
                for key, ways in self.rows.items()}  # fmt: skip
        return self._replace(rows={key: ways for key, ways in rows.items() if ways}, conditions={})


class Paths:
    """The paths of a stack's tensors in a model of these sizes."""

    def __init__(self, section: Section, sizes: Symbols, scanned: bool = False):
        self.section, self.sizes, self.scanned = section, sizes, scanned
        self._of_layers: dict[tuple[str, int], Place] = {}  # experts are many

    def place(self, path: str, tensor: Tensor) -> Place:
        """The path of a row for the layer and the expert of a tensor."""
        key = path, tensor.i
        if key not in self._of_layers:
            self._of_layers[key] = self._of_layer(path, {**self.sizes, "i": tensor.i})
        place = self._of_layers[key]
        if "{e}" not in place.path:
            return place
        return Place(place.path.replace("{e}", str(tensor.e)), place.layer)

    def _of_layer(self, path: str, symbols: Symbols) -> Place:
        if "{layer}" in path:
            ways = self.section.scanned if self.scanned else self.section.layers
            layer = next((t for t, when in ways if holds(when, symbols)), None)
            if layer is None:
                raise CheckpointError(f"the table has no path of layer {symbols['i']}", name=path)
            path = path.replace("{layer}", layer)
        own = dict(symbols)
        for name, text in self.section.names.items():
            own[name] = evaluate(text, own)
        path = re.sub(r"\{(?!e\})([^}]*)\}", lambda m: str(evaluate(m[1], own)), path)
        match = re.search(r"\[([^\]]*)\]", path)
        if match is None:
            return Place(path, None)
        return Place(path[: match.start()] + path[match.end() :], evaluate(match[1], own))


class Table(NamedTuple):
    """A family.

    Attributes:
        name: the name of the file.
        shapes: by Hugging Face's names, the shape and the condition of each tensor.
        sections: the stacks by their names.
        variants: further sections of MaxText, by the beginning of the model's name there.
        unclear: the condition under which such a name must be given.
        model_names: such names, with wildcards.
        requires: the conditions that a model has to meet.
        config: further sizes.
        left_out: parameters of files that a model does without, as paths with wildcards.
        wrapped: beginnings of names in models around this one, and what the model has instead.
        alone: what the config of the model has where that of a model around it differs.
        cut: parameters of files that may have more rows, which are left out, and the rows to keep.
        float32: parameters that are kept in float32 beside narrower ones, in all stacks, likewise.
    """

    name: str
    model_types: list[str]
    shapes: Mapping[str, tuple[str, str]]
    sections: Mapping[str, Section]
    variants: Mapping[str, Section]
    unclear: str
    model_names: list[str]
    requires: list[str]
    config: Mapping[str, Any]
    left_out: list[str]
    wrapped: Mapping[str, str]
    alone: Mapping[str, Any]
    cut: Mapping[str, str]
    float32: list[str]

    def patterns(self, symbols: Symbols) -> list[str]:
        """The parameters of a file that a model does without, as paths with wildcards."""
        own = (re.sub(r"\{(\w+)\}", lambda m: str(evaluate(m[1], symbols)), pattern)
               for pattern in self.left_out)  # fmt: skip
        return [*LEFT_OUT, *own]


def holds(condition: str, symbols: Symbols) -> bool:
    """Tell whether a condition holds; an empty one does."""
    return not condition or bool(evaluate(condition, symbols))


def with_condition(text: str) -> tuple[str, str]:
    """The two halves of ``value if condition``; an ``if`` in parentheses is the value's."""
    for match in re.finditer(" if ", text):
        value = text[: match.start()]
        if value.count("(") == value.count(")"):
            return value.strip(), text[match.end() :].strip()
    return text.strip(), ""


@functools.cache
def known() -> dict[str, Table]:
    """The tables of the package by the ``model_type`` of ``config.json``."""
    out: dict[str, Table] = {}
    for file in sorted(resources.files("msckpt_jax.families").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".toml"):
            table = parse(file.read_text("utf-8"), file.name)
            out |= dict.fromkeys(table.model_types, table)
    return out


def read(path: PathLike) -> Table:
    """The table of a file of your own."""
    file = paths.path_of(path)
    with file.open("rb") as stream:
        text = stream.read((1 << 20) + 1)
    if len(text) > 1 << 20:
        raise CheckpointError("a table of names is not that long", file=file)
    try:
        return parse(text.decode(), str(file))
    except UnicodeDecodeError as error:
        raise CheckpointError(f"the table is no UTF-8 text: {error}", file=file) from None


def parse(text: str, file: str) -> Table:
    """The table of a text.

    Raises:
        CheckpointError: it is no TOML, or lacks a section.
    """
    try:
        content = tomllib.loads(text)
        types, own = content["model_types"], content["huggingface"]
        shapes = {key: with_condition(value) for key, value in own["rows"].items()}
        same = {key: key for key in shapes}
        sections = {"huggingface": _section(own | {"rows": same}, {})}
        known = dict.fromkeys((*JAX, *FILES))  # in this order
        for name in (name for name in known if name in content and name != "huggingface"):
            sections[name] = _section(content[name], same)
        maxtext = content.get("maxtext", {})
        told = dict(maxtext.get("variants", {}))
        unclear, model_names = told.pop("unclear", ""), told.pop("names", [])
        variants = {name: _section(maxtext | {"rows": maxtext["rows"] | each["rows"]}, same)
                    for name, each in told.items()}  # fmt: skip
        lists = [_texts(content.get(key, [])) for key in ("requires", "left_out", "float32")]
        config = {key: _texts(ways) for key, ways in content.get("config", {}).items()}
        wrapped, alone = dict(content.get("wrapped", {})), dict(content.get("alone", {}))
        cut = dict(content.get("cut", {}))
        _texts([*wrapped.values(), *cut.values()])
        return Table(file.removesuffix(".toml"), _texts(types), shapes, sections, variants,
                     unclear, _texts(model_names), lists[0], config, lists[1], wrapped,
                     alone, cut, lists[2])  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"no table of a family: {error!r}", file=file) from None


def _section(content: Mapping[str, Any], same: Mapping[str, str]) -> Section:
    rows = content["rows"]
    if content.get("otherwise") == "huggingface":
        rows = same | rows
    if same and (unknown := rows.keys() - same.keys()):
        raise KeyError(f"rows of tensors without a shape: {', '.join(sorted(unknown))}")
    axis, own = content.get("scan_axis"), content.get("names", {})
    if axis is not None and type(axis) is not int:
        raise TypeError(f"scan_axis = {axis!r} is no axis")
    _texts(list(own.values()))
    ways = {key: [_row(text) for text in _listed(value)] for key, value in rows.items()}
    return Section(
        {key: [(path, steps) for path, steps, _ in each] for key, each in ways.items()},
        tuple(map(with_condition, _listed(content.get("layer", [])))),
        tuple(map(with_condition, _listed(content.get("scanned", [])))),
        own,
        axis,
        {(key, path): when for key, each in ways.items() for path, _, when in each if when},
    )


def _row(text: str) -> tuple[str, str, str]:
    """The path, the steps and the condition of a row."""
    text, when = with_condition(text)
    path, _, steps = text.partition(" : ")
    return path.strip(), steps.strip(), when


def _listed(value: str | list[str]) -> list[str]:
    return _texts([value] if isinstance(value, str) else value)


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError(f"{value!r} is no list of texts")
    return value

"""GE's operators: their ports and attributes, and the engines of Ascend that compute them.

``prototypes.txt`` has the 1,641 operators that CANN 8.1's headers register, one a line:
``Name(input, optional?, dynamic*) -> (output) {attribute: Type = default} [subgraph]``; an
attribute without default is required. ``kernels.tsv`` has what the kernel tables of CANN 8.1 list:
operator, engine, and the dtypes of its ports (those of outputs begin with ``>``); a port that is
not listed takes what the kernel's code decides. Ports of the operators that we write have the
prototypes' names, some of which the tables call otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from msckpt_jax.dtypes import BY_NAME


class Port(NamedTuple):
    """An input or output; a dynamic port is any number of them, called ``x0``, ``x1`` and so on."""

    name: str
    optional: bool
    dynamic: bool


class Attribute(NamedTuple):
    """An attribute; ``default`` is the header's text, None where the attribute must be given."""

    name: str
    type: str
    default: str | None

    @property
    def value(self) -> Any:
        """The default as a number, text or list of these; dtypes by their number in attributes."""
        assert self.default is not None
        return _value(self.default, self.type)


@dataclass(frozen=True, slots=True)
class Prototype:
    """An operator as GE registers it."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    attributes: Mapping[str, Attribute]
    subgraphs: tuple[Port, ...]


#: Dtypes by the names that headers give them, as the numbers that attributes have.
_TYPES = {f"DT_{name.upper()}": row.ge_type for name, row in BY_NAME.items()}
_TYPES |= {"DT_FLOAT": BY_NAME["Float32"].ge_type, "DT_DOUBLE": BY_NAME["Float64"].ge_type}


@cache
def _value(text: str, kind: str) -> Any:
    """The value of a header's text: ``false``, ``1e-5f``, ``{1, 1}``, ``"NHWC"``, ``DT_INT32``."""
    if kind.startswith("List"):
        inner = text.strip("{}").strip()
        return [_value(item.strip(), kind[4:]) for item in inner.split(",")] if inner else []
    if text in _TYPES:
        return _TYPES[text]
    if kind == "Bool":
        return text == "true"
    if kind == "String":
        return text.strip('"')
    if kind == "Float":
        return float(text.rstrip("fF"))
    return int(text) if text.lstrip("-").isdigit() else text


_LINE = re.compile(r"(\w+)\((.*?)\) -> \((.*?)\)(?: \{(.*)\})?(?: \[(.*)\])?")
_ATTRIBUTE = re.compile(r"(\w+): (\w+)(?: = (.*))?")


@cache
def prototypes() -> Mapping[str, Prototype]:
    """All operators, by name."""
    text = files("msckpt_jax.air").joinpath("prototypes.txt").read_text()
    return {prototype.name: prototype for prototype in map(_prototype, text.splitlines())}


def _prototype(line: str) -> Prototype:
    match = _LINE.fullmatch(line)
    assert match is not None, line
    name, inputs, outputs, attributes, subgraphs = match.groups(default="")
    return Prototype(
        name,
        _ports(inputs),
        _ports(outputs),
        {a.name: a for a in map(_attribute, filter(None, attributes.split("; ")))},
        _ports(subgraphs),
    )


def _ports(text: str) -> tuple[Port, ...]:
    names = text.split(", ") if text else ()
    return tuple(Port(name.rstrip("?*"), name[-1] == "?", name[-1] == "*") for name in names)


def _attribute(text: str) -> Attribute:
    match = _ATTRIBUTE.fullmatch(text)
    assert match is not None, text
    return Attribute(*match.groups())


#: The engines on the chip's CPU, which serve what its cores don't.
CPU_ENGINES = ("aicpu", "tf_aicpu")


@cache
def kernels() -> Mapping[str, Mapping[str, Mapping[str, frozenset[str]]]]:
    """Operator -> engine -> port -> names of dtypes (``float``, ``bf16``, …)."""
    text = files("msckpt_jax.air").joinpath("kernels.tsv").read_text()
    table: dict[str, dict[str, Mapping[str, frozenset[str]]]] = {}
    for line in text.splitlines():
        operator, engine, *groups = line.split("\t")
        ports = {}
        for names, dtypes in (group.split("=") for group in groups):
            ports |= dict.fromkeys(names.split(","), frozenset(dtypes.split()))
        table.setdefault(operator, {})[engine] = ports
    return table

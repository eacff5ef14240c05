"""What GE's operators take, and which of Ascend's engines compute them.

``prototypes.txt`` has the 1,641 operators that CANN 8.1's headers register, one a line:
``Name(input, optional?, dynamic*) -> (output) {attribute: Type = default} [subgraph]``; an
attribute without default is required. ``kernels.tsv`` has what the kernel tables of CANN 8.1 list:
operator, engine, and the dtypes of its ports (those of outputs begin with ``>``); a port that is
not listed takes what the kernel's code decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Port(NamedTuple):
    """An input or output. A dynamic one stands for any number, called ``x0``, ``x1`` and so on."""

    name: str
    optional: bool
    dynamic: bool


class Attribute(NamedTuple):
    """``default`` is the text of the header, None where the attribute must be given."""

    name: str
    type: str
    default: str | None


@dataclass(frozen=True, slots=True)
class Prototype:
    """An operator as GE registers it."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    attributes: Mapping[str, Attribute]
    subgraphs: tuple[Port, ...]


_LINE = re.compile(r"(\w+)\((.*?)\) -> \((.*?)\)(?: \{(.*)\})?(?: \[(.*)\])?")
_ATTRIBUTE = re.compile(r"(\w+): (\w+)(?: = (.*))?")


@cache
def prototypes() -> Mapping[str, Prototype]:
    """All operators, by name."""
    text = files("msckpt_jax.air").joinpath("prototypes.txt").read_text()
    return {found.name: found for found in map(_prototype, text.splitlines())}


def _prototype(line: str) -> Prototype:
    match = _LINE.fullmatch(line)
    assert match is not None, line
    name, inputs, outputs, attributes, subgraphs = match.groups(default="")
    return Prototype(
        name,
        _ports(inputs),
        _ports(outputs),
        {found.name: found for found in map(_attribute, filter(None, attributes.split("; ")))},
        _ports(subgraphs),
    )


def _ports(text: str) -> tuple[Port, ...]:
    names = text.split(", ") if text else ()
    return tuple(Port(name.rstrip("?*"), name[-1] == "?", name[-1] == "*") for name in names)


def _attribute(text: str) -> Attribute:
    match = _ATTRIBUTE.fullmatch(text)
    assert match is not None, text
    return Attribute(*match.groups())


#: The chips whose kernel tables we have, by the names that MindSpore users know.
SOCS = {"Ascend910B": "ascend910b", "Ascend310P": "ascend310p", "Ascend910": "ascend910"}
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

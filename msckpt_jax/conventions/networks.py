"""Names of other people's networks in JAX in the files of MindSpore's model collections.

A table of ``families/networks`` is of a package; each of its sections has the entries of a
``rename=``, in whose templates ``{...}`` is an expression of the numbers and words that the regular
expression has named.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, NamedTuple

from msckpt_jax.conventions.notation import evaluate
from msckpt_jax.conventions.renaming import Replacement


class Network(NamedTuple):
    """A family of networks in a package of JAX.

    Attributes:
        package, family: what the section is of.
        files: whose names the files have.
        models: the models of the collection that have these names.
        differs: what the network computes differently, and what it has to be told.
        rename, layers: as of a Convention.
    """

    package: str
    family: str
    files: str
    models: str
    differs: str
    rename: Mapping[str, Replacement]
    layers: Mapping[str, str]


#: No network: all names as they are.
NONE = Network("", "", "", "", "", {}, {})


@functools.cache
def known() -> dict[str, Network]:
    """The networks by their names, such as ``bonsai.resnet``."""
    out = {}
    folder = resources.files("msckpt_jax.families") / "networks"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        content = tomllib.loads(file.read_text("utf-8"))
        package, files = file.name.removesuffix(".toml"), content.pop("files")
        for family, section in content.items():
            rename = {regex: _replacement(text) for regex, text in section["rename"].items()}
            out[f"{package}.{family}"] = Network(
                package,
                family,
                files,
                section["models"],
                section["differs"],
                rename,
                section.get("layers", {}),
            )
    return out


def _replacement(template: str) -> Callable[[re.Match[str]], str]:
    def replaced(match: re.Match[str]) -> str:
        symbols: dict[str, Any] = {
            name: int(text) if text.isdecimal() else text
            for name, text in match.groupdict().items()
        }
        return re.sub(r"\{([^}]*)\}", lambda m: str(evaluate(m[1], symbols)), template)

    return replaced

"""The dtypes that GE's operators take, and those that GE gives their results.

``dtypes.tsv`` has a line for each operator that we write or run: its name, the kind of the
evidence, a rule for each result, and the sets of dtypes of its ports as the prototype lists them
(those of outputs begin with ``>``). A rule is the port whose dtype the result has, with exceptions
(``x int8->int32``), or one dtype (``=bool``); it is empty where nothing is known, or an attribute
decides. Evidence: ``function``, CANN's open function of the operator was called with all dtypes;
``symbol``, GE infers by the prototype's symbols; ``products``, it was read from what the open
functions of products take; ``listed``, the prototype's sets only. GE refuses other dtypes than
the listed ones where the evidence is ``symbol`` or ``products``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from msckpt_jax.air.described import dtype_name
from msckpt_jax.dtypes import of_array


class Rule(NamedTuple):
    """The dtype of a result: that of a port, or another for some; ``dtype`` if it is always one."""

    port: str
    exceptions: Mapping[str, str]
    dtype: str

    def __call__(self, given: Mapping[str, str]) -> str | None:
        """Return the dtype, by the dtypes of the ports; None where these leave it open."""
        if self.dtype:
            return self.dtype
        dtype = given.get(self.port)
        return dtype if dtype is None else self.exceptions.get(dtype, dtype)


class Dtypes(NamedTuple):
    """The dtypes of an operator; ``enforced``: GE refuses others than those in ``sets``."""

    rules: tuple[Rule | None, ...]
    sets: Mapping[str, frozenset[str]]
    enforced: bool


@cache
def table() -> Mapping[str, Dtypes]:
    """The dtypes of each operator, by its name; names of dtypes are ``float``, ``bf16``, …."""
    text = files("msckpt_jax.air").joinpath("dtypes.tsv").read_text()
    lines = (line.split("\t") for line in text.splitlines())
    return {name: _dtypes(*rest) for name, *rest in lines}


def takes(operator: str, port: str, dtype: np.dtype) -> bool:
    """Tell whether GE takes a dtype at a port; where it enforces nothing it may."""
    known = table().get(operator, NONE)
    row = of_array(dtype)
    name = "" if row is None or row.ge is None else dtype_name(row.ge)
    return not known.enforced or name in known.sets.get(port, {name})


def _dtypes(evidence: str, rules: str, *groups: str) -> Dtypes:
    sets: dict[str, frozenset[str]] = {}
    for names, dtypes in (group.split("=") for group in groups):
        sets |= dict.fromkeys(names.split(","), frozenset(dtypes.split()))
    return Dtypes(tuple(map(_rule, rules.split("; "))), sets, evidence in ("symbol", "products"))


def _rule(text: str) -> Rule | None:
    if not text:
        return None
    if text[0] == "=":
        return Rule("", {}, text[1:])
    port, *exceptions = text.split(" ")
    pairs = (exception.split("->") for exception in exceptions)
    return Rule(port, dict(pairs), "")


NONE = Dtypes((), {}, False)

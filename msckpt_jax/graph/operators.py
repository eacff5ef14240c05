"""MindSpore's operators: their arguments, and the dtypes that its CPU kernels take.

``data/operators.tsv`` was taken from MindSpore 2.10.0: the definitions under ``ops/op_def``, and
the kernels that its CPU kernel factory lists for each operator.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from importlib import resources
from typing import NamedTuple


class Argument(NamedTuple):
    """An argument of an operator.

    ``kind`` is MindSpore's: TENSOR, INT, BOOL, FLOAT, STR, NUMBER, or a tuple of these (``T_``).
    ``handler`` names the conversion by which MindSpore changes what a Python caller passes; a file
    holds the result.
    """

    name: str
    kind: str
    optional: bool
    handler: str


class Definition(NamedTuple):
    """An operator that takes all arguments as inputs: a *primitive function* in MindSpore."""

    arguments: tuple[Argument, ...]
    results: tuple[Argument, ...]


class Kernel(NamedTuple):
    """The tensors that a CPU kernel takes and gives, as short names of dtypes."""

    inputs: tuple[str, ...]
    results: tuple[str, ...]


def definition(op: str) -> Definition | None:
    """The definition of an operator; None for an operator that takes attributes, or is unknown."""
    row = _table().get(op)
    return None if row is None or (row[0] == "-" and row[1] == "-") else _definition(op)


@functools.cache
def kernels(op: str) -> tuple[Kernel, ...]:
    """The CPU kernels of an operator; none where MindSpore expands it or cannot run it there."""
    row = _table().get(op)
    return () if row is None or row[2] == "-" else tuple(dict.fromkeys(_kernels(row[2])))


def known(op: str) -> bool:
    return op in _table()


def names() -> tuple[str, ...]:
    """The names of all operators."""
    return tuple(_table())


@functools.cache
def _table() -> dict[str, tuple[str, str, str]]:
    text = resources.files("msckpt_jax.graph").joinpath("data/operators.tsv").read_text()
    rows = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return {op: (arguments, results, signatures) for op, arguments, results, signatures in rows}


@functools.cache
def _definition(op: str) -> Definition:
    arguments, results, _ = _table()[op]
    return Definition(
        tuple(map(_argument, arguments.split())), tuple(map(_argument, results.split()))
    )


def _argument(text: str) -> Argument:
    text, _, handler = text.partition("!")
    name, _, kind = text.partition(":")
    return Argument(name, kind.rstrip("?"), kind.endswith("?"), handler)


def _kernels(text: str) -> Iterator[Kernel]:
    """Parse ``f32,f64=T/T>T i64=T/i32>T``: dtypes, and the signatures that each of them gives."""
    for group in text.split():
        names, _, signatures = group.partition("=")
        for signature in signatures.split("|"):
            inputs, _, results = signature.partition(">")
            for name in names.split(","):
                yield Kernel(_dtypes(inputs, name), _dtypes(results, name))


def _dtypes(text: str, name: str) -> tuple[str, ...]:
    return tuple(name if part == "T" else part for part in text.split("/") if part)

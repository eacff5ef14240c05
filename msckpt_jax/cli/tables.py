"""The tables of ``msckpt inspect`` for a model file, whatever its format."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from msckpt_jax.cli import common


def show(args: argparse.Namespace, content: Mapping[str, Any], facts: Sequence[str]) -> int:
    """Print a model as JSON, or as a table for each list that is known and lines of facts."""
    if args.json:
        common.say_json(content)
        return 0
    console = common.console()
    for kind, table in _TABLES.items():
        if kind in content:
            table(args.limit, kind[:-1], content[kind])
            console.print()
    for line in facts:
        console.print(common.plain(line))
    return 0


def _tensors(limit: int | None, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print names, dtypes and shapes, and bytes where the first row has them."""
    sized = bool(rows) and "bytes" in rows[0]

    def cells(row: Mapping[str, Any]) -> list[str]:
        size = [f"{row['bytes']:,}"] if sized else []
        return [row["name"], row["dtype"] or "?", _shape(row["shape"]), *size]

    common.show(limit, [kind, "dtype", "shape", *([">bytes"] * sized)], rows, cells)


def _operators(limit: int | None, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print counts, and whether ``load`` knows an operator where the first row says so."""
    told = bool(rows) and "loads" in rows[0]

    def cells(row: Mapping[str, Any]) -> list[str]:
        known = ["yes" if row["loads"] else "no meaning"] if told else []
        return [row["name"], f"{row['count']:,}", *known]

    common.show(limit, [kind, ">count", *(["in JAX"] * told)], rows, cells)


def _shape(shape: Sequence[int | str | None] | None) -> str:
    """Write a shape: ``?`` is an open size, or a shape whose rank is open, too."""
    return "?" if shape is None else f"[{', '.join('?' if d is None else str(d) for d in shape)}]"


#: The tables in the order in which they are printed. Each format has its own word for weights.
_TABLES = {
    "inputs": _tensors,
    "outputs": _tensors,
    "operators": _operators,
    **dict.fromkeys(("parameters", "constants", "initializers"), _tensors),
}

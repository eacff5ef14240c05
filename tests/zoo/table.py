"""The table of results: a row for each network, as TSV and as a document."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

CHECKS = ("call", "jit", "vmap", "onnx", "air", "gradient")
COLUMNS = (
    "repository", "network", "version", "mindspore", "parameters", "load", "load_s",
    *CHECKS, "float64", "jit_s",
)  # fmt: skip
#: The largest error that counts as equal.
BOUND = 1e-4

Row = Mapping[str, str]


def read(path: Path) -> dict[tuple[str, str], Row]:
    """The rows by repository and network."""
    if not path.exists():
        return {}
    with path.open(newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {(row["repository"], row["network"]): row for row in rows}


def write(path: Path, rows: Iterable[Row]) -> None:
    lines = ["\t".join(row.get(column, "") for column in COLUMNS) for row in rows]
    path.write_text("\n".join(["\t".join(COLUMNS), *lines, ""]))


def add(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to the table, or replace those of the same networks."""
    new = {(row["repository"], row["network"]): row for row in rows}
    write(path, (read(path) | new).values())

"""The document of the results, docs/zoo.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.zoo.repositories import NAMES, repository
from tests.zoo.table import BOUND, CHECKS, Row

DOCUMENT = Path(__file__).parents[2] / "docs" / "zoo.md"
TITLES = {
    "call": "call", "jit": "`jit`", "vmap": "`vmap`", "onnx": "ONNX", "air": "AIR",
    "gradient": "gradients",
}  # fmt: skip
HEADER = f"""# Networks of whole repositories

MindSpore builds networks of public repositories with random weights, small images and texts, runs
them on its CPU, and exports each as MindIR; `load` makes a function of it. An error is the largest
difference from MindSpore's own numbers, in units of the largest of a result; up to {BOUND:.0e} it
counts as equal. `vmap` takes two samples at once, and both are compared. ONNX and AIR are files
that the loaded function was exported to: onnxruntime runs the first, JAX the second. Gradients are
those of MindSpore's `grad`, by the first input, if it is of floats, and three weights.

Made by `python -m tests.zoo document` from tests/zoo/results.tsv, which `python -m tests.zoo run`
writes.
"""


def write(rows: Iterable[Row]) -> None:
    DOCUMENT.write_text("\n".join(lines(list(rows))) + "\n")


def lines(rows: Sequence[Row]) -> Iterator[str]:
    yield from (HEADER, "## In short", "")
    yield "| repository | MindSpore | networks | load | " + " | ".join(TITLES.values()) + " |"
    yield "|---" * (4 + len(TITLES)) + "|"
    for name, those in by_repository(rows):
        there = [row for row in those if not row["load"].startswith("MindSpore:")]
        versions = sorted({row["mindspore"] for row in there if row["mindspore"]})
        cells = [f"{name} {those[0]['version']}", ", ".join(versions), str(len(there))]
        cells += [f"{sum(row['load'] == 'yes' for row in there)}"]
        cells += [summary([row[check] for row in there if row[check]]) for check in TITLES]
        yield f"| {' | '.join(cells)} |"
    yield from (
        "",
        "Each check: networks that are equal, of those that took it, and the worst error.",
    )
    yield from section("What fails", failures(rows))
    yield from section("What is not there", missing(rows))
    for name, those in by_repository(rows):
        yield from ("", f"## {name}", "")
        yield "| network | parameters | " + " | ".join(TITLES.values()) + " |"
        yield "|---" * (2 + len(TITLES)) + "|"
        for row in those:
            if row["load"] == "yes":
                cells = [f"{int(row['parameters']) / 1e6:.1f}M", *(cell(row[c]) for c in CHECKS)]
                yield f"| {row['network']} | {' | '.join(cells)} |"


def by_repository(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    for name in NAMES:
        those = sorted((r for r in rows if r["repository"] == name), key=lambda r: r["network"])
        if those:
            yield name, those


def section(title: str, items: Iterable[str]) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    yield from (list(items) or ["Nothing."])


def failures(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what a network that MindSpore exported does not pass, with the reason."""
    for name, those in by_repository(rows):
        explained = repository(name).explained
        for row in those:
            if row["load"] != "yes" and not row["load"].startswith("MindSpore:"):
                yield f"- {row['repository']} {row['network']}: {short(row['load'])}"
            for check in CHECKS if row["load"] == "yes" else ():
                if row[check] and not equal(row[check]):
                    found = f"{row[check]} from MindSpore" if number(row[check]) else row[check]
                    wide = f"; from float64 (MindSpore, ours): {row['float64']}" * bool(
                        row["float64"]
                    )
                    why = f": {explained[row['network']]}" if row["network"] in explained else ""
                    yield f"- {name} {row['network']}, {TITLES[check]}: {short(found)}{wide}{why}"


def missing(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what MindSpore cannot build, run or export, with its reason."""
    for name in NAMES:
        for what, why in repository(name).missing.items():
            yield f"- {name}, {what}: {why}"
        there = {row["network"] for row in rows if row["repository"] == name}
        if not_run := [network for network in repository(name).networks if network not in there]:
            yield f"- {name}, listed but not run yet: {', '.join(not_run)}"
    for _, those in by_repository(rows):
        for row in those:
            if row["load"].startswith("MindSpore:"):
                why = row["load"].removeprefix("MindSpore: ")
                yield f"- {row['repository']} {row['network']}: {short(why)}"


def short(text: str) -> str:
    """A reason without the paths and stacks of this run."""
    text = re.sub(r"/\S*/", "", text.partition(" C++ Call Stack")[0].partition("; give each")[0])
    return text[:240].replace("|", "/").rstrip()


def number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def equal(text: str) -> bool:
    value = number(text)
    return value is not None and value <= BOUND


def cell(text: str) -> str:
    return text if not text or number(text) is not None else "fails"


def summary(cells: Sequence[str]) -> str:
    good = [float(text) for text in cells if equal(text)]
    if not cells:
        return ""
    worst = f" ({max(good):.0e})" if good else ""
    return f"{len(good)} of {len(cells)}{worst}"

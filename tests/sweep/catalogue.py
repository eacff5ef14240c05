"""``python -m tests.sweep.catalogue LOG``: export JAX's catalogue, and write docs/catalogue.md.

Each case goes to each format and runs there, in two processes that append a JSON line a result to
LOG.0 and LOG.1; an interrupted run goes on where these end. Options: ``--only TEXT`` (names that
have it), ``--names FILE`` (a name a line), ``--format AIR,ONNX``, ``--part K/N`` (of a fixed
shuffle); with any of them the document is left alone. ``--again wrong,refused`` runs cases of these
states again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from tests.peer.run import Asked, Result, asked, results
from tests.peer.targets import TARGETS
from tests.sweep.harnesses import HarnessCase, harness_cases

FORMATS = {"AIR": "air", "MINDIR": "mindir", "ONNX": "onnx-native"}
PROCESSES = 2
CHUNK = 60
DOCUMENT = Path(__file__).parents[2] / "docs" / "catalogue.md"
#: Formats, a pattern of names, and why these cases may give other numbers.
KNOWN = [
    (
        ("ONNX",),
        "cumsum_.*float16",
        "onnxruntime adds float16 in another order than XLA: off by a unit of the largest sum",
    ),
    (
        ("AIR", "MINDIR", "ONNX"),
        "(reduce_window_add_|dot_general_different_).*float16_4_|"
        "scatter_add_no_xla_non_unique_indices_shape_bfloat16",
        "XLA adds numbers of 16 bits in an order of its own: off by a unit, as JAX is from the sum",
    ),
    (
        ("AIR", "MINDIR", "ONNX"),
        "top_k_sort_inf_nan",
        "XLA takes a NaN whose sign bit is set for the least number, other NaN for the greatest",
    ),
]


class Entry(NamedTuple):
    """The state of a case in a format; the format is "JAX" where JAX itself does not run it."""

    format: str
    name: str
    state: str
    detail: str = ""


def entries(cases: Sequence[HarnessCase], formats: Sequence[str]) -> Iterator[Entry]:
    """The entry of each case in each format."""
    with contextlib.ExitStack() as stack:
        judges = {f: stack.enter_context(TARGETS[FORMATS[f]].judge()) for f in formats}
        for start in range(0, len(cases), CHUNK):
            found = list(map(asked, cases[start : start + CHUNK]))
            yield from (Entry("JAX", *result) for result in found if isinstance(result, Result))
            there = [case for case in found if isinstance(case, Asked)]
            for format_ in formats:
                for result in results(there, TARGETS[FORMATS[format_]], judges[format_]):
                    yield Entry(format_, *result)
            jax.clear_caches()


def chosen(only: str = "", part: str = "0/1", names: Path | None = None) -> list[HarnessCase]:
    """The cases whose names have a text, or are in a file, and of these a part."""
    number, parts = map(int, part.split("/"))
    listed = None if names is None else set(names.read_text().splitlines())
    cases = [c for c in harness_cases() if only in c.name and (not listed or c.name in listed)]
    cases.sort(key=lambda case: case.name)  # JAX lists them in an order that processes differ in
    random.Random(0).shuffle(cases)
    return cases[number::parts]


def logged(log: Path) -> list[Entry]:
    """The entries of a log, the last one of each case and format."""
    lines = [
        line for path in sorted(log.parent.glob(f"{log.name}.*"))
        for line in path.read_text().splitlines()
    ]  # fmt: skip
    found = [Entry(*json.loads(line)) for line in lines]
    return list({(entry.format, entry.name): entry for entry in found}.values())


_RAW = ("failed", "crashed", "slow", "bug")
_HEADER = """# JAX's catalogue of its primitives, exported

JAX tests its compilers with small calls of its primitives, each with other dtypes, shapes and
parameters. Here each goes to each format and runs: a MindIR in MindSpore 2.10.0, an ONNX file in
onnxruntime 1.32.0 (rows of this library only), an AIR file by the definitions of GE's operators,
after the check of GE's rules. Operators that are exact by nature are compared bit by bit, others as
`verify` does, by dtype; factors of matrices and unstable sorts by what is determined of them.
Made by `python -m tests.sweep.catalogue`; a part of it is a test.

"""


def document(found: Sequence[Entry], cases: int) -> str:
    """The counts, and a row for each group of cases that are not equal, with its reason."""
    skipped = sum(entry.format == "JAX" for entry in found)
    least = min(Counter(e.format for e in found if e.format != "JAX").values(), default=0)
    rest = "the others ran in each format"
    if least < cases - skipped:
        rest = "a run that was interrupted has not reached those that the column lacks"
    lines = [
        f"{_HEADER}Of {cases} cases JAX itself does not run {skipped}; {rest}.",
        "",
        "| format | cases | equal | refused | wrong | raw errors |",
        "|---|---|---|---|---|---|",
    ]
    for format_ in FORMATS:
        states = Counter(entry.state for entry in found if entry.format == format_)
        total, raw = states.total(), sum(states[state] for state in _RAW)
        share = f"{states['equal'] / max(total, 1):.2%}"
        lines.append(
            f"| {format_} | {total} | {states['equal']} ({share}) | {states['refused']} | "
            f"{states['wrong']} | {raw} |"
        )
    lines += ["", "## Not equal", "", "| format | primitive | cases | state | reason |"]
    lines += ["|---|---|---|---|---|"]
    groups = {case.name: case.group for case in harness_cases()}
    rows = Counter(
        (e.format, groups[e.name], e.state, _reason(e))
        for e in found
        if e.format != "JAX" and e.state != "equal"
    )
    for (format_, group, state, why), count in sorted(rows.items()):
        lines.append(f"| {format_} | {group} | {count} | {state} | {why} |")
    return "\n".join([*lines, ""])


def _reason(entry: Entry) -> str:
    known = reason(entry.format, entry.name)
    text = known or re.sub(r"off by \S+", "other numbers", entry.detail)
    return " ".join(text.replace("|", ";").split())[:160]


def reason(format_: str, name: str) -> str | None:
    """Why a case may give other numbers; None where it may not."""
    known = (why for formats, text, why in KNOWN if format_ in formats and re.match(text, name))
    return next(known, None)


def _work(args: argparse.Namespace, number: int) -> None:
    """Run every second case that the log lacks."""
    again = set(args.again.split(","))
    formats = args.format.split(",")
    done = {(e.format, e.name) for e in logged(args.log) if e.state not in again}
    known = {name for format_, name in done if format_ == "JAX"}
    cases = [
        case for case in chosen(args.only, args.part, args.names)[number::PROCESSES]
        if case.name not in known and any((f, case.name) not in done for f in formats)
    ]  # fmt: skip
    with args.log.with_name(f"{args.log.name}.{number}").open("a") as log:
        for entry in entries(cases, formats):
            print(json.dumps(entry), file=log, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--format", default=",".join(FORMATS))
    parser.add_argument("--names", type=Path)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--again", default="")
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.process is not None:
        _work(args, args.process)
        return
    command = [sys.executable, "-W", "ignore", "-m", "tests.sweep.catalogue", *sys.argv[1:]]
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
    workers = [
        subprocess.Popen([*command, f"--process={k}"], env=os.environ | {"XLA_FLAGS": flags})
        for k in range(PROCESSES)
    ]
    for worker in workers:
        if worker.wait():
            sys.exit(f"a process ended with {worker.returncode}; run the command again")
    whole = ("only", "format", "names", "part")
    if all(getattr(args, name) == parser.get_default(name) for name in whole):
        DOCUMENT.write_text(document(logged(args.log), len(harness_cases())))


if __name__ == "__main__":
    main()

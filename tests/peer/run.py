"""Run jax2onnx's cases through a format and what runs its files, and write the table of results.

``python -m tests.peer.run TARGET LOG [--part K/N] [--only TEXT]`` appends a JSON line a case to
LOG, and goes on where the log ends; ``--table`` makes ``results_TARGET.md`` of it. ``onnx`` writes
what ``onnx-native`` writes unless that refuses: ``--native LOG`` takes those results from there.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import random
import re
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from msckpt_jax.errors import ExportError
from msckpt_jax.lowering.exactness import Precision, precisions
from msckpt_jax.lowering.trials import distance
from msckpt_jax.mindir import runner
from tests.peer.cases import Case, peer_cases, widened
from tests.peer.targets import TARGETS, Exported, Judge, Target

#: Cases that are judged at a time.
CHUNK = 40
#: Seconds for each step of a case.
PATIENCE = 90

STATES = {
    "equal": "JAX's numbers",
    "refused": "refused by `export`, nothing written",
    "wrong": "other numbers, dtypes or shapes",
    "failed": "an exception where the file runs",
    "crashed": "a crash where the file runs",
    "slow": "no result within the time limit",
    "bug": "an exception in `export` that is no refusal",
    "jax": "JAX itself does not run it",
}


class Result(NamedTuple):
    name: str
    state: str
    detail: str = ""


class _SlowError(Exception):
    pass


class Asked(NamedTuple):
    """What JAX makes of a case: its function, its inputs, its results, and their precisions."""

    case: Case
    function: Callable[..., Any]
    inputs: list[np.ndarray]
    expected: list[np.ndarray]
    due: list[Precision]


def run(cases: Sequence[Case], target: Target, judge: Judge) -> Iterator[Result]:
    """The result of each case, in chunks."""
    for start in range(0, len(cases), CHUNK):
        found = list(map(asked, cases[start : start + CHUNK]))
        yield from (result for result in found if isinstance(result, Result))
        yield from results([case for case in found if isinstance(case, Asked)], target, judge)
        jax.clear_caches()


def asked(case: Case) -> Result | Asked:
    """JAX's results of a case, or why there are none."""
    try:
        with _patience(), widened(case), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function, inputs = case.function(), case.arguments()
            with jax.default_matmul_precision("float32"):
                expected = jax.tree.leaves(jax.jit(function)(*inputs))
            inputs = [np.asarray(jnp.asarray(x)) for x in inputs]
            due = precisions(jax.make_jaxpr(function)(*inputs))
            return Asked(case, function, inputs, [np.asarray(x) for x in expected], due)
    except _SlowError:
        return Result(case.name, "slow", "JAX")
    except Exception as error:
        return Result(case.name, "jax", f"{type(error).__name__}: {error}"[:300])


def results(cases: Sequence[Asked], target: Target, judge: Judge) -> Iterator[Result]:
    """The results of what a target makes of cases."""
    with tempfile.TemporaryDirectory() as folder:
        made = [_exported(case, target, Path(folder) / str(i)) for i, case in enumerate(cases)]
        yield from (found for found in made if isinstance(found, Result))
        there = [found for found in made if isinstance(found, Exported)]
        for found, outcome in zip(there, judge(there, PATIENCE), strict=True):
            yield _judged(found, outcome)


def _exported(asked: Asked, target: Target, folder: Path) -> Result | Exported:
    case, function, inputs, expected, due = asked
    try:
        with _patience(), widened(case), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folder.mkdir()
            file = target.write(function, inputs, folder / "case")
            return Exported(case, file, inputs, expected, due)
    except _SlowError:
        return Result(case.name, "slow", "export")
    except ExportError as error:
        return Result(case.name, "refused", " | ".join(map(_reason, error.problems)))
    except Exception as error:
        return Result(case.name, "bug", f"{type(error).__name__}: {error}"[:300])


def _reason(problem: str) -> str:
    """The problem without its source line."""
    return re.sub(r"^\S*:\d+(:\d+)? (\([^)]*\))?: ?", "", problem)


def _judged(found: Exported, outcome: runner.Outcome) -> Result:
    name = found.case.name
    if outcome.error:
        state = "crashed" if outcome.crashed else "failed"
        state = "slow" if outcome.error.startswith("no result") else state
        return Result(name, state, outcome.error[:300])
    have = outcome.results[0]
    if [(x.dtype, x.shape) for x in have] != [(x.dtype, x.shape) for x in found.expected]:
        return Result(name, "wrong", "dtypes or shapes")
    wanted, have = (found.case.determined(found.inputs, x) for x in (found.expected, have))
    due = found.due if len(wanted) == len(found.due) else found.due[:1] * len(wanted)
    judged = zip(wanted, have, due, strict=True)
    pairs = [distance(want, one, unit) for want, one, unit in judged]
    if all(equal for _, equal in pairs):
        return Result(name, "equal")
    return Result(name, "wrong", f"off by {max(largest for largest, _ in pairs):.3g}")


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise _SlowError

    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def table(target: Target, results: Sequence[Result], beside: Sequence[Result] = ()) -> str:
    """The results as Markdown; ``beside`` are those of jax2onnx alone."""
    states = collections.Counter(r.state for r in results)
    judged = len(results) - states["jax"]
    lines = [
        f"# jax2onnx's export cases in {target.title}",
        "",
        f"{len(results)} cases with static shapes that the wheel of jax2onnx ships; JAX runs "
        f"{judged} of them. Equal means the same numbers where a result is exact by nature, else "
        "rtol 1e-3 and atol 1e-5 in float32, 1e-10 and 1e-12 in float64. Made by "
        "`python -m tests.peer.run`.",
        "",
        *_compared(results, beside),
        *(f"`{name}`: {why}.\n" for name, why in target.known.items()),
        "| result | cases | share |",
        "|---|---|---|",
    ]
    for state, meaning in STATES.items():
        share = f"{states[state] / judged:.2%}" if state != "jax" else ""
        lines.append(f"| {meaning} | {states[state]} | {share} |")
    for state in STATES:
        if state in ("equal", "jax") or not states[state]:
            continue
        lines += ["", f"## {STATES[state][0].upper()}{STATES[state][1:]}", ""]
        lines += _by_reason([r for r in results if r.state == state])
    return "\n".join([*lines, ""])


def _compared(results: Sequence[Result], beside: Sequence[Result]) -> list[str]:
    if not beside:
        return []
    states = {r.name: r.state for r in beside}  # the last one, where a case was run again
    theirs = {name for name, state in states.items() if state == "equal"}
    ours = {r.name for r in results if r.state == "equal"}
    share = len(theirs) / sum(state != "jax" for state in states.values())
    return [
        f"jax2onnx alone, at its own opset: {len(theirs)} equal ({share:.1%}); equal there and not "
        f"here: {len(theirs - ours)}.",
        "",
    ]


def _by_reason(results: Sequence[Result]) -> list[str]:
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.detail, []).append(result)
    out = ["| cases | reason | for example |", "|---|---|---|"]
    for reason, found in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        text = " ".join(reason.replace("|", ";").split())
        out.append(f"| {len(found)} | {text[:200]} | `{found[0].name}` |")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("log", type=Path)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--only", default="")
    parser.add_argument("--again", default="", help="states to run again, such as wrong,failed")
    parser.add_argument("--native", type=Path, help="the log of onnx-native: equal ones are taken")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--beside", type=Path, help="the log of jax2onnx alone, for the table")
    args = parser.parse_args()
    known = {r.name: r for r in _logged(args.log)}
    if args.native:
        known |= {r.name: r for r in _logged(args.native) if r.state == "equal"}
    target = TARGETS[args.target]
    if args.table:
        file = Path(__file__).with_name(f"results_{args.target}.md")
        beside = _logged(args.beside) if args.beside else []
        file.write_text(table(target, list(known.values()), beside))
        return
    again = set(args.again.split(","))
    number, parts = map(int, args.part.split("/"))
    cases = [c for c in peer_cases() if args.only in c.name][number::parts]
    cases = [c for c in cases if c.name not in known or known[c.name].state in again]
    random.Random(0).shuffle(cases)  # an unfinished run is a fair sample
    cases.sort(key=lambda case: case.wide)
    with target.judge() as judge, args.log.open("a") as log:
        for result in run(cases, target, judge):
            print(json.dumps(result), file=log, flush=True)


def _logged(log: Path) -> list[Result]:
    if not log.exists():
        return []
    return [Result(*json.loads(line)) for line in log.read_text().splitlines()]


if __name__ == "__main__":
    main()

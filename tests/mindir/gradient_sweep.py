"""Each gradient operator, run alone by MindSpore in several dtypes and with several arguments.

The results are compared with those of the operator's meaning, computed in 64 bits of the same
numbers. ``python -m tests.mindir.gradient_sweep [OPERATOR ...]`` prints the errors.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from msckpt_jax.dtypes import BY_SHORT
from msckpt_jax.graph import meaning
from msckpt_jax.graph.evaluate import evaluate
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import Const, Operand, Tensor, Value
from msckpt_jax.lowering.wanted import Wanted
from msckpt_jax.mindir import runner, writer
from msckpt_jax.mindir.target import TARGET
from tests.mindir.gradient_samples import SAMPLES, Sample

_WANTED = Wanted(durable=False, options={name: o.default for name, o in TARGET.options.items()})


class Case(NamedTuple):
    """An operator, which of its samples, and a dtype's short name."""

    op: str
    sample: int
    short: str


class Outcome(NamedTuple):
    """MindSpore's error, or the largest error of each result, in the dtype's epsilon."""

    problem: str = ""
    errors: tuple[float, ...] = ()


def cases() -> Iterator[Case]:
    for op, samples in SAMPLES.items():
        for k, sample in enumerate(samples):
            yield from (Case(op, k, short) for short in sample.dtypes)


def outcomes(asked: Sequence[Case]) -> dict[Case, Outcome]:
    """Run each case as a file of one operator."""
    made = [_made(case) for case in asked]
    with tempfile.TemporaryDirectory() as folder, runner.MindSpore() as mindspore:
        files = []
        for number, (graph, inputs) in enumerate(made):
            file = Path(folder) / f"{number}.mindir"
            writer.write(graph, file, _WANTED)
            files.append(runner.Case(file, [inputs]))
        results = mindspore.run(files)
    return {
        case: _outcome(_sample(case), graph, inputs, result)
        for case, (graph, inputs), result in zip(asked, made, results, strict=True)
    }


def _sample(case: Case) -> Sample:
    return SAMPLES[case.op][case.sample]


def _made(case: Case) -> tuple[Graph, list[np.ndarray]]:
    """The graph of a case, and its inputs: numbers of the dtype."""
    sample, dtype = _sample(case), BY_SHORT[case.short].array
    rng = np.random.default_rng(len(case.op))
    operands: list[Operand] = []
    inputs: list[np.ndarray] = []
    before: list[np.ndarray] = []
    for operand in sample.operands:
        if isinstance(operand, Const):
            operands.append(operand)
            continue
        array = _array(operand, sample, dtype, rng, before)
        before.append(array if array.dtype.kind in "biu" else array.astype(_widest(dtype)))
        inputs.append(array)
        operands.append(Value(Tensor(array.dtype, array.shape)))
    outputs = tuple(Value(Tensor(dtype, (0,))) for _ in range(sample.results))
    node = Node(case.op, tuple(operands), outputs, sample.attrs)
    values = [value for value in operands if isinstance(value, Value)]
    return Graph("main", values, [node], [*outputs]), inputs


def _widest(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.complex128 if dtype.kind == "c" else np.float64)


def _array(
    operand: Any, sample: Sample, dtype: np.dtype, rng: Any, before: list[np.ndarray]
) -> np.ndarray:
    if isinstance(operand, np.ndarray):
        return operand
    if callable(operand):
        with jax.enable_x64(True):
            made = np.asarray(operand(rng, *before))
        return made if (made.dtype.kind in "iu" and made.dtype.itemsize != 8) or (
            made.dtype.kind == "i" and len(before) > 1) else made.astype(dtype)  # fmt: skip
    made = rng.uniform(sample.low, sample.high, operand)
    if dtype.kind == "c":
        made = made + 1j * rng.uniform(sample.low, sample.high, operand)
    return np.asarray(made, dtype)


def _outcome(
    sample: Sample, graph: Graph, inputs: list[np.ndarray], result: runner.Outcome
) -> Outcome:
    if result.error:
        return Outcome(result.error.strip().split("\n")[0])
    with jax.enable_x64(True):
        wide = [x if x.dtype.kind in "biu" else x.astype(_widest(x.dtype)) for x in inputs]
        due = [np.asarray(x) for x in evaluate(graph, meaning.table(), {}, wide)]
    given = result.results[0]
    if [x.shape for x in given] != [x.shape for x in due]:
        return Outcome(f"shapes {[x.shape for x in given]}, not {[x.shape for x in due]}")
    return Outcome("", tuple(map(_error, due[: sample.compared or None], given)))


def _error(due: np.ndarray, given: np.ndarray) -> float:
    """The largest error by the largest number."""
    if not np.isfinite(given).all() or not np.isfinite(due).all():
        return 0.0 if np.array_equal(due.astype(given.dtype), given, equal_nan=True) else np.inf
    size = np.abs(due).max(initial=0) * np.finfo(given.dtype).eps
    return float(np.abs(due - given).max(initial=0) / max(size, 1e-300))


def wrong(case: Case, outcome: Outcome) -> str:
    """What is wrong with an outcome; empty where it is right."""
    allowed = _sample(case).eps
    if outcome.problem or max(outcome.errors, default=0) <= allowed:
        return outcome.problem
    return f"off by {outcome.errors}, {allowed:g} are allowed"


def main() -> None:
    done = outcomes([case for case in cases() if not sys.argv[1:] or case.op in sys.argv[1:]])
    for case, outcome in done.items():
        text = wrong(case, outcome)
        print("WRONG" if text else "right", *case, text or outcome.errors)
    print(f"{len(done)} cases, {sum(bool(wrong(*item)) for item in done.items())} wrong")


if __name__ == "__main__":
    main()

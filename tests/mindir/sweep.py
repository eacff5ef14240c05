"""Every MindSpore operator that the rules emit, in each dtype and attribute, run by MindSpore.

The table of kernels allows a dtype as it is, by way of a wider dtype, or not at all. What it allows
is run as a graph of one operator and of the casts that an export puts around it; the results are
compared with those of the operator's meaning in JAX, computed in 64 bits where they are floats.
``python -m tests.mindir.sweep`` prints what does not run or is wrong, and with ``--markdown`` the
table of docs/kernels.md.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from msckpt_jax.dtypes import BY_SHORT, of_array
from msckpt_jax.errors import ExportError, UnsupportedError
from msckpt_jax.graph import check, kernels, meaning
from msckpt_jax.graph.evaluate import evaluate
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import Const, Operand, Tensor, Value
from msckpt_jax.lowering.context import Context, Options, Root
from msckpt_jax.lowering.wanted import Wanted
from msckpt_jax.mindir import runner, writer
from msckpt_jax.mindir.target import TARGET
from tests.mindir.sweep_samples import SAMPLES
from tests.sweep.errors import units

_WANTED = Wanted(durable=False, options={name: o.default for name, o in TARGET.options.items()})


class Case(NamedTuple):
    """An operator, a dtype, and which of the variants of its arguments."""

    op: str
    short: str
    variant: int


class Outcome(NamedTuple):
    """What became of a case.

    Attributes:
        refused: why the table of kernels does not allow it; empty where it does.
        wider: the dtype in which it is computed, if not in its own.
        problem: MindSpore's error. units: the largest error of a result.
    """

    refused: str = ""
    wider: str = ""
    problem: str = ""
    units: float = 0.0


class _Prepared(NamedTuple):
    graph: Graph
    inputs: list[np.ndarray]
    due: list[np.ndarray]
    wider: str


def cases() -> Iterator[Case]:
    """All operators, dtypes and variants of arguments."""
    for op, sample in SAMPLES.items():
        for variant, short in itertools.product(range(len(sample.variants)), sample.dtypes):
            yield Case(op, short, variant)


_Case = TypeVar("_Case", bound=Any)


def few(cases: Iterable[_Case], share: int) -> list[_Case]:
    """A case of each of some operators, one in ``share``: always the same ones."""
    chosen: list[_Case] = []
    for op, group in itertools.groupby(cases, lambda case: case.op):
        own, number = [*group], zlib.crc32(op.encode())
        chosen += [own[number % len(own)]] if number % share == 0 else []
    return chosen


def outcomes(asked: Sequence[Case]) -> dict[Case, Outcome]:
    """Run cases in MindSpore: the dtypes of an operator together, each alone where that fails."""
    out: dict[Case, Outcome] = {}
    ready: dict[Case, _Prepared] = {}
    for case in asked:
        made = _prepared(case)
        if isinstance(made, Outcome):
            out[case] = made
        else:
            ready[case] = made
    with tempfile.TemporaryDirectory() as folder, runner.MindSpore() as mindspore:
        alike = itertools.groupby(ready, lambda case: (case.op, case.variant))
        groups = [list(group) for _, group in alike]
        again = _run(mindspore, Path(folder), groups, ready, out)
        _run(mindspore, Path(folder), [[case] for group in again for case in group], ready, out)
    return out


def _run(
    mindspore: runner.MindSpore, folder: Path, groups: list[list[Case]],
    ready: dict[Case, _Prepared], out: dict[Case, Outcome],
) -> list[list[Case]]:  # fmt: skip
    """Run each group as a file; return the groups that fail and have several cases."""
    asked, failed = [], []
    for number, group in enumerate(groups):
        file = folder / f"{len(group)}_{number}.mindir"
        writer.write(_joined([ready[case].graph for case in group]), file, _WANTED)
        asked.append(runner.Case(file, [[x for case in group for x in ready[case].inputs]]))
    for group, outcome in zip(groups, mindspore.run(asked), strict=True):
        if outcome.error and len(group) > 1:
            failed.append(group)
            continue
        results = iter(outcome.results[0] if outcome.results else ())
        for case in group:
            made = ready[case]
            if outcome.error:
                out[case] = Outcome(wider=made.wider, problem=outcome.error.strip().split("\n")[0])
                continue
            given = [next(results) for _ in made.graph.outputs]
            error = max(map(_error, made.due, given), default=0.0)
            out[case] = Outcome(wider=made.wider, units=error)
    return failed


def _prepared(case: Case) -> _Prepared | Outcome:
    """The graph of a case, its inputs and the results that are due; or why it is refused."""
    sample, dtype = SAMPLES[case.op], BY_SHORT[case.short].array
    arguments, attrs = sample.variants[case.variant]
    arrays = [sample.array(part, dtype, k) for k, part in enumerate(sample.operands)]
    inputs: list[np.ndarray] = []
    values: list[Value] = []

    def given(array: Any) -> Operand:
        if isinstance(array, Const):
            return array
        if isinstance(array, list):
            return tuple(map(given, array))
        inputs.append(array)
        values.append(Value(Tensor(array.dtype, array.shape)))
        return values[-1]

    operands: list[Operand] = [*map(given, arrays), *arguments]
    results = tuple(Value(Tensor(np.dtype(np.void), (0,))) for _ in range(sample.results))
    plain = Graph("main", values, [Node(case.op, tuple(operands), results, attrs)], [*results])
    types, due = _due(plain, inputs)
    types = sample.types(types)
    graph = Graph("main", values)
    context = Context(Root(Options({}), graph), graph)
    try:
        made = context.several(case.op, *operands, types=types, attrs=attrs)
        casts = kernels.wider(case.op, kernels.tensor_dtypes(operands), [t.dtype for t in types])
        graph.outputs = [*made]
        check.check(graph)
    except UnsupportedError as error:
        return Outcome(refused=str(error))
    except ExportError as error:
        return Outcome(refused=error.problems[0])
    wider = [row.short for new in casts.values() if (row := of_array(new))]
    return _Prepared(graph, inputs, due[: sample.compared], *wider[:1] or [""])


def _due(graph: Graph, inputs: Sequence[np.ndarray]) -> tuple[list[Tensor], list[np.ndarray]]:
    """The types of the results, and the results, computed of the same numbers in 64 bits."""

    def function(*arrays: Any) -> list[Any]:
        return evaluate(graph, meaning.table(), {}, arrays)

    with jax.enable_x64(True), np.errstate(all="ignore"):
        types = [Tensor(s.dtype, s.shape) for s in jax.eval_shape(function, *inputs)]
        results = [np.asarray(x) for x in function(*map(_widest, inputs))]
    return types, [x if x.dtype.kind in "fc" else x.astype(t.dtype)
                   for x, t in zip(results, types, strict=True)]  # fmt: skip


def _widest(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "biu":
        return array
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _joined(graphs: Sequence[Graph]) -> Graph:
    return Graph(
        "main",
        [value for graph in graphs for value in graph.inputs],
        [node for graph in graphs for node in graph.nodes],
        [value for graph in graphs for value in graph.outputs],
    )


def _error(due: np.ndarray, result: np.ndarray) -> float:
    """The largest error in units of the last place; infinite where exact results differ."""
    if due.shape != result.shape:
        return np.inf
    if result.dtype.kind == "c" and due.dtype.kind == "f":
        result = np.real(result)
    if result.dtype.kind in "biu":
        return 0.0 if np.array_equal(due, result) else np.inf
    if result.dtype.kind == "c":
        size = np.abs(due) * np.finfo(result.dtype).eps
        return float(np.max(np.abs(due - result) / np.maximum(size, 1e-300), initial=0))
    return float(np.max(units(due.astype(np.float64), result), initial=0))


def wrong(case: Case, outcome: Outcome) -> str:
    """What is wrong with an outcome; empty where it is right, or refused."""
    allowed = SAMPLES[case.op].units
    if outcome.problem or outcome.units <= allowed:
        return outcome.problem
    return f"off by {outcome.units:.3g} units, {allowed:g} are allowed"


def main() -> None:
    done = outcomes([case for case in cases() if not sys.argv[1:] or case.op in sys.argv[1:]])
    print(f"{len(done)} cases")
    for case, outcome in done.items():
        if outcome.refused:
            print("refused", case, outcome.refused)
        if text := wrong(case, outcome):
            print("WRONG", case, outcome.wider, text)


if __name__ == "__main__":
    main()

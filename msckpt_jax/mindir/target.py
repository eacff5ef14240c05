"""MindIR, MindSpore's own model format, as a target of exports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from msckpt_jax import display
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.errors import ExportError, MindIRError
from msckpt_jax.graph import meaning
from msckpt_jax.graph.evaluate import FLOW, Meaning
from msckpt_jax.graph.function import ModelFunction
from msckpt_jax.graph.graph import Graph
from msckpt_jax.lowering import algorithms, exactness, symbols, trials
from msckpt_jax.lowering.target import Target, Verdict, Written
from msckpt_jax.lowering.trace import Traced
from msckpt_jax.lowering.wanted import Lowering, Wanted
from msckpt_jax.mindir import inspection, reader, runner, source, writer
from msckpt_jax.mindir.options import OPTIONS
from msckpt_jax.mindir.source import DecMode

#: Primitives whose operator in MindSpore computes float64 in float32.
_ROUNDED64 = ("igamma", "igamma_grad_a", "igammac")


def write(graph: Graph, path: AnyPath, wanted: Wanted) -> tuple[AnyPath, list[str]]:
    """Write the file; return the path of the file to load, and no notes."""
    return writer.write(graph, path, wanted), []


def export(
    traced: Traced, path: AnyPath, wanted: Wanted, how: Lowering, lower: Callable[[], Graph]
) -> Written:
    """Write a function; note where MindSpore fails on some sizes."""
    graph = lower()
    file, notes = write(graph, path, wanted)
    return Written(file, graph, [*notes, *map(_empty, symbols.perhaps_empty(traced.jaxpr))])


def _empty(size: str) -> str:
    return (
        f"an axis has {size} elements, which may be none: MindSpore's CPU fails on some arrays "
        "without elements, and a cell may give wrong numbers afterwards; call it with other sizes "
        f'only, and say so: constraints=["{size} >= 1"]'
    )


def open_model(
    file_name: Any,
    *,
    dec_key: bytes | None = None,
    dec_mode: DecMode = "AES-GCM",
    rules: Mapping[str, Meaning] | None = None,
    mmap: bool = True,
) -> ModelFunction:
    """Return the model of a MindIR file as a function of JAX.

    Raises:
        MindIRError: the file is damaged, encrypted otherwise, or has operators without a meaning.
        FileNotFoundError: there is no such file.
    """
    program = reader.read(file_name, dec_key, dec_mode, mmap)
    return ModelFunction(program, meaning.table(), rules)


def difference(file: Path, traced: Traced, wanted: Wanted) -> float:
    """Return the largest difference to JAX when MindSpore runs the file.

    Where MindSpore is not installed, the file runs by the meanings of its operators.

    Raises:
        ExportError: MindSpore fails on the file, or the results differ.
    """
    tried, due = trials.trials(traced), exactness.precisions(traced.jaxpr)
    if not runner.available():
        function = open_model(file, **wanted.load)
        return trials.largest(
            file, tried, lambda *x: jax.tree.leaves(function(*x)), "the file", due
        )
    # Each case gets its own cell: MindSpore compiles a cell anew for each size, loops only once.
    with runner.MindSpore() as mindspore:
        outcomes = mindspore.run([runner.Case(file, [inputs], wanted.load) for inputs, *_ in tried])
    pairs = zip(tried, outcomes, strict=True)

    def results(*_: Any) -> list[Any]:
        trial, outcome = next(pairs)
        if outcome.error:
            raise ExportError(f"{file}: MindSpore fails on it{trial.at}: {outcome.error}")
        return outcome.results[0]

    return trials.largest(file, tried, results, "MindSpore", due)


def beside(file: AnyPath) -> list[str]:
    """The files of weights that a split model of ours has, below its folder."""
    folder = file.with_name(f"{file.name.removesuffix('_graph.mindir')}_variables")
    return [f"{folder.name}/{path.name}" for path in paths.below(folder, "data_")]


def verify(file: Path, *, dec_key: bytes | None, dec_mode: str) -> Verdict:
    """Read the whole file: its weights must be there, its graphs must make a function of JAX."""
    try:
        graph = reader.read(file, dec_key, dec_mode).graph
    except MindIRError as error:
        return Verdict(False, [str(error)])
    nodes = list(graph.walk())
    unknown = sorted({node.op for node in nodes} - meaning.table().keys() - FLOW)
    notes = [f"note: load has no meaning for the operator {op}" for op in unknown]
    facts = (
        f"{display.counted(len(nodes), 'operator')}, "
        f"{display.counted(len(graph.parameters), 'parameter')}, "
        f"{display.counted(len(unknown), 'note')}"
    )
    return Verdict(True, [*notes, f"{file}: {facts}"])


def _describe(dataset: Any) -> tuple[Any, Any]:
    from msckpt_jax.mindir import dataset as datasets  # the transforms, only where they are used

    described = datasets.describe(dataset)
    return described.input, described.preprocessor


TARGET = Target(
    name="MINDIR",
    suffix=".mindir",
    write=write,
    export=export,
    open=open_model,
    difference=difference,
    inspect=inspection.inspect,
    verify=verify,
    options=OPTIONS,
    kernels=True,
    algorithms={
        "digamma": algorithms.ALGORITHMS["digamma"],  # MindSpore's is wrong near its poles
        **algorithms.MISSING,
        **algorithms.FORMS,
        **algorithms.ROUNDED,
        **algorithms.CONVOLUTIONS,
        **algorithms.SCATTERS,
    },
    algorithms64={
        "erf_inv": algorithms.FLOAT64["erf_inv"],
        **{name: algorithms.ALGORITHMS[name] for name in _ROUNDED64},
    },
    describe=_describe,
    beside=beside,
    cipher=source.encryption,
    weights=lambda path, **secrets: source.open_mindir(path, **secrets).weights,
)

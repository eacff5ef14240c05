"""ONNX as a model format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Never

import onnx

from msckpt_jax import display
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.errors import ExportError, UnsupportedError
from msckpt_jax.graph.graph import Graph
from msckpt_jax.lowering import algorithms, exactness, tiny, trials
from msckpt_jax.lowering.problems import failures
from msckpt_jax.lowering.rewrites import window
from msckpt_jax.lowering.target import Target, Verdict, Written
from msckpt_jax.lowering.trace import Traced
from msckpt_jax.lowering.wanted import Lowering, Wanted
from msckpt_jax.onnx import (
    adapt,
    fusions,
    inspection,
    lite,
    opsets,
    packages,
    quantised,
    runtimes,
    writer,
)
from msckpt_jax.onnx.options import OPTIONS, check_runs
from msckpt_jax.onnx.rows import ROWS
from msckpt_jax.visible import visible


def write(
    graph: Graph, path: AnyPath, wanted: Wanted, target: str | None = None
) -> tuple[AnyPath, list[str]]:
    """Write the file; return it, and no notes."""
    opset = wanted.options["opset"]
    opsets.check(opset)
    with failures():
        adapted = adapt.adapt(graph, opset=opset, target=target)
    _write(adapted, path, wanted)
    return path, []


def export(
    traced: Traced, path: AnyPath, wanted: Wanted, how: Lowering, lower: Callable[[], Graph]
) -> Written:
    """Write a function by our own rows, or by jax2onnx, as the engine asks.

    Raises:
        ExportError: neither can.
    """
    check_runs(wanted.options["runtime"])
    engine = wanted.options["engine"]
    if engine == "jax2onnx":
        if how.rules or how.exact or how.quantiser or how.target == packages.LITE:
            raise ValueError("jax2onnx heeds neither rules nor exact nor weights nor target='lite'")
        return _by_jax2onnx(traced, path, wanted, ())
    try:
        graph = lower()
        file, notes = write(graph, path, wanted, how.target)
        return Written(file, graph, notes)
    except ExportError as error:
        native = engine == "native" or how.target == packages.LITE
        if native or how.rules or how.exact or how.quantiser:
            raise
        return _by_jax2onnx(traced, path, wanted, error.problems)


def _by_jax2onnx(
    traced: Traced, path: AnyPath, wanted: Wanted, problems: tuple[str, ...]
) -> Written:
    """Write the file that jax2onnx makes of the function; ``problems`` are those of our own rows.

    Raises:
        ExportError: jax2onnx refuses it, too, or its file is not right; with both reasons.
    """
    from msckpt_jax.onnx import fallback

    opset = wanted.options["opset"]
    opsets.check(opset)
    try:
        adapted = fallback.adapt(traced, opset or fallback.OPSET, path)
    except UnsupportedError as error:
        problems = (*problems, *error.problems)
        text = f"{display.counted(len(problems), 'problem')}, nothing was written:"
        raise ExportError(text, problems=problems) from error
    _write(adapted, path, wanted)
    return Written(path, None, ["made by jax2onnx", *problems])


def _write(adapted: adapt.Adapted, path: AnyPath, wanted: Wanted) -> None:
    for key, value in (wanted.options["user_info"] or {}).items():
        adapted.model.metadata_props.add(key=key, value=value)
    writer.write(adapted, path, wanted)


def open_model(file_name: Any, **_: Any) -> Never:
    """Refuse: an ONNX file has no function in JAX."""
    raise ValueError(visible(f"{file_name}: ONNX files are run by onnxruntime, not read by JAX"))


def check_runner() -> None:
    """Refuse to compare results where onnxruntime is missing.

    Raises:
        ImportError: it is; the message says how to install it.
    """
    if line := packages.missing(packages.RUNTIME):
        raise ImportError(f"verify=True runs ONNX files, and {line}")


def difference(file: Path, traced: Traced, wanted: Wanted) -> float:
    """Return the largest difference to JAX when the runtime runs the file."""
    from msckpt_jax.onnx import runner  # onnxruntime, only where a file is run

    due, name = exactness.precisions(traced.jaxpr), wanted.options["runtime"]
    run: Callable[..., Any] = lambda *inputs: runtimes.results(file, name, inputs)  # noqa: E731
    run = runner.session(file) if name == packages.RUNTIME else run
    return trials.largest(file, runner.trials(traced), run, name, due)


def verify(file: Path, *, dec_key: bytes | None, dec_mode: str, runtime: str) -> Verdict:
    """Check the file by onnx's own checker, types and shapes too, and load it in onnxruntime.

    Where that is not installed, a line says so. Another runtime runs it, too, and its results are
    compared with onnxruntime's; for MindSpore Lite its nodes are looked at.
    """
    from msckpt_jax.onnx import check

    checked = check.check(file)
    facts = f"{file}: opset {checked.opset}, {display.counted(checked.nodes, 'node')}"
    lines = checked.problems + ([] if checked.opset is None else [facts, *checked.notes])
    if checked.problems or runtime == packages.RUNTIME:
        return Verdict(not checked.problems, lines)
    if runtime == packages.LITE:
        problems = lite.problems(onnx.load(file, load_external_data=False))
        said = [*problems, f"{display.counted(len(problems), 'problem')}, {lite.SOURCE}"]
    else:
        problems, line = runtimes.problems(file, runtime)
        said = problems or [line]
    return Verdict(not problems, [*lines, *(f"{file}: {text}" for text in said)])


TARGET = Target(
    name="ONNX",
    suffix=".onnx",
    devices=("cpu", packages.RUNTIME, packages.LITE),
    write=write,
    export=export,
    open=open_model,
    check_runner=check_runner,
    difference=difference,
    inspect=inspection.inspect,
    verify=verify,
    options=OPTIONS,
    algorithms={**algorithms.ALGORITHMS, **algorithms.DYNAMIC},
    algorithms64={**algorithms.FLOAT64, "reduce_window_sum": window.summed_in_slices},
    rewrites=fusions.REWRITES,
    fusions=fusions.FUSIONS,
    tiny=tiny.FLOATS | {tiny.INT4},
    spell=quantised.spell,
    complex=False,
    beside=inspection.beside,
    operators=ROWS.keys(),
)

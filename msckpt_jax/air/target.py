"""AIR as a model format: the representation of Ascend's graph engine, GE."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from msckpt_jax import display
from msckpt_jax.air import (
    adapt,
    attributes,
    check,
    chips,
    file,
    inspection,
    quantised,
    reader,
    writer,
)
from msckpt_jax.air.meaning import MEANINGS
from msckpt_jax.air.narrowing import NARROW
from msckpt_jax.air.options import OPTIONS
from msckpt_jax.air.rows import ROWS
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.errors import AirError, ExportError
from msckpt_jax.graph.evaluate import Meaning, place
from msckpt_jax.graph.function import ModelFunction
from msckpt_jax.graph.graph import Graph
from msckpt_jax.graph.program import Program
from msckpt_jax.lowering import algorithms, exactness, trials
from msckpt_jax.lowering.problems import failures
from msckpt_jax.lowering.target import Target, Verdict
from msckpt_jax.lowering.trace import Traced
from msckpt_jax.lowering.wanted import Wanted
from msckpt_jax.visible import visible

#: Primitives that GE has no operator for.
_LACKING = ("eig", "householder_product", "igamma_grad_a")


def write(graph: Graph, path: AnyPath, wanted: Wanted) -> tuple[AnyPath, list[str]]:
    """Write the file; return it, what the chip lacks, and the command that compiles it."""
    soc = wanted.options["soc"]
    with failures():
        adapted = adapt.adapt(graph, narrow=wanted.options["narrow"])
        findings = check.check(adapted.model, soc=soc)
    faults = tuple(str(finding) for finding in findings if finding.fault)
    if faults:
        chip = f" for {soc}" if soc else ""
        raise ExportError(f"GE would refuse the file{chip}, nothing was written:", problems=faults)
    writer.write(adapted, path, wanted)
    return path, [*map(str, findings), atc_command(str(path), soc)]


def atc_command(path: str, soc: str | None = None) -> str:
    """Return the command that compiles the file.

    Without the precision mode float32 becomes float16.
    """
    output = path.removesuffix(".air")
    version = "<SOC_VERSION>" if soc is None else chips.named(soc).version
    return (
        f"atc --framework=1 --model={shlex.quote(path)} --output={shlex.quote(output)} "
        f"--soc_version={version} --precision_mode=must_keep_origin_dtype"
    )


def open_model(
    file_name: Any,
    *,
    dec_key: bytes | None = None,
    dec_mode: Any = None,
    rules: Mapping[str, Meaning] | None = None,
    mmap: bool = True,
    strict: bool = False,
) -> ModelFunction:
    """Return the model of an AIR file as a function of JAX.

    Args:
        file_name: the ``.air`` file.
        dec_key: refused, AIR has no cipher.
        mmap: nothing to an AIR file, which is read whole.
        dec_mode: means nothing without a key.
        rules: meanings of more operators, or other ones, by GE's names.
        strict: each operator must give the dtypes and shapes that the file says; MindSpore's own
            files have tuples that do not.

    Raises:
        AirError: it is no AIR file, damaged, or has operators that have no meaning here.
        ValueError: there is a key.
    """
    _refuse_key(file_name, dec_key)
    program = reader.read(file_name)
    _refuse_unheeded(program, rules or {})
    return ModelFunction(program, MEANINGS, rules, reader.as_described if strict else None)


def _refuse_key(file_name: Any, dec_key: bytes | None) -> None:
    if dec_key is not None:
        raise ValueError(visible(f"{file_name}: AIR has no cipher; decrypt the file, then load it"))


def _refuse_unheeded(program: Program, rules: Mapping[str, Meaning]) -> None:
    """Refuse an operator with an attribute that changes numbers, and that no meaning honours."""
    for node in (node for graph in program.graph.graphs() for node in graph.nodes):
        if node.op not in MEANINGS or node.op in rules:
            continue
        for name, value in attributes.unheeded(node.op, node.attrs).items():
            raise AirError(
                f"it has {name}={value!r}, which is not run in JAX; give it a meaning that "
                f"heeds it: load(..., rules={{{node.op!r}: lambda *inputs, {name}, **rest: ...}})",
                file=program.path,
                node=f"{node.op}{place(node)}",
            )


def difference(file: Path, traced: Traced, wanted: Wanted) -> float:
    """Return the largest difference to JAX when the file runs by the meanings of GE's operators."""
    run = open_model(file, strict=True)
    tried, due = trials.trials(traced), exactness.precisions(traced.jaxpr)
    if wanted.options["narrow"]:
        tried = [
            trials.Trial([*map(_narrow, inputs)], [*map(_narrow, results)], at)
            for inputs, results, at in tried
        ]
        due = []  # these results were rounded twice

    def results(*inputs: Any) -> Any:
        with jax.enable_x64(True):  # the file has 64 bits where it says so
            return jax.tree.leaves(run(*inputs))

    return trials.largest(file, tried, results, "GE's operators", due)


def _narrow(array: np.ndarray) -> np.ndarray:
    return array.astype(NARROW.get(array.dtype, array.dtype), copy=False)


def beside(file: AnyPath) -> list[str]:
    """The files of weights that a split model of ours has, below its folder."""
    return [f"{writer.FOLDER}/{file.stem}/{path.name}"
            for path in paths.below(file.parent / writer.FOLDER / file.stem)]  # fmt: skip


def verify(path: Path, *, dec_key: bytes | None, dec_mode: str, soc: str | None) -> Verdict:
    """Check the file by the rules of GE's loader, and against the kernels of a chip."""
    try:
        model = file.read(path)
    except AirError as error:
        return Verdict(False, [str(error)])
    findings = check.check(model, soc=soc)
    faults = sum(finding.fault for finding in findings)
    operators = sum(len(graph.op) for graph in model.graph)
    facts = (
        f"{display.counted(operators, 'operator')}, {display.counted(faults, 'fault')}, "
        f"{display.counted(len(findings) - faults, 'note')}"
    )
    return Verdict(not faults, [*map(str, findings), f"{path}: {facts}"])


def _weights(path: AnyPath, **secrets: Any) -> Mapping[str, np.ndarray]:
    _refuse_key(path, secrets.get("dec_key"))
    return reader.weights(path)


TARGET = Target(
    name="AIR",
    suffix=".air",
    write=write,
    open=open_model,
    difference=difference,
    inspect=inspection.inspect,
    verify=verify,
    options=OPTIONS,
    guarded=False,
    keep=("cumprod", "cumsum", "erf_inv"),
    algorithms={
        **{name: algorithms.ALGORITHMS[name] for name in _LACKING},
        **algorithms.MISSING,
        "qr": algorithms.FORMS["qr"],
    },
    operators=ROWS.keys(),
    beside=beside,
    spell=quantised.spell,
    vocabulary="GE",
    weights=_weights,
)

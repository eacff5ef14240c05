"""jax2onnx behind our own rules and rows: it may have operators that these lack.

jax2onnx gets the canonical jaxpr as a plain function of weights and inputs, in a process of its
own. Its file is kept if the checker takes it and onnxruntime gives JAX's numbers.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from msckpt_jax import _compat, names, processes
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.errors import ExportError, UnsupportedError
from msckpt_jax.graph.values import Parameter
from msckpt_jax.lowering import trials
from msckpt_jax.lowering.canonical import canonicalise
from msckpt_jax.lowering.context import LITERAL_BYTES, tensor_of
from msckpt_jax.lowering.trace import Traced
from msckpt_jax.lowering.wanted import Wanted
from msckpt_jax.onnx import jaxprs, packages, runner, workers, writer
from msckpt_jax.onnx.adapt import Adapted
from msckpt_jax.onnx.builder import initializer

#: The opset where none is asked for: jax2onnx stamps a file with it, but chooses few forms by it.
OPSET = 21


def adapt(traced: Traced, opset: int, target: AnyPath) -> Adapted:
    """The ONNX model that jax2onnx makes of a network, found right.

    Args:
        traced: the network.
        opset: the version of ONNX's operators.
        target: the file that is to be written: a local one is tried out in a folder beside it.

    Raises:
        UnsupportedError: jax2onnx refuses the network, or its file is no valid model or gives
            other numbers than JAX; jax2onnx or onnxruntime is not installed.
    """
    for package in (packages.FALLBACK, packages.RUNTIME):
        if line := packages.missing(package):
            raise UnsupportedError(f"jax2onnx cannot be asked: {line}")
    jaxpr, weights = _function(traced)
    adapted = _adapted(_converted(jaxpr, [*weights, *traced.inputs], opset), weights)
    _name_results(adapted.model.graph, traced.results)
    folder = target.parent if isinstance(target, Path) else None
    with tempfile.TemporaryDirectory(prefix=".msckpt-", dir=folder) as trial:
        file = Path(trial) / "model.onnx"
        tried = Adapted(onnx.ModelProto(), adapted.weights)
        tried.model.CopyFrom(adapted.model)
        writer.write(tried, file, Wanted(durable=False))
        _check(file, traced)
    return adapted


def _function(traced: Traced) -> tuple[_compat.ClosedJaxpr, dict[str, Parameter]]:
    """The canonical jaxpr with large constants as further arguments, and the weights with these."""
    jaxpr = canonicalise(traced.jaxpr, fuse=False)
    inner, consts = _compat.opened(jaxpr)
    pairs = list(zip(inner.constvars, consts, strict=True))
    large = [(var, const) for var, const in pairs if const.nbytes > LITERAL_BYTES]
    small = [(var, const) for var, const in pairs if const.nbytes <= LITERAL_BYTES]
    count = len(traced.weights)
    arguments = [*(var for var, _ in large), *inner.invars]
    made = _compat.closed(
        jaxpr, [v for v, _ in small], [c for _, c in small], arguments, inner.eqns, inner.outvars
    )
    taken = [*traced.weights, *traced.inputs]
    constants = list(map(names.Unique(taken), (f"constant_{i}" for i in range(len(large)))))
    data = dict(zip(constants, [const for _, const in large], strict=True)) | dict(traced.weights)
    variables = arguments[: len(large) + count]
    weights = {
        name: Parameter(tensor_of(var.aval), name, value)
        for var, (name, value) in zip(variables, data.items(), strict=True)
    }
    return made, weights


def _converted(jaxpr: _compat.ClosedJaxpr, names: list[str], opset: int) -> onnx.ModelProto:
    wide = any(np.dtype(aval.dtype).itemsize == 8 for aval in _compat.avals(jaxpr))
    request = {"jaxpr": jaxprs.dumps(jaxpr), "names": names, "opset": opset, "wide": wide}
    with tempfile.TemporaryDirectory(prefix="msckpt-") as folder:
        (Path(folder) / "request").write_bytes(pickle.dumps(request))
        command = processes.module("msckpt_jax.onnx.fallback_worker", folder)
        environment = processes.environment(JAX_PLATFORMS="cpu")
        model = workers.answer("jax2onnx", command, environment, Path(folder), "model")
        return onnx.load_model_from_string(model.read_bytes())


def _adapted(model: onnx.ModelProto, weights: dict[str, Parameter]) -> Adapted:
    """The model with weights as initializers instead of inputs."""
    used = {value.name for value in model.graph.input} & weights.keys()
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    kept = {name: parameter for name, parameter in weights.items() if name in used}
    model.graph.initializer.extend(initializer(name, p) for name, p in kept.items())
    return Adapted(model, kept)


def _name_results(graph: onnx.GraphProto, results: Sequence[str]) -> None:
    """Give results their names, by a node each; those that jax2onnx has taken stay without."""
    taken = {name for node in graph.node for name in node.output}
    taken |= {value.name for value in (*graph.input, *graph.initializer)}
    for value, name in zip(graph.output, results, strict=False):
        if name and name not in taken:
            graph.node.append(onnx.helper.make_node("Identity", [value.name], [name], name=name))
            value.name = name


def _check(file: Path, traced: Traced) -> None:
    tried = runner.trials(traced)
    try:
        onnx.checker.check_model(str(file), full_check=True)
        run = runner.session(file)
        computed = [run(*trial.inputs) for trial in tried]
    except Exception as error:  # onnxruntime's and the checker's have no class in common
        reason = str(error).strip().partition("\n")[0]
        raise UnsupportedError(f"jax2onnx's file is invalid: {reason}") from error
    try:
        for trial, results in zip(tried, computed, strict=True):
            trials.compare(file, trial.results, results, f"onnxruntime{trial.at}")
    except ExportError as error:
        raise UnsupportedError(f"jax2onnx's file: {str(error).partition(': ')[2]}") from error

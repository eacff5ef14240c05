"""Run an ONNX file in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import GraphProto, ValueInfoProto, external_data_helper, helper

from msckpt_jax.lowering import pairs
from msckpt_jax.lowering import trials as trying
from msckpt_jax.lowering.trace import Traced

_BF16, _F32 = onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT


def session(file: Path) -> Callable[..., list[np.ndarray]]:
    """The file as a function of arrays, in onnxruntime on the CPU.

    Complex results are pairs of real numbers along a last axis of 2; complex arrays are taken.
    """
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    model = onnx.load(file, load_external_data=False)
    small = [value for value in (*model.graph.input, *model.graph.output) if _is_bfloat16(value)]
    bfloat16 = [_is_bfloat16(value) for value in model.graph.output]
    if small:
        _widen_ends(model.graph, small)
        external_data_helper.load_external_data_for_model(model, str(file.parent))
    what = model.SerializeToString() if small else file
    made = onnxruntime.InferenceSession(what, options, providers=["CPUExecutionProvider"])

    def run(*inputs: np.ndarray) -> list[np.ndarray]:
        values = map(pairs.stored, inputs)
        feed = {
            spec.name: value.astype(np.float32) if value.dtype == ml_dtypes.bfloat16 else value
            for spec, value in zip(made.get_inputs(), values, strict=True)
        }
        results = [np.asarray(result) for result in made.run(None, feed)]
        return [
            r.astype(ml_dtypes.bfloat16) if b else r for r, b in zip(results, bfloat16, strict=True)
        ]

    return run


def trials(traced: Traced) -> list[trying.Trial]:
    """The trials of a function, with complex results as pairs, as a file has them."""
    return [t._replace(results=[*map(pairs.stored, t.results)]) for t in trying.trials(traced)]


def _is_bfloat16(value: ValueInfoProto) -> bool:
    return value.type.tensor_type.elem_type == _BF16


def _widen_ends(graph: GraphProto, values: Sequence[ValueInfoProto]) -> None:
    """Cast at the graph's ends, since onnxruntime's Python cannot pass bfloat16."""
    inner = {value.name: f"{value.name}__bfloat16" for value in values}
    results = {value.name for value in graph.output}
    for value in values:
        value.type.tensor_type.elem_type = _F32
    for node in graph.node:
        node.input[:] = [inner.get(name, name) for name in node.input]
        node.output[:] = [inner.get(name, name) for name in node.output]
    casts = [
        helper.make_node("Cast", [there], [name], to=_F32)
        if name in results
        else helper.make_node("Cast", [name], [there], to=_BF16)
        for name, there in inner.items()
    ]
    nodes = [*(c for c in casts if c.output[0] not in results), *graph.node]
    nodes += [c for c in casts if c.output[0] in results]
    del graph.node[:]
    graph.node.extend(nodes)

"""ONNX as one of the formats of ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msckpt_jax.errors import ExportError
from msckpt_jax.lowering import payload
from msckpt_jax.lowering.graph import Graph
from msckpt_jax.mindir import verification
from msckpt_jax.onnx import adapt, runner, writer

if TYPE_CHECKING:
    from msckpt_jax.exporter import Traced, Wanted


def write(graph: Graph, path: Path, wanted: Wanted) -> tuple[Path, list[str]]:
    """Write the file."""
    encrypt = payload.encryption(wanted, "ONNX", "preprocessor", "custom_func")
    adapted = adapt.adapt(graph, opset=wanted.opset)
    for key, value in (wanted.user_info or {}).items():
        adapted.model.metadata_props.add(key=key, value=value)
    split = wanted.split_bytes or writer.SPLIT_BYTES
    options = writer.Options(split, encrypt, wanted.key, wanted.durable)
    writer.write(adapted, path, options)
    return path, []


def difference(file: Path, traced: Traced, wanted: Wanted) -> float:
    """The largest difference to JAX when onnxruntime runs the file."""
    if wanted.encrypt is not None:
        raise ExportError("verify=True cannot read what your function has encrypted")
    inputs, expected = verification.trial(traced)
    return verification.compare(file, expected, runner.run(file, inputs), "onnxruntime")

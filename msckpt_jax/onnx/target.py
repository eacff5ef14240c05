"""ONNX as one of the formats of ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msckpt_jax.errors import ExportError, UnsupportedError
from msckpt_jax.graph.graph import Graph
from msckpt_jax.lowering import trials
from msckpt_jax.lowering.wanted import encryption
from msckpt_jax.onnx import adapt, runner, writer

if TYPE_CHECKING:
    from msckpt_jax.lowering.trace import Traced
    from msckpt_jax.lowering.wanted import Wanted


def write(graph: Graph, path: Path, wanted: Wanted) -> tuple[Path, list[str]]:
    """Write the file."""
    encrypt = encryption(wanted, "ONNX", "preprocessor", "custom_func")
    _write(adapt.adapt(graph, opset=wanted.opset), path, wanted, encrypt)
    return path, []


def write_by_jax2onnx(
    traced: Traced, path: Path, wanted: Wanted, problems: tuple[str, ...]
) -> tuple[Path, list[str]]:
    """Write what jax2onnx makes of the network; ``problems`` is what our own rules lack.

    Raises:
        ExportError: jax2onnx refuses it, too, or its file is not right; with both reasons.
    """
    from msckpt_jax.onnx import fallback

    adapt.check_opset(wanted.opset)
    encrypt = encryption(wanted, "ONNX", "preprocessor", "custom_func")
    try:
        adapted = fallback.adapt(traced, wanted.opset, path.parent)
    except UnsupportedError as error:
        problems = (*problems, *error.problems)
        text = f"{len(problems)} problems, nothing was written:"
        raise ExportError(text, problems=problems) from error
    _write(adapted, path, wanted, encrypt)
    return path, ["made by jax2onnx", *problems]


def _write(adapted: adapt.Adapted, path: Path, wanted: Wanted, encrypt: Any) -> None:
    for key, value in (wanted.user_info or {}).items():
        adapted.model.metadata_props.add(key=key, value=value)
    split = writer.SPLIT_BYTES if wanted.split_bytes is None else wanted.split_bytes
    writer.write(adapted, path, writer.Options(split, encrypt, wanted.key, wanted.durable))


def difference(file: Path, traced: Traced, wanted: Wanted) -> float:
    """The largest difference to JAX when onnxruntime runs the file."""
    tried = runner.trials(traced)
    return trials.largest(file, tried, runner.session(file), "onnxruntime")

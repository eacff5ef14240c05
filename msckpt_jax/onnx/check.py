"""The check of an ONNX file: by onnx's own checker, and by loading it in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from google.protobuf.message import DecodeError

from msckpt_jax.onnx import runner


class Checked(NamedTuple):
    """The problems of a file, and the version of its operators: None where it is no model."""

    problems: list[str]
    opset: int | None = None
    nodes: int = 0


def check(file: Path) -> Checked:
    """Check a file and the weights beside it.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        model = onnx.load(file, load_external_data=False)
    except DecodeError:
        return Checked([f"{file}: no ONNX model"])
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    problems = [f"{file}: {problem}" for problem in _problems(str(file))]
    return Checked(problems, next(iter(opsets), None), len(model.graph.node))


def _problems(file: str) -> Iterator[str]:
    judges: dict[str, Callable[[str], Any]] = {
        "onnx.checker": lambda file: onnx.checker.check_model(file, full_check=True),
        "onnxruntime": lambda file: runner.session(Path(file)),
    }
    for name, judge in judges.items():
        try:
            judge(file)
        except ImportError:
            raise
        except Exception as error:  # the judges' errors have no class in common
            yield f"{name}: {str(error).strip().partition(chr(10))[0]}"

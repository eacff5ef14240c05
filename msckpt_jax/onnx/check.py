"""The check of an ONNX file: by onnx's own checker, and by loading it in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from google.protobuf.message import DecodeError

from msckpt_jax.onnx import packages, runner


class Checked(NamedTuple):
    """The problems of a file, and the version of its operators: None where it is no model.

    ``notes`` say what could not be checked.
    """

    problems: list[str]
    opset: int | None = None
    nodes: int = 0
    notes: Sequence[str] = ()


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
    absent = packages.missing(packages.RUNTIME)
    judges = {name: judge for name, judge in _JUDGES.items() if not packages.missing(name)}
    problems = [f"{file}: {problem}" for problem in _problems(str(file), judges)]
    notes = [f"{file}: not loaded, because {absent}"] if absent else []
    return Checked(problems, next(iter(opsets), None), len(model.graph.node), notes)


_JUDGES: Mapping[str, Callable[[str], Any]] = {
    "onnx.checker": lambda file: onnx.checker.check_model(file, full_check=True),
    packages.RUNTIME: lambda file: runner.session(Path(file)),
}


def _problems(file: str, judges: Mapping[str, Callable[[str], Any]]) -> Iterator[str]:
    for name, judge in judges.items():
        try:
            judge(file)
        except ImportError:  # of a broken package, not of the file
            raise
        except Exception as error:  # the judges' errors have no class in common
            yield f"{name}: {str(error).strip().partition(chr(10))[0]}"

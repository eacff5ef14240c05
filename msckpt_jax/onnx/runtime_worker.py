"""An ONNX file in one of several runtimes, in a process of its own.

``python runtime_worker.py RUNTIME MODEL FOLDER`` reads ``inputs.npz`` in the folder and puts
``results.npz`` or ``error`` beside it. It imports NumPy and the runtime only, so that any
interpreter that has these can run it.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Sequence[np.ndarray]


def _onnxruntime(file: str, inputs: Arrays) -> Arrays:
    onnxruntime = importlib.import_module("onnxruntime")
    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    made = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in made.get_inputs()]
    return made.run(None, dict(zip(names, inputs, strict=True)))


def _openvino(file: str, inputs: Arrays) -> Arrays:
    openvino = importlib.import_module("openvino")
    core = openvino.Core()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # else bfloat16, where the processor has it
    made = core.compile_model(core.read_model(file), "CPU", exact)
    results = made(list(inputs))
    return [results[output] for output in made.outputs]


def _tract(file: str, inputs: Arrays) -> Arrays:
    tract = importlib.import_module("tract")
    run = tract.onnx().load(file).into_model().into_runnable().run
    return [result.to_numpy() for result in run(list(inputs))]


#: A runtime -> the function that runs a file in it.
RUNNERS: Mapping[str, Callable[[str, Arrays], Arrays]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "tract": _tract,
}


def main(runtime: str, file: str, folder: Path) -> None:
    with np.load(folder / "inputs.npz") as stored:
        inputs = [stored[name] for name in stored.files]
    try:
        results = RUNNERS[runtime](file, inputs)
    except Exception as error:  # any error is the runtime's answer
        text = _in_a_line(f"{type(error).__name__}: {error}")
        (folder / "error").write_text(text, encoding="utf-8")
        return
    np.savez(folder / "results.npz", *map(np.asarray, results))


def _in_a_line(text: str) -> str:
    """An error without colours and frames."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).partition("Stack backtrace")[0]
    return " ".join(plain.split())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))

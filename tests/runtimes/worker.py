"""Run each exported network in one runtime, or through one tool: for the interpreter that has it.

``python worker.py COLUMN RUNNERS FOLDER`` prints the reason why each network of the folder does not
run, or the error of its results, one JSON line each. It imports NumPy and what is tried only.
"""

from __future__ import annotations

import base64
import json
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def _slim(file: str, made: str, inputs: list[np.ndarray]) -> None:
    import onnxslim

    onnxslim.slim(file, made)


def _simplified(file: str, made: str, inputs: list[np.ndarray]) -> None:
    import onnx
    import onnxsim

    model, right = onnxsim.simplify(file)
    assert right, "onnxsim finds other numbers"
    onnx.save(model, made)


def _dynamic(file: str, made: str, inputs: list[np.ndarray]) -> None:
    from onnxruntime import quantization

    quantization.quantize_dynamic(file, made)


def _static(file: str, made: str, inputs: list[np.ndarray]) -> None:
    import onnxruntime
    from onnxruntime import quantization

    names = [value.name for value in onnxruntime.InferenceSession(file).get_inputs()]
    feeds = iter([dict(zip(names, inputs, strict=True))] * 2)

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> Any:
            return next(feeds, None)

    quantization.quantize_static(file, made, Reader())


def _web(file: str, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The results of onnxruntime-web, in Node.js, which finds it by ``NODE_PATH``."""
    with tempfile.TemporaryDirectory() as place:
        given = [
            {"type": x.dtype.name, "dims": x.shape, "data": base64.b64encode(x.tobytes()).decode()}
            for x in inputs
        ]
        (Path(place) / "inputs.json").write_text(json.dumps(given))
        script = Path(__file__).with_name("web.cjs")
        done = subprocess.run(["node", script, file, place], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        told = json.loads((Path(place) / "results.json").read_text())
    return [
        np.frombuffer(base64.b64decode(each["data"]), each["type"]).reshape(each["dims"])
        for each in told
    ]


#: A tool, whose file onnxruntime has to run.
TOOLS: Mapping[str, Callable[[str, str, list[np.ndarray]], None]] = {
    "onnxslim": _slim,
    "onnxsim": _simplified,
    "quantize_dynamic": _dynamic,
    "quantize_static": _static,
}


def main(column: str, runners: str, folder: Path) -> None:
    table = {**runpy.run_path(runners)["RUNNERS"], "onnxruntime-web": _web}
    run = table.get(column, table["onnxruntime"])
    for file in sorted(folder.glob("*.onnx")):
        with np.load(file.with_suffix(".npz")) as stored:
            arrays = {name: stored[name] for name in stored.files}
        inputs, wanted = ([arrays[f"{kind}{i}"] for i in range(sum(n[0] == kind for n in arrays))]
                          for kind in "io")  # fmt: skip
        try:
            with tempfile.TemporaryDirectory() as place:
                tried = str(file)
                if column in TOOLS:
                    tried = str(Path(place) / "made.onnx")
                    TOOLS[column](str(file), tried, inputs)
                results = run(tried, inputs)
            fate: Any = _error(wanted, results)
        except Exception as error:  # the reason, whatever it is
            told = f"{type(error).__name__}: {error}".partition("Stack backtrace")[0]
            fate = " ".join(told.split())[:120]
        print("\n" + json.dumps({"network": file.stem, "fate": fate}), flush=True)


def _error(wanted: list[np.ndarray], results: Any) -> float:
    """The largest error, over the largest number of its result or 1."""
    errors = [0.0]
    for want, have in zip(wanted, results, strict=True):
        assert want.shape == np.shape(have), f"the shape {np.shape(have)}, not {want.shape}"
        want, have = want.astype(np.float64), np.asarray(have).astype(np.float64)
        assert np.array_equal(np.isfinite(want), np.isfinite(have)), "other numbers are finite"
        scale = max(1, np.abs(want).max(initial=0))
        errors.append(float(np.abs(want - have).max(initial=0) / scale))
    return max(errors)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))

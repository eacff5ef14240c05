"""ONNX without the extras jax2onnx and onnxruntime: what needs them is refused, with a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: Hides packages as if they were not installed, and our row of an operator that jax2onnx has.
HIDDEN = """
import sys
import warnings
for name in {names}:
    sys.modules[name] = None
import jax.numpy as jnp
import numpy as np
import msckpt_jax as ms
from msckpt_jax.cli import main
from msckpt_jax.onnx.rows import ROWS
x = np.ones(3, np.float32)
def export(function, name, **how):
    return ms.export(function, x, file_name=name, file_format="ONNX", **how)
def without_row(name, **how):
    row = ROWS.pop("Tan")
    try:
        return export(jnp.tan, name, **how)
    finally:
        ROWS["Tan"] = row
"""

PROGRAMS = {
    "without both": (["jax2onnx", "onnxruntime"], """
assert export(jnp.sin, "a").file.exists()  # our own rows write it
for how in ({}, {"engine": "jax2onnx"}):
    try:
        without_row("b", **how)
    except ms.ExportError as error:
        assert "pip install jax2onnx" in error.problems[-1], error.problems
        assert ("Tan" in error.problems[0]) == (not how)
    else:
        raise AssertionError
try:
    export(jnp.sin, "c", verify=True)
except ImportError as error:
    assert "pip install onnxruntime" in str(error)
else:
    raise AssertionError
assert ms.export(jnp.sin, x, file_name="d", file_format="AIR", verify=True).difference == 0
assert main(["verify", "a.onnx"]) == 0
assert main(["inspect", "a.onnx"]) == 0
with open("bad.onnx", "wb") as file:
    file.write(b"bad")
assert main(["verify", "bad.onnx"]) == 1
options = ["--input", "f32[3]", "-o", "e", "--format", "ONNX", "--verify"]
assert main(["export", "jax.numpy:sin", *options]) == 2
"""),
    "without onnxruntime": (["onnxruntime"], """
try:
    without_row("b")
except ms.ExportError as error:
    assert "pip install onnxruntime" in error.problems[-1], error.problems
else:
    raise AssertionError
"""),
}  # fmt: skip


@pytest.mark.parametrize("case", PROGRAMS)
def test_without_packages(tmp_path: Path, case: str) -> None:
    names, program = PROGRAMS[case]
    code = HIDDEN.format(names=names) + program
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    if case == "without both":
        assert (
            "a.onnx: not loaded, because onnxruntime is not installed: pip install" in done.stdout
        )
        assert "pip install onnxruntime" in done.stderr
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "bad.onnx", "d.air"]
    else:
        assert not [*tmp_path.iterdir()]

"""Child processes import from where their parent does: code in the current folder does not run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from msckpt_jax import processes
from msckpt_jax.mindir import runner

ROOT = Path(__file__).parent.parent
#: Modules of the standard library that the children import, and what stands in for them.
SHADOWED = ("pickle", "json", "runpy", "signal", "sitecustomize", "numpy")

ASYNC = """
import numpy as np, msckpt_jax as ms
ms.save_checkpoint({"w": np.arange(3)}, "a.ckpt", async_save="process").result()
assert ms.load_checkpoint("a.ckpt")["w"].tolist() == [0, 1, 2]
"""
FALLBACK = """
import jax.numpy as jnp, msckpt_jax as ms
ms.export(jnp.sin, jnp.ones(3), file_name="a", file_format="ONNX", engine="jax2onnx")
"""
RUNNER = """
import numpy as np
from msckpt_jax.mindir import runner
with runner.MindSpore() as mindspore:
    (outcome,) = mindspore.run([runner.Case("none.mindir", [[np.ones(3)]])])
assert outcome.error and not outcome.crashed, outcome
"""
needs_mindspore = pytest.mark.skipif(not runner.available(), reason="MindSpore is not installed")


def hostile(folder: Path) -> None:
    """Put modules into a folder that leave a file behind when they are imported."""
    folder.mkdir()
    for name in SHADOWED:
        stand_in = f"open({str(folder / 'was-run')!r}, 'a').write({name!r})\nraise SystemExit(9)\n"
        (folder / f"{name}.py").write_text(stand_in)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(ASYNC, id="async"),
        pytest.param(FALLBACK, id="jax2onnx"),
        pytest.param(RUNNER, id="MindSpore", marks=needs_mindspore),
    ],
)
def test_code_of_the_current_folder_does_not_run(tmp_path: Path, program: str) -> None:
    """The variable is relative: it led the parent elsewhere than it would lead the child."""
    hostile(tmp_path / "downloads")
    script = tmp_path / "program.py"
    script.write_text(f"import os; os.chdir({str(tmp_path / 'downloads')!r})\n{program}")
    environment = os.environ | {"PYTHONPATH": f".{os.pathsep}"}
    subprocess.run([sys.executable, script], cwd=ROOT, env=environment, check=True, timeout=250)
    assert not (tmp_path / "downloads" / "was-run").exists()


_PARENT = """
import json, os, subprocess, sys
from pathlib import Path
from msckpt_jax import processes
folder = sys.argv[1]
(Path(folder) / "path.py").write_text("import json, sys; print(json.dumps(sys.path))")
out = []
for command in (processes.script(Path(folder) / "path.py"),
                processes.program("import json, sys; print(json.dumps(sys.path))")):
    run = subprocess.run(command, env=processes.environment(), check=True, capture_output=True)
    out.append(json.loads(run.stdout))
print(json.dumps([sys.path, *out]))
"""


@pytest.mark.parametrize("flags", [[], ["-P"], ["-s"]])
def test_the_path_is_the_parents(tmp_path: Path, flags: list[str]) -> None:
    """A folder with a colon in its name was two in ``PYTHONPATH``, the second a relative one."""
    program = f"import sys; sys.path.insert(0, '/data/a:b')\n{_PARENT}"
    command = [sys.executable, *flags, "-c", program, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)
    parent, *children = json.loads(run.stdout)
    assert [[entry for entry in parent if entry]] * 2 == children
    assert ("" in parent) == ("-P" not in flags)


def test_a_package_of_the_current_folder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -c`` in a checkout: the package is found through "", which no child has."""
    here: list[Any] = ["", *(entry for entry in sys.path if Path(entry) != ROOT)]
    monkeypatch.setattr(sys, "path", here)
    assert processes._path() == [*here[1:], str(ROOT)]

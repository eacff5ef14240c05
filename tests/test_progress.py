"""Bars: in terminals, in notebooks, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import msckpt_jax as ms
from tests import terminal

#: Saves with a bar at once, and in small pieces.
PROGRAM = """
import numpy as np
import msckpt_jax as ms
from tests import terminal
from msckpt_jax import progress
progress._PATIENCE = progress._MOVES = 0
ms.save_checkpoint({"w": np.ones(20_000_000, np.int8)}, "a<b>.ckpt", progress=True)
"""


def test_in_a_terminal(tmp_path: Path) -> None:
    seen = terminal.seen(PROGRAM, tmp_path)
    assert b"save a<b>.ckpt" in seen
    assert b"19.1 MiB" in seen
    assert seen.count(b"\r") > 1


WAITING = """
import time
from msckpt_jax import progress
progress._PATIENCE = 0.01
with progress.hidden({hide}), progress.waiting("a long [bold]step"):
    print("printed meanwhile")
    time.sleep(0.6)
"""


@pytest.mark.parametrize("hide", [True, False])
def test_work_of_unknown_length_shows_itself(tmp_path: Path, hide: bool) -> None:
    seen = terminal.seen(WAITING.format(hide=hide), tmp_path)
    assert (b"a long [bold]step" in seen) is not hide


def test_in_a_notebook(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(PROGRAM)])
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, kernel_name="python3", resources=resources).execute()
    (output,) = notebook.cells[0].outputs
    page = output.data["text/html"]
    assert "save a&lt;b&gt;.ckpt: 19.1 MiB of 19.1 MiB" in page
    assert '<progress value="200' in page


@pytest.mark.parametrize(
    ("program", "printed"), [(PROGRAM, b""), (WAITING.format(hide=False), b"printed meanwhile\n")]
)
def test_in_a_pipe(tmp_path: Path, program: str, printed: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (printed, b"")


def test_no_bar_for_what_goes_on_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a save that you wait for"):
        ms.save_checkpoint({"w": np.ones(3)}, tmp_path / "a", async_save=True, progress=True)
    assert not list(tmp_path.iterdir())

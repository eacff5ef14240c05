"""Bars: in terminals, in notebooks, and nowhere else."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("async_save", [False, True])
def test_one_thread_at_a_time_calls_the_users_function(tmp_path: Path, async_save: bool) -> None:
    busy = threading.Lock()
    overlaps: list[int] = []
    seen: list[int] = []

    def advance(nbytes: int) -> None:
        if not busy.acquire(blocking=False):
            overlaps.append(nbytes)
            return
        time.sleep(0.02)
        seen.append(nbytes)
        busy.release()

    tree = {f"w{number}": np.ones(25_000) for number in range(8)}
    save = ms.save_checkpoint(tree, tmp_path / "a", format="safetensors", max_shard_size=250_000,
                              async_save=async_save, progress=advance)  # fmt: skip
    if save is not None:
        save.result()
    assert len(seen) >= 8
    assert overlaps == []


def outputs(folder: Path, *cells: str, allow_errors: bool = False) -> list[list[Any]]:
    """The outputs of cells that a kernel runs in a folder."""
    notebook = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, cells)])
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, kernel_name="python3", resources=resources)
    client.allow_errors = allow_errors
    client.execute()
    return [cell.outputs for cell in notebook.cells]


BEGIN = """
import jax, numpy as np, msckpt_jax as ms
from msckpt_jax import progress
progress._PATIENCE = progress._MOVES = 0
tree = {"w": np.ones(20_000_000, np.int8)}
"""
LOOP = 'for n in range(3): ms.save_checkpoint(tree, f"<{n}>.ckpt", progress=True)'
BEHIND = """
import time
begin = time.monotonic()
save = ms.save_checkpoint(tree, "a.ckpt", async_save=True, progress=True)
save.wait()  # nbclient, not JupyterLab, drops what a thread sends between two cells
"""
IN_A_PROCESS = """
save = ms.save_checkpoint(tree, "p.ckpt", async_save="process", progress=True)
"""
MERGE = """
mesh = jax.make_mesh((1,), ("x",))
w = jax.device_put(np.ones(2_000_000), jax.NamedSharding(mesh, jax.P("x")))
ms.save_checkpoint({"w": w}, "net", integrated_save=False, format="safetensors")
ms.unified_safetensors(".", "strategy.ckpt", "merged", progress=True)
"""
EXPORT = """
net = (lambda p, x: x @ p["w"]), {"w": np.ones((1000, 2000), np.float32)}
ms.export(net, np.ones((1, 1000), np.float32), file_name="net", progress=True).file.name
"""
FAILING = """
from unittest import mock
with mock.patch("os.replace", side_effect=OSError("no")):
    ms.save_checkpoint(tree, "b.ckpt", progress=True)
"""


def test_bars_of_a_notebook_leave_a_line(tmp_path: Path) -> None:
    """One output for each loop, also of what goes on behind; its text is what exports show."""
    cells = [BEGIN, LOOP, BEHIND, "save.result()", IN_A_PROCESS, "save.result()", LOOP, MERGE,
             EXPORT, FAILING]  # fmt: skip
    _, loop, behind, waited, child, also, again, merge, export, failing = outputs(
        tmp_path, *cells, allow_errors=True
    )
    bars = loop, behind, child, again, merge, export, failing
    lines = [each[0].data["text/plain"] for each in bars]
    told = [re.sub(r"[\d.]+ [KMG]iB/s, \d+ s", "-", line) for line in lines]
    assert told == [
        "save <2>.ckpt: 19.1 MiB, -, the last of 3",
        "save a.ckpt: 19.1 MiB, -",
        "save p.ckpt: 19.1 MiB, -",
        "save <2>.ckpt: 19.1 MiB, -, the last of 3",
        "merge: 7.6 MiB, -",
        "export net.mindir: 7.6 MiB, -",
        "save b.ckpt: stopped at 19.1 MiB of 19.1 MiB, -",
    ]
    assert "save &lt;2&gt;.ckpt: 19.1 MiB" in loop[0].data["text/html"]
    assert all("<progress" not in each[0].data["text/html"] for each in bars)
    assert [*map(len, (loop, behind, child, again, merge))] == [1] * 5
    assert (waited, also) == ([], [])
    assert [output.output_type for output in failing] == ["display_data", "error"]


SEEN = """
from unittest import mock
with mock.patch.object(progress._Output, "put", lambda self, line, bar="": print(bar, line)):
    ms.save_checkpoint(tree, "c.ckpt", progress=True)
"""
BROKEN = """
with mock.patch("IPython.display.display", side_effect=OSError("the front end is gone")):
    ms.save_checkpoint(tree, "d.ckpt", progress=True)
ms.open_checkpoint("d.ckpt").names
"""


def test_a_bar_moves_and_breaks_nothing(tmp_path: Path) -> None:
    _, printed, (names,) = outputs(tmp_path, BEGIN, SEEN, BROKEN)
    first, *_, last = "".join(stream.text for stream in printed).splitlines()
    assert re.match(r'<progress value="[1-9]\d+" max="20000000"></progress>  save c.ckpt: ', first)
    assert re.match(r" save c.ckpt: 19.1 MiB, ", last)
    assert names.data["text/plain"] == "['w']"


@pytest.mark.parametrize(
    ("program", "printed"), [(PROGRAM, b""), (WAITING.format(hide=False), b"printed meanwhile\n")]
)
def test_in_a_pipe(tmp_path: Path, program: str, printed: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (printed, b"")


def test_no_bar_in_a_terminal_for_what_goes_on_behind(tmp_path: Path) -> None:
    program = PROGRAM.replace("progress=True", "async_save=True, progress=True")
    assert terminal.seen(program, tmp_path) == b""
    assert ms.open_checkpoint(tmp_path / "a<b>.ckpt").names == ["w"]

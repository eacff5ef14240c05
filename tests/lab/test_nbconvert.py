"""What nbconvert leaves of a notebook: tables, pictures and the line of a bar."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.lab import shown

BAR = """
from msckpt_jax import progress
progress._PATIENCE = progress._MOVES = 0
ms.save_checkpoint({"w": np.ones(2_000_000, np.int8)}, "<a>.ckpt", progress=True)
"""
CODE = (shown.BEFORE, shown.CELLS["checkpoint"][1], shown.CELLS["sharding"][1], BAR)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook with a CheckPoint, pictures of shardings and a bar, run in a kernel."""
    folder = tmp_path_factory.mktemp("nbconvert")
    made = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, CODE)])
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(made, kernel_name="python3", resources=resources).execute()
    nbformat.write(made, folder / "shown.ipynb")
    return folder / "shown.ipynb"


@pytest.mark.parametrize(("kind", "suffix"), [("html", ".html"), ("markdown", ".md")])
def test_what_is_left(notebook: Path, kind: str, suffix: str) -> None:
    command = [sys.executable, "-m", "nbconvert", "--to", kind, notebook.name]
    subprocess.run(command, cwd=notebook.parent, check=True, capture_output=True)
    page = notebook.with_suffix(suffix).read_text()
    checkpoint, parameters = re.findall(r'<div class="msckpt">.*?</div>', page, re.DOTALL)
    assert "<summary>CheckpointFile net.ckpt: 5 entries, 73.0 KiB</summary>" in checkpoint
    assert re.findall(r">(head\.\w+)</td>", checkpoint) == ["head.bias", "head.kernel"]
    pictures = re.findall(r'<img [^>]*src="data:image/svg\+xml;base64,([^"]+)"', parameters)
    assert [base64.b64decode(picture).count(b"<rect") for picture in pictures] == [4, 8]
    assert len(re.findall(r">save &lt;a&gt;\.ckpt: 1\.9 MiB, [\d.]+ [KMG]iB/s, \d+ s<", page)) == 1
    assert "<progress" not in page
    # An empty line would end a block of HTML in Markdown, and show the rest as text.
    assert not re.search(r"\n\s*\n", checkpoint + parameters)

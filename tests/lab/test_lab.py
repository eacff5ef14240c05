"""The notebooks, and all that the library shows in one, opened in JupyterLab by a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from tests.lab import server, shown

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
NAMES = ["shown", *(path.stem for path in NOTEBOOKS)]
WIDTHS = (1200, 560)
MOST = 200_000
FAULTS = (Path(__file__).parent / "faults.js").read_text()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Lab]:
    """JupyterLab over the notebooks, each as it comes in a clone and as one that is trusted."""
    if reason := server.missing():
        pytest.skip(reason)
    work = tmp_path_factory.mktemp("lab")
    folder = work / "notebooks"
    for kind in ("cloned", "trusted"):
        (folder / kind).mkdir(parents=True)
    for name, notebook in _notebooks(tmp_path_factory.mktemp("cells")).items():
        nbformat.write(notebook, folder / "cloned" / f"{name}.ipynb")
        notebook.metadata["signed"] = True  # another content, which has a signature of its own
        nbformat.write(notebook, path := folder / "trusted" / f"{name}.ipynb")
        server.trust(path, work)
    with server.server(folder, work) as url, server.browser() as browser:
        yield server.Lab(browser, url)


def _notebooks(folder: Path) -> dict[str, nbformat.NotebookNode]:
    stored = {path.stem: nbformat.read(path, as_version=4) for path in NOTEBOOKS}
    return {"shown": shown.notebook(folder, {**shown.CELLS, **shown.HARD}), **stored}


@pytest.mark.parametrize("kind", ["cloned", "trusted"])
@pytest.mark.parametrize("name", NAMES)
def test_a_person_can_read_it(lab: server.Lab, name: str, kind: str) -> None:
    path = f"{kind}/{name}.ipynb"
    assert lab.open(path, 2) is (kind == "trusted")
    for theme in server.THEMES:
        for width in WIDTHS:
            lab.look(theme, width)
            assert lab.page.evaluate(FAULTS) == [], (theme, width)
    assert lab.outside == []

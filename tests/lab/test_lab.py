"""The notebooks, and all that the library shows in one, opened in JupyterLab by a browser."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from msckpt_jax.display import html
from tests.lab import gallery, server, shown


def outputs(path: Path) -> int:
    """The outputs of a notebook, texts of one stream that follow each other together."""
    count = 0
    for cell in nbformat.read(path, as_version=4).cells:
        streams = [output.get("name") for output in cell.get("outputs", ())]
        count += sum(a is None or a != b for a, b in zip(streams, [None, *streams], strict=False))
    return count


NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
NAMES = ["shown", *(path.stem for path in NOTEBOOKS)]
CELLS = {**shown.CELLS, **shown.HARD}
COUNTS = {"shown": len(CELLS), **{path.stem: outputs(path) for path in NOTEBOOKS}}
WIDTHS = (1200, 560)
MOST = 200_000
#: Where images are on the screen, and the parts of the tensor that each shows.
BOXES = """images => images.map(image => {
  const {left, top, right, bottom} = image.getBoundingClientRect();
  const parts = image.alt.match(/(\\d+) parts?$/)[1];
  return [left, top, right, bottom, Number(parts)];
})"""
CONTRAST = Path(__file__).with_name("contrast.js").read_text().rstrip()
FAULTS = Path(__file__).with_name("faults.js").read_text().replace("CONTRAST", CONTRAST)


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
    return {"shown": shown.notebook(folder, CELLS), **stored}


@pytest.mark.parametrize("kind", ["cloned", "trusted"])
@pytest.mark.parametrize("name", NAMES)
def test_a_person_can_read_it(lab: server.Lab, name: str, kind: str) -> None:
    assert lab.open(f"{kind}/{name}.ipynb", COUNTS[name]) is (kind == "trusted")
    for theme in server.THEMES:
        for width in WIDTHS:
            lab.look(theme, width)
            assert lab.page.evaluate(FAULTS) == [], (theme, width)
    assert lab.outside == []


@pytest.mark.parametrize(("kind", "theme"), [("cloned", "light"), ("trusted", "dark")])
def test_pictures_of_shardings_are_seen(lab: server.Lab, kind: str, theme: str) -> None:
    """Pixels of the screen, not of what the page says that it shows."""
    lab.open(f"{kind}/shown.ipynb", len(CELLS))
    lab.look(theme, 1200)
    screen = Image.open(io.BytesIO(lab.page.screenshot())).convert("RGB")
    boxes = lab.page.locator(".msckpt img").evaluate_all(BOXES)
    assert len(boxes) > 10
    for left, top, right, bottom, parts in boxes:
        colours = screen.crop((left, top, right, bottom)).getcolors(10_000)
        fills = [c for count, c in colours if count > 200 and max(c) - min(c) > 40]  # no greys
        assert len(fills) == parts


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_small_and_of_today(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", ()):
            assert len(json.dumps(output)) < MOST
            page = output.get("data", {}).get("text/html", "")
            assert "msckpt" not in page or html._STYLE in page, (
                "run the notebook again, and keep it"
            )


def test_the_gallery_is_drawn_by_its_script() -> None:
    """``python -m tests.lab.gallery`` writes it."""
    assert (gallery.DOCS / "gallery.md").read_text("utf-8") == gallery.page()
    told = re.findall(r"\((pictures/gallery/.*?)\)", gallery.page())
    there = {f"pictures/gallery/{path.name}": path for path in gallery.PICTURES.iterdir()}
    assert sorted(told) == sorted(there)
    for path in there.values():
        assert path.stat().st_size < 60_000
        assert len(Image.open(path).getcolors()) > 10

"""``python -m tests.lab.gallery``: docs/gallery.md and its pictures, as JupyterLab shows them.

It needs the extra ``test`` and a Chromium (``apt-get install chromium-headless-shell``).
"""

from __future__ import annotations

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import io
import tempfile
from pathlib import Path
from typing import NamedTuple

import nbformat
from PIL import Image

from tests.lab import server, shown

DOCS = Path(__file__).parents[2] / "docs"
PICTURES = DOCS / "pictures/gallery"
BEGIN = """# Gallery

What notebooks show of the library's objects. Tables are sorted by a click on a head, parts unfold,
colours follow the theme. Every picture is a cell in JupyterLab, drawn by
`python -m tests.lab.gallery`; the tests look at the same cells, light and dark, wide and narrow,
and at the [notebooks](../notebooks).
"""
AGAIN = """
## The same cell elsewhere

A notebook that is not trusted, as in a fresh clone, keeps its tables and pictures, but cannot sort.
"""


class Look(NamedTuple):
    """A way to show a cell."""

    caption: str
    theme: str = "light"
    width: int = 900
    trusted: bool = True


FIRST = Look("")
OTHERS = {
    "dark": Look("in the dark theme", theme="dark"),
    "cloned": Look("not trusted", trusted=False),
    "narrow": Look("in a narrow window: the table scrolls", width=560),
}
#: The cell that is shown in all ways.
OFTEN = "plan"


def page() -> str:
    """The text of docs/gallery.md."""
    parts = [BEGIN]
    for name, (heading, _) in shown.CELLS.items():
        parts.append(f"\n## {heading}\n\n![{heading}](pictures/gallery/{name}.png)\n")
    parts.append(AGAIN)
    for kind, look in OTHERS.items():
        picture = f"pictures/gallery/{OFTEN}-{kind}.png"
        parts.append(f"\n{look.caption.capitalize()}:\n\n![{look.caption}]({picture})\n")
    return "".join(parts)


def draw() -> None:
    """Draw all pictures, and write the page."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        cells, notebooks, work = (Path(folder, name) for name in ("cells", "notebooks", "work"))
        for path in (cells, notebooks, work):
            path.mkdir()
        notebook = shown.notebook(cells, shown.CELLS)
        nbformat.write(notebook, notebooks / "cloned.ipynb")
        notebook.metadata["signed"] = True  # another content, which has a signature of its own
        nbformat.write(notebook, notebooks / "trusted.ipynb")
        server.trust(notebooks / "trusted.ipynb", work)
        with server.server(notebooks, work) as url, server.browser() as browser:
            lab = server.Lab(browser, url)
            for name in shown.CELLS:
                _picture(lab, name, FIRST, PICTURES / f"{name}.png")
            for kind, look in OTHERS.items():
                _picture(lab, OFTEN, look, PICTURES / f"{OFTEN}-{kind}.png")
    (DOCS / "gallery.md").write_text(page())


def _picture(lab: server.Lab, name: str, look: Look, path: Path) -> None:
    lab.open(f"{'trusted' if look.trusted else 'cloned'}.ipynb", len(shown.CELLS))
    lab.look(look.theme, look.width)
    cell = lab.page.locator(".jp-CodeCell").nth([*shown.CELLS].index(name))
    image = Image.open(io.BytesIO(cell.screenshot()))
    image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    draw()

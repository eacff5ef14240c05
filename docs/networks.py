"""Print the networks of others that a convention knows, as conventions.md has them.

``python docs/networks.py`` rewrites the table there; ``tests/conventions/test_networks.py`` holds
it.
"""

from __future__ import annotations

from pathlib import Path

from msckpt_jax.conventions import networks

PAGE = Path(__file__).parent / "conventions.md"
_BEGIN, _END = "<!-- begin: networks.py -->\n", "<!-- end -->"


def rows() -> list[str]:
    """Return the lines of the table: a family of networks each."""
    lines = ["| `convention=` | files | models | what to mind |", "|---|---|---|---|"]
    for name, network in networks.known().items():
        cells = f"`{name}`", network.files, network.models, network.differs
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def page() -> str:
    """Return the page with a current table."""
    text = PAGE.read_text("utf-8")
    before, rest = text.split(_BEGIN)
    after = rest.partition(_END)[2]
    return before + _BEGIN + "\n".join(rows()) + "\n" + _END + after


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")

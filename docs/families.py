"""Print the families of language models and their stacks, as language-models.md has them.

``python docs/families.py`` rewrites the table there; ``tests/families/test_docs.py`` holds it.
"""

from __future__ import annotations

from pathlib import Path

from msckpt_jax.conventions.families import table

PAGE = Path(__file__).parent / "language-models.md"
_BEGIN, _END = "<!-- begin: families.py -->\n", "<!-- end -->"


def rows() -> list[str]:
    """Return the lines of the table: a family each."""
    lines = [
        "| `model_type` | `jax=` | `files=` | stacked layers |",
        "|---|---|---|---|",
    ]
    for family in dict.fromkeys(map(id, table.known().values())):
        found = next(each for each in table.known().values() if id(each) == family)
        cells = (
            ", ".join(f"`{name}`" for name in found.model_types),
            ", ".join(name for name in table.JAX if name in found.sections),
            ", ".join(name for name in table.FILES if name in found.sections),
            ", ".join(name for name in table.JAX
                      if name in found.sections and found.sections[name].scanned),
        )  # fmt: skip
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

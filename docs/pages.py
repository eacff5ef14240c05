"""``python docs/pages.py FOLDER``: the README, these pages and the docstrings, by pdoc.

A link to a text that has a page leads to the page; other files are copied beside.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import warnings
from pathlib import Path

import pdoc

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "api",
    "checkpoint",
    "parallel",
    "lowering",
    "conventions",
    "families",
    "errors",
)
#: These packages have a text; their modules are internal.
TEXTS = {
    "README.md": "msckpt_jax.html",
    "docs/architecture.md": "msckpt_jax/api.html",
    "docs/formats.md": "msckpt_jax/checkpoint.html",
    "docs/layout.md": "msckpt_jax/parallel.html",
    "docs/scaling.md": "msckpt_jax/parallel.html",
    "docs/operators.md": "msckpt_jax/lowering.html",
    "docs/conventions.md": "msckpt_jax/conventions.html",
    "docs/language-models.md": "msckpt_jax/families.html",
}


def render(out: Path) -> None:
    warnings.simplefilter("error")
    # pdoc cannot read the annotations of a NamedTuple's constructor.
    warnings.filterwarnings("ignore", "Error parsing type annotation", UserWarning)
    pdoc.render.configure(docformat="google")
    modules = ["msckpt_jax", *(f"msckpt_jax.{name}" for name in PACKAGES)]
    pdoc.pdoc(*modules, r"!msckpt_jax\.(api|checkpoint|parallel|lowering|conventions)\.",
              output_directory=out)  # fmt: skip
    for text, page in TEXTS.items():
        relink(out, ROOT / text, out / page)


def relink(out: Path, text: Path, page: Path) -> None:
    """Lead the links that ``page`` has from ``text`` to where their targets are now."""

    def moved(match: re.Match[str]) -> str:
        link, anchor = match[1], match[2] or ""
        target = text.parent / link
        if "://" in link or not target.exists():
            return match[0]
        name = target.resolve().relative_to(ROOT).as_posix()
        if name not in TEXTS:
            copy = shutil.copytree if target.is_dir() else shutil.copy
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            copy(target, out / name, **({"dirs_exist_ok": True} if target.is_dir() else {}))
        there = os.path.relpath(out / TEXTS.get(name, name), page.parent)
        return f'href="{there}{anchor}"'

    page.write_text(re.sub(r'href="([^"#]+)(#[^"]*)?"', moved, page.read_text()))


if __name__ == "__main__":
    render(Path(sys.argv[1]))

"""Hooks of the site: texts of the top folder become pages, links out of docs/ keep their ends."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
#: Texts beside docs/, and the pages that they become where they are there.
TEXTS = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
HOME = TEXTS["README.md"]
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
TEXT_AND_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)" + LINK.pattern)


def on_config(config: Any) -> Any:
    """List the pages of those texts last, under the project."""
    (pages,) = config.nav[-1].values()
    pages += [page for text, page in TEXTS.items() if page != HOME and (ROOT / text).is_file()]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each text of the top folder."""
    for text, page in TEXTS.items():
        if (ROOT / text).is_file():
            content = relinked((ROOT / text).read_text("utf-8"), ROOT / text, page)
            files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead the links of a page of docs/ to where their targets are."""
    if page.file.src_uri in TEXTS.values():
        return markdown  # done
    return relinked(markdown, ROOT / "docs" / page.file.src_uri, page.file.src_uri)


def relinked(markdown: str, text: Path, page: str) -> str:
    """The markdown of ``text`` as that of ``page``: its links lead to pages, or to the sources."""

    def moved(match: re.Match[str]) -> str:
        words, link, anchor = match[1], match[2], match[3] or ""
        target = (text.parent / link).resolve()
        if "://" in link or not target.exists():
            return match[0]  # of which mkdocs tells
        name = target.relative_to(ROOT).as_posix()
        if name in TEXTS or name.startswith("docs/"):
            there = TEXTS.get(name, name.removeprefix("docs/"))
            return f"[{words}]({os.path.relpath(there, Path(page).parent)}{anchor})"
        return f"[{words}]({SOURCES}/{name}{anchor})" if SOURCES else words

    pictured = re.sub(r"(!\[[^\]]*\]\()docs/", r"\1", markdown) if text.parent == ROOT else markdown
    return TEXT_AND_LINK.sub(moved, pictured)


def sources() -> str | None:
    """The address under which the files of the repository are shown, or None without one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    urls = {name.lower(): url for name, url in project.get("urls", {}).items()}
    address = urls.get("source") or urls.get("repository")
    return f"{address.rstrip('/')}/blob/main" if address else None


SOURCES = sources()

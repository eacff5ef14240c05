"""The files for those who cite, report and contribute."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import msckpt_jax as ms

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FORMS = sorted(path.name for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
TEXTS = [
    "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md", "README.md",
    ".github/CODE_OF_CONDUCT.md", ".github/pull_request_template.md",
]  # fmt: skip


def test_versions_agree() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest is not None
    assert {PROJECT["version"], cited["version"], newest[1], ms.__version__} == {ms.__version__}


def test_the_citation_has_what_readers_need() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert cited.keys() >= {"message", "title", "authors"}
    assert cited["license"] == PROJECT["license"]
    assert all(author.keys() & {"name", "family-names"} for author in cited["authors"])


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_issues_are_whole(name: str) -> None:
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE" / name).read_text())
    if name == "config.yml":
        assert form.keys() == {"blank_issues_enabled"}
        return
    assert form.keys() >= {"name", "description", "body"}
    kinds = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert {part["type"] for part in form["body"]} <= kinds
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert all(part["attributes"]["label"] for part in fields)
    assert len({part["id"] for part in fields}) == len(fields)


@pytest.mark.parametrize("name", TEXTS)
def test_texts_name_no_address(name: str) -> None:
    """Faults are reported by the repository: an address would have to be somebody's."""
    text = (ROOT / name).read_text()
    assert re.findall(r"\b[\w.+-]+@[\w-]+\.[a-z]{2,}\b", text) == []


def test_links_between_the_texts_lead_somewhere() -> None:
    for name in TEXTS:
        for target, anchor in re.findall(
            r"\]\(([^):#]*)(?:#([^)]*))?\)", (ROOT / name).read_text()
        ):
            file = (ROOT / name).parent / target if target else ROOT / name
            assert file.exists(), (name, target)
            if anchor and file.suffix == ".md":
                heads = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
                slugs = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
                assert anchor in slugs, (name, target, anchor)


def test_the_command_that_sets_up_is_the_readmes() -> None:
    (command,) = re.findall(r"^python3 -m venv .*$", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
    assert command in (ROOT / "README.md").read_text()


def test_the_source_archive_has_the_texts() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    top = {name for name in TEXTS if "/" not in name}
    assert top <= set(build["targets"]["sdist"]["include"])

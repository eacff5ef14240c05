"""The page on language models lists the tables that are there."""

from __future__ import annotations

from tests.pages import script


def test_the_table_is_current() -> None:
    page = script("families")
    assert page.page() == page.PAGE.read_text("utf-8"), "run python docs/families.py"

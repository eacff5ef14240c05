"""The networks of ``cases.py``, exported and run once by real MindSpore."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real import made_by_mindspore


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = Path(__file__).with_name("networks.py")
    return made_by_mindspore(script, tmp_path_factory.mktemp("networks"))

"""The networks of ``cases.py``, exported and run once by real MindSpore."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real import need_mindspore


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_mindspore()
    folder = tmp_path_factory.mktemp("networks")
    script = Path(__file__).with_name("networks.py")
    environment = os.environ | {"GLOG_v": "4"}
    subprocess.run([sys.executable, script, folder], check=True, env=environment, timeout=280,
                   capture_output=True)  # fmt: skip
    return folder

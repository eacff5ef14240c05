"""Real MindSpore: where it is missing, and scripts that it runs."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

#: The first Python for which there is no MindSpore.
WITHOUT = (3, 13)


def need_mindspore() -> None:
    """Skip the test without MindSpore; fail it in CI, where a Python that has it lacks it."""
    if importlib.util.find_spec("mindspore") is not None:
        return
    message = "real MindSpore is not installed: pip install 'msckpt_jax[test]'"
    if os.environ.get("CI") and sys.version_info < WITHOUT:
        pytest.fail(message)
    pytest.skip(message)


def made_by_mindspore(script: Path, folder: Path, *arguments: str) -> Path:
    """Return the folder after a script of MindSpore's has put its files there."""
    need_mindspore()
    environment = os.environ | {"GLOG_v": "4"}
    subprocess.run([sys.executable, script, folder, *arguments], check=True, timeout=280,
                   env=environment, capture_output=True)  # fmt: skip
    return folder

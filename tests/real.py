"""Where real MindSpore is missing."""

from __future__ import annotations

import importlib.util
import os
import sys

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

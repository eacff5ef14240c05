"""A sample of jax2onnx's cases, in a process that its plugins may change."""

from __future__ import annotations

import subprocess
import sys


def test_a_sample_is_equal_and_canonical():
    command = [sys.executable, "-m", "tests.lowering.peer", "sample"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr[-2000:]

"""A fixed part of jax2onnx's cases: JAX's numbers where the file runs, or a clean refusal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from msckpt_jax.mindir import runner
from tests.peer.targets import TARGETS

#: The target, the part of the cases, and the least share of them that is to be equal.
PARTS = [("mindir", "3/12", 0.95), ("air", "5/48", 0.9), ("onnx-native", "7/24", 0.95)]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("target", "part", "least"), PARTS)
def test_a_part_of_the_peers_cases(tmp_path, target, part, least):
    if target == "mindir" and not runner.available():
        pytest.skip("real MindSpore is not installed")
    log = tmp_path / "log.jsonl"
    # In a process of its own: jax2onnx patches JAX where it is imported.
    command = [sys.executable, "-W", "ignore", "-m", "tests.peer.run", target, log, "--part", part]
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
    root = Path(__file__).parents[2]
    subprocess.run(command, check=True, cwd=root, env=os.environ | {"XLA_FLAGS": flags})
    results = [json.loads(line) for line in log.read_text().splitlines()]
    results = [r for r in results if r[1] != "jax" and r[0] not in TARGETS[target].known]
    assert not [r for r in results if r[1] not in ("equal", "refused")]
    assert sum(r[1] == "equal" for r in results) > least * len(results)

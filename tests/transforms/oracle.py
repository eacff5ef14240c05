"""Asks real MindSpore, once for many cases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.real import need_mindspore


def ask(what: str, folder: Path, inputs: dict[str, np.ndarray], jobs: Any) -> None:
    """Run ``worker.py`` in ``folder``, where its answers are then."""
    need_mindspore()
    np.savez(folder / "inputs.npz", **inputs)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    worker = Path(__file__).with_name("worker.py")
    done = subprocess.run(
        [sys.executable, worker, what, folder],
        env=os.environ | {"GLOG_v": "4"}, cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]

"""Jobs whose process is killed, or whose disk is full or breaks, at every phase.

``MSCKPT_FAULTS=200 pytest tests/faults`` looks at more points than the 20 of a plain run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

POINTS = int(os.environ.get("MSCKPT_FAULTS", "20"))
ONE_FILE, SET = {"1", "2"}, {"1", "2", "refused"}
#: Jobs and what is seen after kills.
JOBS = {
    "save": ONE_FILE,
    "save encrypted": ONE_FILE,
    "save safetensors": ONE_FILE,
    "save in a thread": ONE_FILE,
    "save a folder": SET,
    "save ranks": SET,
    "transform": {"1", "2", "absent"},
    "unify": SET,
    "convert to a file": ONE_FILE,
    "convert to a folder": SET,
    "convert to Orbax": {"absent", "whole"},
    "train": {"1", "10", "11", "2"},
}


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder where syncs cost nothing, if there is one."""
    path = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    yield Path(path)
    shutil.rmtree(path)


@pytest.mark.parametrize("job", JOBS)
def test_faults(job: str, in_memory: Path) -> None:
    """What sweep.py asserts, and that its faults came in all phases of the job."""
    command = [sys.executable, "-m", "tests.faults.sweep", job, str(POINTS), str(in_memory)]
    if _mounts(in_memory):
        command = [*_MOUNTED, str(in_memory), *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20 * POINTS)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)
    assert {*seen["killed"]} == JOBS[job], seen
    assert any("error" in state for state in seen["full"])
    assert any("error" in state for state in seen["broken"])
    assert not any("error" in state for state in seen["short"])
    assert seen.get("room") != {}


#: A small disk, seen by these processes only: a real one that is full.
_MOUNTED = ["unshare", "-Urm", "sh", "-ec", 'mount -t tmpfs -o size=4m tmpfs "$0"; exec "$@"']


def _mounts(folder: Path) -> bool:
    try:
        return subprocess.run([*_MOUNTED, str(folder), "true"], capture_output=True).returncode == 0
    except FileNotFoundError:  # unshare is Linux's
        return False

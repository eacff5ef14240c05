"""Rank files take the place of older ones as one set, whatever kills the processes that write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import msckpt_jax as ms
from msckpt_jax.cli import main
from tests.checkpoint.test_folder import in_memory as in_memory
from tests.parallel.test_hosts import check_ended_well, run

#: The number of kills at random moments, for each place of the strategy; 200 for a nightly run.
KILLS = os.environ.get("MSCKPT_KILLS", "10")


def test_kills(in_memory: Path) -> None:
    """rank_kills.py fails where a reader sees a mixture, or a save ends wrongly."""
    command = [sys.executable, "-m", "tests.parallel.rank_kills", str(in_memory), KILLS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280 + 10 * int(KILLS))
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)
    for pair, kinds in seen["every"].items():
        assert {*kinds} - {"no strategy"} == {"calls", "1", "msckpt recover", "2"}, pair
        assert kinds["calls"] > 40
    assert all(kinds["staged"] > int(KILLS) / 4 for kinds in seen["random"].values())


def test_processes_fail_together(tmp_path: Path) -> None:
    ended = run("sets", 4, tmp_path, "rank_process.py")
    check_ended_well(ended)
    for number, one in enumerate(ended):
        assert one.output.count("told: ") == 2
        assert ("No space left" in one.output) == (number in (0, 3))


def test_processes_are_killed(tmp_path: Path) -> None:
    """The old set is whole, or readers refuse; the next group's save puts things right."""
    moments = ("staging:1", "replacing:0", "written:0", "staging:0", "written:0")
    for moment in moments[: 2 if int(KILLS) < 200 else None]:
        ended = run(f"cut:{moment}", 2, tmp_path, "rank_process.py")
        assert ended[int(moment[-1])].status == -9, ended
        if "staging" in moment:
            assert ms.load_checkpoint(tmp_path, strategy=tmp_path / "strategy.ckpt")["step"] == 1
        else:
            with pytest.raises(ms.CheckpointError, match="msckpt recover"):
                ms.load_checkpoint(tmp_path, strategy=tmp_path / "strategy.ckpt")
        assert moment != "staging:1" or "did not answer" in ended[0].output
    assert main(["recover", str(tmp_path)]) == 0
    assert ms.load_checkpoint(tmp_path, strategy=tmp_path / "strategy.ckpt")["step"] == 2

"""Training in several processes of jax.distributed."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

import msckpt_jax as ms
from tests.parallel.test_hosts import NAMES, WHOLE, check_ended_well, run


def test_two_processes(tmp_path: Path) -> None:
    """One prefix for all; each deletes its own rank files; the clocks of several do not agree."""
    ended = run("training", 2, tmp_path)
    check_ended_well(ended)
    assert all("told: save_checkpoint_seconds cannot be used" in one.output for one in ended)
    files = {"m-1_5.ckpt", "m_1-1_5.ckpt"}
    assert {path.name for path in (tmp_path / "True").iterdir()} == files
    for rank in range(8):
        assert {path.name for path in (tmp_path / "False" / f"rank_{rank}").iterdir()} == files
        # Saved at seconds 10, 20, ... of process 0: the first, one 25 seconds later, the newest.
        kept = {f"m-1_{step}.ckpt" for step in (1, 4, 6)}
        assert {path.name for path in (tmp_path / "timeTrue" / f"rank_{rank}").iterdir()} == kept
        # The new run takes those for one of them, written at about the same time.
        kept = {"m-1_1.ckpt", *(f"m_1-1_{step}.ckpt" for step in (4, 6))}
        assert {path.name for path in (tmp_path / "timeFalse" / f"rank_{rank}").iterdir()} == kept
    like = {name: jax.ShapeDtypeStruct(WHOLE.shape, np.float32) for name in NAMES}
    for folder in ("True", "False"):
        found = ms.resume(tmp_path / folder, like)
        assert found is not None
        assert found.append["step"] == 5
        assert all(np.array_equal(found.state[name], WHOLE + 5) for name in NAMES)

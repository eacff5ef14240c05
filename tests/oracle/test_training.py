"""The same schedule in real MindSpore's Model.train: the same names, the same files kept."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax import CheckpointConfig, ModelCheckpoint
from tests.oracle.conftest import MindSpore


def train(
    directory: str,
    prefix: str,
    config: dict[str, Any],
    epochs: int,
    batches: int,
    seconds: float,
    fail_at: int | None,
) -> list[str]:
    """What the oracle's function of this name does, by our classes."""
    now = [1e9]
    number = 0
    try:
        with ModelCheckpoint(
            prefix,
            directory,
            CheckpointConfig(**config),
            batches_per_epoch=batches,
            clock=lambda: now[0],
        ) as ckpt:
            for number in range(1, epochs * batches + 1):
                now[0] += seconds
                ckpt.step({"weight": np.full((1, 2), number, np.float32)})
                if number == fail_at:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert number == fail_at
    return sorted(path.name for path in Path(directory).iterdir())


SCHEDULES: dict[str, dict[str, Any]] = {
    "steps": {"config": {"save_checkpoint_steps": 4}, "epochs": 2, "batches": 6},
    "the last step is due": {"config": {"save_checkpoint_steps": 5}, "epochs": 2, "batches": 5},
    "newest": {"config": {"save_checkpoint_steps": 2, "keep_checkpoint_max": 3},
               "epochs": 3, "batches": 5},
    "one": {"config": {"keep_checkpoint_max": 0}, "epochs": 1, "batches": 3},
    "seconds": {"config": {"save_checkpoint_steps": 0, "save_checkpoint_seconds": 30},
                "epochs": 2, "batches": 5, "seconds": 11},
    "exactly": {"config": {"save_checkpoint_steps": None, "save_checkpoint_seconds": 30},
                "epochs": 1, "batches": 6, "seconds": 15},
    "both": {"config": {"save_checkpoint_steps": 3, "save_checkpoint_seconds": 1},
             "epochs": 1, "batches": 5, "seconds": 100},
    "minutes": {"config": {"keep_checkpoint_max": 0, "keep_checkpoint_per_n_minutes": 3},
                "epochs": 2, "batches": 11, "seconds": 30},
    "long steps": {"config": {"keep_checkpoint_max": 0, "keep_checkpoint_per_n_minutes": 3},
                   "epochs": 1, "batches": 5, "seconds": 181},
    "uneven": {"config": {"keep_checkpoint_max": 0, "keep_checkpoint_per_n_minutes": 1,
                          "save_checkpoint_steps": 2}, "epochs": 2, "batches": 9, "seconds": 13},
    "interrupted": {"config": {"save_checkpoint_steps": 4, "exception_save": True},
                    "epochs": 3, "batches": 6, "fail_at": 9},
    "interrupted without": {"config": {"save_checkpoint_steps": 4},
                            "epochs": 3, "batches": 6, "fail_at": 9},
    "safetensors": {"config": {"save_checkpoint_steps": 4, "format": "safetensors"},
                    "epochs": 1, "batches": 6},
    "after another run": {"config": {"save_checkpoint_steps": 2, "keep_checkpoint_max": 1},
                          "epochs": 1, "batches": 4,
                          "there": ["m-1_1.ckpt", "m_4-1_1.ckpt", "mx-1_1.ckpt"]},
    "after a crash": {"config": {"keep_checkpoint_max": 1}, "epochs": 1, "batches": 4,
                      "there": ["m-1_1.ckpt", "m-1_2_breakpoint.ckpt"]},
}  # fmt: skip


def _random_schedule(seed: int) -> dict[str, Any]:
    """Policies of all kinds, given as MindSpore needs them: what is not meant is 0."""
    draw = np.random.default_rng(seed)
    by_steps, newest = draw.random(2) < 0.5
    config = {
        "save_checkpoint_steps": int(draw.integers(1, 6)) if by_steps else 0,
        "save_checkpoint_seconds": int(draw.integers(1, 90)),
        "keep_checkpoint_max": int(draw.integers(1, 5)) if newest else 0,
        "keep_checkpoint_per_n_minutes": int(draw.integers(1, 4)),
    }
    epochs, batches, seconds = (int(n) for n in draw.integers(1, (4, 9, 100)))
    fail_at = int(draw.integers(1, epochs * batches + 1)) if draw.random() < 0.3 else None
    config["exception_save"] = fail_at is not None
    # not both: a breakpoint has the prefix of its run here, a numbering of its own in MindSpore
    there = ["m_2-3_1.ckpt"] if fail_at is None and draw.random() < 0.5 else []
    return {"config": config, "epochs": epochs, "batches": batches, "seconds": seconds,
            "fail_at": fail_at, "there": there}  # fmt: skip


SCHEDULES |= {f"random {seed}": _random_schedule(seed) for seed in range(16)}


@pytest.mark.parametrize("name", SCHEDULES)
def test_same_schedule_same_files(mindspore: MindSpore, tmp_path: Path, name: str) -> None:
    schedule = {"prefix": "m", "seconds": 1.0, "fail_at": None} | SCHEDULES[name]
    there = schedule.pop("there", [])
    for folder in ("theirs", "ours"):
        (tmp_path / folder).mkdir()
        for file in there:
            (tmp_path / folder / file).touch()
    theirs = mindspore.call("train", directory=str(tmp_path / "theirs"), **schedule)
    assert train(str(tmp_path / "ours"), **schedule) == theirs
    assert set(there) <= set(theirs)


def test_contents_and_append_info(mindspore: MindSpore, tmp_path: Path) -> None:
    """MindSpore finds in our file what it writes itself, with the same dtypes."""
    info = ["epoch_num", "step_num", {"lr": 0.1, "name": "warm", "step_num": 100, "on": True}]
    schedule: dict[str, Any] = {
        "prefix": "m", "config": {"save_checkpoint_steps": 4, "append_info": info},
        "epochs": 2, "batches": 6, "seconds": 1.0, "fail_at": None,
    }  # fmt: skip
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    mindspore.call("train", directory=str(theirs), **schedule)
    train(str(ours), **schedule)
    mine, wanted = (mindspore.load(folder / "m-2_2.ckpt") for folder in (ours, theirs))
    appended = ("epoch_num", "step_num", "lr", "name", "on")
    assert [mine[name] for name in appended] == [wanted[name] for name in appended]
    assert int(mine["step_num"].array) == 108
    assert mine["weight"].array.tolist() == [[8, 8]]
    modes = [(folder / "m-2_6.ckpt").stat().st_mode for folder in (ours, theirs)]
    assert modes[0] == modes[1]


def test_we_go_on_from_its_run_and_it_sees_ours(mindspore: MindSpore, tmp_path: Path) -> None:
    schedule: dict[str, Any] = {
        "prefix": "m", "config": {"append_info": ["epoch_num", "step_num"]},
        "epochs": 1, "batches": 3, "seconds": 1.0, "fail_at": None,
    }  # fmt: skip
    mindspore.call("train", directory=str(tmp_path), **schedule)
    like = {"weight": np.zeros((1, 2), np.float32), "bias": np.zeros(1, np.float32),
            "moments": {"weight": np.zeros((1, 2), np.float32)}}  # fmt: skip
    found = ms.resume(tmp_path, like, "m")
    assert found is not None
    assert (found.epoch, found.step, found.append["step_num"]) == (1, 3, 3)
    assert np.any(found.state["moments"]["weight"])
    with ModelCheckpoint("m", tmp_path, batches_per_epoch=3, resumed=found) as ckpt:
        ckpt.step(found.state)
    assert ckpt.latest_ckpt_file_name == str(tmp_path / "m_1-2_1.ckpt")
    there = mindspore.call("train", directory=str(tmp_path), **schedule)
    assert "m_2-1_3.ckpt" in there


def test_signatures(mindspore: MindSpore) -> None:
    for cls in (CheckpointConfig, ModelCheckpoint):
        theirs = [a for a in mindspore.call("signature", name=cls.__name__) if a[0] != "kwargs"]
        ours = list(inspect.signature(cls).parameters.values())[: len(theirs)]
        assert [[p.name, p.default] for p in ours] == theirs
        assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in ours)

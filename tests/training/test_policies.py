"""``ModelCheckpoint``: when it saves, and what it keeps."""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax import CheckpointConfig, ModelCheckpoint
from msckpt_jax.checkpoint import writer
from tests.training.loops import Clock, names, run


@pytest.mark.parametrize(
    ("config", "count", "seconds", "expected"),
    [
        (CheckpointConfig(4, keep_checkpoint_max=None), 10, 0, [4, 8, 10]),
        (CheckpointConfig(5, keep_checkpoint_max=None), 10, 0, [5, 10]),  # the last one once
        (CheckpointConfig(save_checkpoint_seconds=30), 10, 11, [3, 6, 9, 10]),
        (CheckpointConfig(save_checkpoint_seconds=30), 3, 31, [1, 2, 3]),
        (CheckpointConfig(save_checkpoint_seconds=30), 6, 15, [3, 6]),  # more than, as MindSpore
        (CheckpointConfig(0), 5, 1, [5]),
        (CheckpointConfig(100), 5, 1, [5]),
        (CheckpointConfig(1), 0, 1, []),
        (CheckpointConfig(2, 30, 2), 9, 100, [8, 9]),
    ],
)
def test_when_it_saves(
    tmp_path: Path, config: CheckpointConfig, count: int, seconds: float, expected: list[int]
) -> None:
    run(tmp_path, config, count, seconds)
    assert names(tmp_path) == sorted(f"m-1_{step}.ckpt" for step in expected)


@pytest.mark.parametrize(
    ("per_epoch", "steps", "expected", "total"),
    [
        # several steps a call (a scan over batches): saved at the first number that is due
        (None, [{"step": n} for n in range(30, 301, 30)], ["1_120", "1_240", "1_300"], 300),
        (100, [{"step": n} for n in range(30, 301, 30)], ["2_20", "3_40", "3_100"], 300),
        (None, [{"epoch": e, "step": n} for e in (1, 2) for n in (40, 80, 120)],
         ["1_120", "2_120"], 240),
        (120, [{"epoch": e, "step": n} for e in (1, 2) for n in (40, 80, 120)],
         ["1_120", "2_120"], 240),
        # numbers that start again, or from 0, count as one
        (None, [{"step": n % 60} for n in range(150)], ["1_39", "1_29"], 29),
        (None, [{"epoch": n // 60, "step": n % 60} for n in range(150)],
         ["1_39", "2_29"], 150),
    ],
)  # fmt: skip
def test_steps_by_given_numbers(
    tmp_path: Path, per_epoch: int | None, steps: list[Any], expected: list[str], total: int
) -> None:
    config = CheckpointConfig(100, append_info=["step_num"])
    with ModelCheckpoint("m", tmp_path, config, batches_per_epoch=per_epoch) as ckpt:
        for kwargs in steps:
            ckpt.step({"w": 1}, **kwargs)
    assert names(tmp_path) == sorted(f"m-{name}.ckpt" for name in expected)
    assert ms.load_checkpoint(tmp_path / f"m-{expected[-1]}.ckpt")["step_num"] == total


def test_a_step_that_is_not_saved_touches_nothing(tmp_path: Path) -> None:
    """Neither the state nor the metric is looked at, and the clock not read."""

    def unexpected() -> Any:
        raise AssertionError

    with ModelCheckpoint("m", tmp_path, CheckpointConfig(10), batches_per_epoch=7) as ckpt:
        ckpt._schedule._clock = unexpected
        for _ in range(9):
            ckpt.step(unexpected, metric=object())  # type: ignore[arg-type]
        assert not names(tmp_path)
        ckpt._schedule._clock = Clock()
        ckpt.step(lambda: {"w": np.ones(1)})
    assert names(tmp_path) == ["m-2_3.ckpt"]


def test_save_at_will(tmp_path: Path) -> None:
    with ModelCheckpoint("m", tmp_path, CheckpointConfig(3)) as ckpt:
        ckpt.save()  # nothing to save yet
        for _ in range(5):
            ckpt.step({"w": 1})
            if ckpt.latest_ckpt_file_name is None:
                ckpt.save()
    # after the one at will the policy counts anew
    assert names(tmp_path) == ["m-1_1.ckpt", "m-1_4.ckpt", "m-1_5.ckpt"]


# Retention


def run_on(ckpt: ModelCheckpoint, state: Any) -> None:
    ckpt.step(state)
    ckpt.close()


@pytest.mark.parametrize(
    ("config", "count", "seconds", "expected"),
    [
        (CheckpointConfig(2, keep_checkpoint_max=3), 11, 1, [8, 10, 11]),
        (CheckpointConfig(keep_checkpoint_max=1), 4, 1, [4]),
        (CheckpointConfig(keep_checkpoint_max=0), 4, 1, [4]),
        (CheckpointConfig(keep_checkpoint_max=None), 12, 1, list(range(1, 13))),
        # seconds at which they were saved: 30, 180, 330, 480, 630, and the newest
        (CheckpointConfig(keep_checkpoint_per_n_minutes=3), 22, 30, [1, 6, 11, 16, 21, 22]),
        (CheckpointConfig(keep_checkpoint_per_n_minutes=3), 5, 200, [1, 2, 3, 4, 5]),
    ],
)
def test_what_it_keeps(
    tmp_path: Path, config: CheckpointConfig, count: int, seconds: float, expected: list[int]
) -> None:
    run(tmp_path, config, count, seconds)
    assert names(tmp_path) == sorted(f"m-1_{step}.ckpt" for step in expected)


NAN = float("nan")
METRICS = [5.0, 1.0, 4.0, NAN, 2.0, None, 3.0, 6.0]


@pytest.mark.parametrize(
    ("best", "metrics", "expected"),
    [
        (("loss", "min", 2), METRICS, [2, 5, 8]),
        (("loss", "max", 1), METRICS, [8]),
        (("loss", "max", 2), METRICS, [1, 8]),
        (("loss", "min", 2), [m and {"loss": jnp.float32(m)} for m in METRICS], [2, 5, 8]),
        (("loss", "min", 2), [None] * 8, [8]),
        (("loss", "min", 1), [NAN, 2.0, 1.0, *[3.0] * 5], [3, 8]),
    ],
)
def test_the_best_are_kept_as_well(
    tmp_path: Path, best: Any, metrics: list[Any], expected: list[int]
) -> None:
    config = CheckpointConfig(keep_checkpoint_max=1, keep_best=best)
    ckpt = run(tmp_path, config, 8, metrics=metrics)
    assert names(tmp_path) == [f"m-1_{step}.ckpt" for step in expected]
    chosen = {("min", 1): 3, ("min", 2): 2, ("max", 1): 8, ("max", 2): 8}[best[1:]]
    found = None if metrics[0] is None else str(tmp_path / f"m-1_{chosen}.ckpt")
    assert ckpt.best_ckpt_file_name == found


@pytest.mark.parametrize(
    ("config", "seconds", "expected"),
    [
        (CheckpointConfig(1, keep_checkpoint_max=1, keep_every=5), 0, [5, 10, 12]),
        # none is saved at a multiple of 5: the first one after it
        (CheckpointConfig(3, keep_checkpoint_max=1, keep_every=5), 0, [6, 12]),
        (CheckpointConfig(3, keep_checkpoint_max=2, keep_every=[4, 5]), 0, [6, 9, 12]),
        (CheckpointConfig(1, keep_checkpoint_max=1, keep_every=timedelta(seconds=30)), 10,
         [1, 4, 7, 10, 12]),
        (CheckpointConfig(1, keep_checkpoint_max=2, keep_every=(10, timedelta(minutes=1))), 10,
         [1, 7, 10, 11, 12]),
        (CheckpointConfig(1, keep_checkpoint_max=1, keep_every=6, keep_best=("a", "min", 1)), 0,
         [3, 6, 12]),
        (CheckpointConfig(1, keep_checkpoint_max=None, keep_every=6), 0, list(range(1, 13))),
    ],
)  # fmt: skip
def test_what_is_kept_for_good(
    tmp_path: Path, config: CheckpointConfig, seconds: float, expected: list[int]
) -> None:
    metrics = [3.0, 2.0, 1.0, *[4.0] * 9]
    run(tmp_path, config, 12, seconds, metrics=metrics)
    assert names(tmp_path) == sorted(f"m-1_{step}.ckpt" for step in expected)


def test_what_is_kept_for_good_counts_from_the_start_of_the_training(tmp_path: Path) -> None:
    config = CheckpointConfig(2, keep_checkpoint_max=1, keep_every=10)
    run(tmp_path, config, 14, batches_per_epoch=4)
    assert names(tmp_path) == ["m-3_2.ckpt", "m-4_2.ckpt"]  # steps 10 and 14
    for expected in (["m_1-5_4.ckpt", "m_1-7_4.ckpt"], ["m_2-10_2.ckpt", "m_2-8_2.ckpt"]):
        found = ms.resume(tmp_path, like={"step": 0})
        assert found is not None
        run(tmp_path, config, 14 if "m_1" in expected[0] else 10, batches_per_epoch=4,
            resumed=found)  # fmt: skip
        prefix = expected[0].partition("-")[0]
        assert [name for name in names(tmp_path) if name.startswith(prefix)] == expected


@pytest.mark.parametrize("integrated", [True, False])
def test_files_of_earlier_runs(tmp_path: Path, integrated: bool) -> None:
    """With the new run's policies; other prefixes and what is no CheckPoint stay."""
    ranks = tmp_path if integrated else tmp_path / "rank_0"
    options = {"integrated_save": integrated, "batches_per_epoch": 10}
    kwargs = {"batches_per_epoch": options.pop("batches_per_epoch")}
    config = CheckpointConfig(1, keep_checkpoint_max=4, **options)
    run(tmp_path, config, 12, **kwargs)
    (ranks / "m-2_2_breakpoint.ckpt").write_bytes(b"")
    for name in ("n-1_1.ckpt", "m-1_9.ckpt.bak"):
        (ranks / name).touch()
    kept = ["m-1_10.ckpt", "m-1_9.ckpt", "m-2_1.ckpt", "m-2_2.ckpt", "m-2_2_breakpoint.ckpt"]
    run(tmp_path, config, 3, **kwargs)  # by default they stay
    first = ["m_1-1_1.ckpt", "m_1-1_2.ckpt", "m_1-1_3.ckpt", "n-1_1.ckpt"]
    assert names(ranks) == [*kept, *first]
    config = CheckpointConfig(2, keep_checkpoint_max=3, keep_every=10, keep_earlier_runs=False,
                              **options)  # fmt: skip
    ckpt = ModelCheckpoint("m", tmp_path, config, **kwargs)
    ckpt.step({"step": 1})
    assert names(ranks) == [*kept, *first]  # nothing goes until something new is complete
    ckpt.step({"step": 2})
    rest = ["m_1-1_2.ckpt", "m_1-1_3.ckpt", "m_2-1_2.ckpt", "n-1_1.ckpt"]
    assert names(ranks) == ["m-1_10.ckpt", *rest]
    ckpt.close()
    assert (ranks / "m-1_9.ckpt.bak").exists()


def test_earlier_runs_whose_steps_are_not_known_are_kept(tmp_path: Path) -> None:
    """A rule by steps cannot tell which those are, in an epoch of unknown length."""
    for name in ("m-1_3.ckpt", "m-1_9.ckpt", "m-2_3.ckpt"):
        (tmp_path / name).touch()
    config = CheckpointConfig(keep_checkpoint_max=1, keep_every=5, keep_earlier_runs=False)
    run(tmp_path, config, 1)
    assert names(tmp_path) == ["m-1_9.ckpt", "m-2_3.ckpt", "m_1-1_1.ckpt"]


def test_earlier_runs_by_time(tmp_path: Path) -> None:
    config = CheckpointConfig(keep_checkpoint_max=1, keep_every=timedelta(minutes=59),
                              keep_earlier_runs=False)  # fmt: skip
    run(tmp_path, CheckpointConfig(keep_checkpoint_max=None), 7)
    now = time.time()
    for step in range(1, 8):
        written = now - 3600 * (8 - step) / 2 - 60  # every half an hour
        os.utime(tmp_path / f"m-1_{step}.ckpt", (written, written))
    run(tmp_path, config, 3)
    assert names(tmp_path) == [*(f"m-1_{step}.ckpt" for step in (1, 3, 5, 7)), "m_1-1_3.ckpt"]


def test_a_metric_of_another_name(tmp_path: Path) -> None:
    config = CheckpointConfig(keep_best=("loss", "min", 1))
    with pytest.raises(KeyError, match=r"'loss', but step\(\) was given \['accuracy'\]"):
        ModelCheckpoint("m", tmp_path, config).step({"w": 1}, metric={"accuracy": 1.0})


def test_breakpoints_and_other_files_stay(tmp_path: Path) -> None:
    others = ["m-1_9_breakpoint.ckpt", "m-0_1.ckpt.bak", "n-1_1.ckpt", "m_1-graph.meta"]
    for name in others:
        (tmp_path / name).touch()
    run(tmp_path, CheckpointConfig(keep_checkpoint_max=1), 3)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*others, "m_1-1_3.ckpt"}


@pytest.mark.parametrize("how", [False, "thread", "process"])
def test_the_old_file_stays_until_the_new_one_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Any
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk on fire")

    config = CheckpointConfig(keep_checkpoint_max=1, async_save=how)
    ckpt = ModelCheckpoint("m", tmp_path, config)
    run_on(ckpt, {"w": 1})
    with monkeypatch.context() as broken:
        broken.setattr(writer, "write", fail)
        broken.setattr(sys, "executable", "/bin/false")  # what "process" starts
        with pytest.raises((OSError, ms.AsyncSaveError), match=r"on fire|status 1"):
            run_on(ckpt, {"w": 2})
    assert names(tmp_path) == ["m-1_1.ckpt"]
    assert ckpt.latest_ckpt_file_name == str(tmp_path / "m-1_1.ckpt")
    run_on(ckpt, {"w": 3})
    assert names(tmp_path) == ["m-1_3.ckpt"]

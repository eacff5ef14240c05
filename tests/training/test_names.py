"""``ModelCheckpoint``: the names of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax import CheckpointConfig, ModelCheckpoint
from tests.training.loops import names, run


def test_names_by_batches_per_epoch(tmp_path: Path) -> None:
    ckpt = run(tmp_path, CheckpointConfig(4), 12, batches_per_epoch=6)
    assert names(tmp_path) == ["m-1_4.ckpt", "m-2_2.ckpt", "m-2_6.ckpt"]
    assert ckpt.latest_ckpt_file_name == str(tmp_path / "m-2_6.ckpt")
    assert ms.load_checkpoint(tmp_path / "m-2_2.ckpt")["step"] == 8


@pytest.mark.parametrize(
    ("per_epoch", "steps", "expected"),
    [
        (None, [{}, {}, {}], ["1_1", "1_2", "1_3"]),
        (2, [{}, {}, {}], ["1_1", "1_2", "2_1"]),
        (None, [{"epoch": 1}, {"epoch": 1}, {"epoch": 2}], ["1_1", "1_2", "2_1"]),
        (None, [{"epoch": 0}, {"epoch": 0}, {"epoch": 1}], ["0_1", "0_2", "1_1"]),
        (2, [{"step": 1}, {"step": 2}, {"step": 3}], ["1_1", "1_2", "2_1"]),
        (None, [{"step": 10}, {"step": 20}], ["1_10", "1_20"]),
        (None, [{"epoch": 3, "step": 7}, {"epoch": 4, "step": 1}], ["3_7", "4_1"]),
        # a number in all, as MindSpore's cur_step_num
        (2, [{"epoch": 1, "step": 2}, {"epoch": 2, "step": 3}], ["1_2", "2_1"]),
        (None, [{"epoch": np.int64(3), "step": jnp.int32(7)}], ["3_7"]),
    ],
)
def test_names_by_what_is_given(
    tmp_path: Path, per_epoch: int | None, steps: list[dict[str, int]], expected: list[str]
) -> None:
    with ModelCheckpoint("m", tmp_path, batches_per_epoch=per_epoch) as ckpt:
        for kwargs in steps:
            ckpt.step({"w": 1}, **kwargs)
    assert names(tmp_path) == [f"m-{name}.ckpt" for name in expected]


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([], "m"),
        (["m-1_1.ckpt"], "m_1"),
        (["m-1_1.safetensors"], "m_1"),
        (["m-anything.ckpt", "m_7-1_1.ckpt"], "m_8"),  # gaps are not filled
        (["mx-1_1.ckpt", "m-graph.meta", "other.ckpt", "m_x-1_1.ckpt"], "m"),
        (["m_2-1_1_breakpoint.ckpt"], "m_3"),
        (["rank_1/m-1_1.ckpt"], "m_1"),
    ],
)
def test_a_prefix_of_its_own(tmp_path: Path, there: list[str], expected: str) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"another run's")
    assert ModelCheckpoint("m", tmp_path).prefix == expected
    run(tmp_path, CheckpointConfig(keep_checkpoint_max=1), 3)
    assert all((tmp_path / name).read_bytes() == b"another run's" for name in there)


def test_default_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ModelCheckpoint() as ckpt:
        ckpt.step({"w": 1})
    assert names(tmp_path) == ["CKP-1_1.ckpt"]


@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        (("a/b",), ValueError, "without '/', not 'a/b'"),
        ((3,), ValueError, "not 3"),
        (("m", 3), TypeError, "directory must be a path, not int"),
        (("m", ".", {}), TypeError, "must be a CheckpointConfig, not dict"),
    ],
)
def test_refused(args: tuple, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        ModelCheckpoint(*args)


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (2.0, TypeError), (True, TypeError)])
def test_batches_per_epoch_is_checked(tmp_path: Path, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="batches_per_epoch must be"):
        ModelCheckpoint("m", tmp_path, batches_per_epoch=value)


def test_resumed_is_checked(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"resumed must be a result of resume\(\), not dict"):
        ModelCheckpoint("m", tmp_path, resumed={"w": 1})  # type: ignore[arg-type]


def test_negative_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        ModelCheckpoint("m", tmp_path).step({"w": 1}, epoch=-1, step=3)
    assert not names(tmp_path)

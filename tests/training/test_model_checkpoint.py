"""``ModelCheckpoint``: names, policies, retention, what is saved."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax import CheckpointConfig, ModelCheckpoint
from msckpt_jax.checkpoint import writer


class Clock:
    """Seconds that only pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.suffix in (".ckpt", ".safetensors"))


def run(
    folder: Path,
    config: CheckpointConfig,
    count: int,
    seconds: float = 0.0,
    metrics: list[Any] | None = None,
    **kwargs: Any,
) -> ModelCheckpoint:
    """A run of ``count`` steps, each of which takes so many seconds."""
    clock = Clock()
    with ModelCheckpoint("m", folder, config, clock=clock, **kwargs) as ckpt:
        for number in range(1, count + 1):
            clock.now += seconds
            ckpt.step({"step": number}, metric=metrics[number - 1] if metrics else None)
    return ckpt


def run_on(ckpt: ModelCheckpoint, state: Any) -> None:
    ckpt.step(state)
    ckpt.close()


# Names


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


def test_negative_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        ModelCheckpoint("m", tmp_path).step({"w": 1}, epoch=-1, step=3)
    assert not names(tmp_path)


# Policies


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


METRICS = [5.0, 1.0, 4.0, float("nan"), 2.0, None, 3.0, 6.0]


@pytest.mark.parametrize(
    ("best", "metrics", "expected"),
    [
        (("loss", "min", 2), METRICS, [2, 5, 8]),
        (("loss", "max", 1), METRICS, [8]),
        (("loss", "max", 2), METRICS, [1, 8]),
        (("loss", "min", 2), [m and {"loss": jnp.float32(m)} for m in METRICS], [2, 5, 8]),
        (("loss", "min", 2), [None] * 8, [8]),
    ],
)
def test_the_best_are_kept_as_well(
    tmp_path: Path, best: Any, metrics: list[Any], expected: list[int]
) -> None:
    config = CheckpointConfig(keep_checkpoint_max=1, keep_best=best)
    ckpt = run(tmp_path, config, 8, metrics=metrics)
    assert names(tmp_path) == [f"m-1_{step}.ckpt" for step in expected]
    chosen = {("min", 2): 2, ("max", 1): 8, ("max", 2): 8}[best[1:]]
    found = None if metrics[0] is None else str(tmp_path / f"m-1_{chosen}.ckpt")
    assert ckpt.best_ckpt_file_name == found


def test_a_metric_of_another_name(tmp_path: Path) -> None:
    config = CheckpointConfig(keep_best=("loss", "min", 1))
    with pytest.raises(KeyError, match=r"'loss', step\(\) was given \['accuracy'\]"):
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


# What is saved


class Net(nnx.Module):
    def __init__(self) -> None:
        self.body = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        self.head = nnx.Linear(3, 1, rngs=nnx.Rngs(1))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.body(x))


BODY = {"bias", "kernel"}
NET = Net()
WHOLE = {"body.bias", "body.kernel", "head.bias", "head.kernel"}


@pytest.mark.parametrize(
    ("given", "part", "expected"),
    [
        (NET, None, WHOLE),
        (lambda: NET, None, WHOLE),
        ({"model": NET, "loss": 1.0}, None, {f"model.{n}" for n in WHOLE} | {"loss"}),
        (NET, "body", BODY),
        ({"model": NET}, "model.body", BODY),
        ({"layers": [NET, NET]}, "layers.1.body", BODY),
        ({"a.b": {"c": 1}, "a.bc": 2}, "a.b", {"c"}),
        ({"model": NET}, lambda state: state["model"].body, BODY),
        ({"loss": 1.0}, NET, WHOLE),
        (lambda: {"model": NET}, "model.head", BODY),
    ],
)
def test_saved_network(tmp_path: Path, given: Any, part: Any, expected: set[str]) -> None:
    with ModelCheckpoint("m", tmp_path, CheckpointConfig(saved_network=part)) as ckpt:
        ckpt.step(given)
    assert set(ms.load_checkpoint(tmp_path / "m-1_1.ckpt")) == expected


def test_a_saved_network_that_is_not_there(tmp_path: Path) -> None:
    ckpt = ModelCheckpoint("m", tmp_path, CheckpointConfig(saved_network="parms"))
    with pytest.raises(ms.CheckpointError, match=r"no part 'parms' \(nearest: params\)"):
        ckpt.step({"params": 1})


def test_with_a_convention(tmp_path: Path) -> None:
    """Names and layouts of MindSpore, in the file and back."""
    config = CheckpointConfig(
        saved_network="model", convention="mindspore", append_info=["step_num"]
    )
    with ModelCheckpoint("m", tmp_path, config) as ckpt:
        ckpt.step({"model": NET, "loss": 1.0})
    written = ms.load_checkpoint(tmp_path / "m-1_1.ckpt")
    shapes = {name: array.shape for name, array in written.items()}
    assert shapes == {
        "body.weight": (3, 2), "body.bias": (3,), "head.weight": (1, 3), "head.bias": (1,),
        "step_num": (),
    }  # fmt: skip
    found = ms.resume(tmp_path, like=NET, convention="mindspore")
    assert found is not None
    assert found.append == {"step_num": 1}
    assert jax.tree.all(jax.tree.map(jnp.array_equal, nnx.state(found.state), nnx.state(NET)))


def test_append_info(tmp_path: Path) -> None:
    info = ["epoch_num", "step_num", {"lr": 0.5, "note": "warm", "scale": np.arange(3)}]
    run(tmp_path, CheckpointConfig(4, append_info=info), 9, batches_per_epoch=3)
    found = dict(ms.load_checkpoint(tmp_path / "m-3_2.ckpt"))
    assert (found["epoch_num"], found["step_num"], found["lr"]) == (3, 8, 0.5)
    assert found["note"] == "warm"
    assert found["scale"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("kwargs", "load"),
    [
        ({"crc_check": True}, {"crc_check": True}),
        (
            {"enc_key": bytes(16), "enc_mode": "SM4-CBC"},
            {"dec_key": bytes(16), "dec_mode": "SM4-CBC"},
        ),
        ({"format": "safetensors", "remove_redundancy": False}, {}),
        ({"async_save": True}, {}),
        ({"async_save": "process"}, {}),
        ({"choice_func": lambda name: name == "step", "durable": False}, {}),
    ],
)
def test_options_of_files(tmp_path: Path, kwargs: Any, load: Any) -> None:
    run(tmp_path, CheckpointConfig(2, keep_checkpoint_max=1, **kwargs), 5)
    (path,) = [path for path in tmp_path.iterdir() if path.is_file()]
    assert path.stem == "m-1_5"
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert ms.load_checkpoint(path, **load)["step"] == 5


# On a mesh


@pytest.mark.parametrize("options", [{}, {"async_save": True}, {"remove_redundancy": True}])
@pytest.mark.parametrize("integrated", [True, False])
def test_on_a_mesh(
    tmp_path: Path, mesh: Any, other_mesh: Any, integrated: bool, options: dict[str, Any]
) -> None:
    config = CheckpointConfig(
        2, keep_checkpoint_max=2, integrated_save=integrated, append_info=["step_num"], **options
    )
    sharding = jax.NamedSharding(mesh, jax.P("x", "y"))
    whole = np.arange(64.0, dtype=np.float32).reshape(8, 8)
    step = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    state = {"w": jax.device_put(whole, sharding), "b": jax.device_put(1.0, jax.devices()[0])}
    state["b"] = jax.device_put(state["b"], jax.NamedSharding(mesh, jax.P()))
    with ModelCheckpoint("m", tmp_path, config) as ckpt:
        for _ in range(7):
            state = step(state)
            ckpt.step(state)
    merged = integrated and "remove_redundancy" not in options
    folders = [tmp_path] if merged else [tmp_path / f"rank_{rank}" for rank in range(8)]
    for folder in folders:
        assert names(folder) == ["m-1_6.ckpt", "m-1_7.ckpt"]
    assert (tmp_path / "m_strategy.ckpt").exists() is not merged
    other = jax.NamedSharding(other_mesh, jax.P("b"))
    like = {"w": jax.ShapeDtypeStruct((8, 8), np.float32, sharding=other), "b": jnp.float32(0)}
    found = ms.resume(tmp_path, like)
    assert found is not None
    assert found.state["w"].sharding == other
    assert np.array_equal(found.state["w"], whole + 7)
    assert found.state["b"] == 8
    assert found.append == {"step_num": 7}

"""``ModelCheckpoint``: what is saved, and how."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax import CheckpointConfig, ModelCheckpoint
from tests.training.loops import names, run


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

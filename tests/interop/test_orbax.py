"""MindSpore files inside Orbax's CheckpointManager: retention, asynchrony, any mesh."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from etils import epath
from orbax.checkpoint.experimental import v1

import msckpt_jax as ms
from msckpt_jax.interop.orbax import MindSporeHandler, MindSporeRestore, MindSporeSave


def state(mesh: Any, version: int) -> dict[str, Any]:
    array = np.arange(64, dtype=np.float32).reshape(8, 8) + version
    sharding = jax.NamedSharding(mesh, jax.P("x", "y"))
    return {"w": jax.device_put(array, sharding), "step": jnp.array(version)}


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("format", ["ckpt", "safetensors"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_manager_keeps_and_restores(
    tmp_path: Path, mesh: Any, other_mesh: Any, asynchronous: bool, format: str
) -> None:
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2, enable_async_checkpointing=asynchronous, create=True
    )
    step = jax.jit(lambda t: jax.tree.map(lambda x: x * 0 - 1, t), donate_argnums=0)
    with ocp.CheckpointManager(tmp_path / "run", options=options) as manager:
        for version in range(4):
            tree = state(mesh, version)
            manager.save(version, args=MindSporeSave(tree, crc_check=True, format=format))
            step(tree)  # donated at once
        manager.wait_until_finished()
        assert manager.all_steps() == [2, 3]
        sharding = jax.NamedSharding(other_mesh, jax.P("b", "a"))
        like = {
            "w": jax.ShapeDtypeStruct((8, 8), np.float32, sharding=sharding),
            "step": jax.ShapeDtypeStruct((), np.int32),
        }
        found = manager.restore(3, args=MindSporeRestore(like))
        assert found["w"].sharding == sharding
        assert np.array_equal(found["w"], np.arange(64).reshape(8, 8) + 3)
        assert manager.restore(2, args=MindSporeRestore())["step"] == 2
    file = next((tmp_path / "run" / "3").rglob(f"params.{format}"))
    assert np.array_equal(ms.load_checkpoint(file, crc_check=True)["w"], found["w"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_checkpointer_and_its_errors(tmp_path: Path, mesh: Any) -> None:
    with ocp.Checkpointer(MindSporeHandler()) as checkpointer:
        checkpointer.save(tmp_path / "a", args=MindSporeSave(state(mesh, 5), {"epoch": 2}))
        found = checkpointer.restore(tmp_path / "a", args=MindSporeRestore())
        assert (found["step"], found["epoch"]) == (5, 2)
        with pytest.raises(ms.CheckpointError, match=r"complex.*x\.real"):
            checkpointer.save(tmp_path / "b", args=MindSporeSave({"z": np.ones(2) * 1j}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ms.CheckpointError, match="no MindSpore file"):
        MindSporeHandler().restore(epath.Path(tmp_path / "empty"))


@pytest.mark.filterwarnings("ignore:.*_create_paths")  # Orbax leaves it when a save fails
@pytest.mark.parametrize("format", ["ckpt", "safetensors"])
def test_the_v1_api(tmp_path: Path, mesh: Any, other_mesh: Any, format: str) -> None:
    tree = state(mesh, 3)
    saved = MindSporeSave(tree, {"epoch": 2}, format=format)
    v1.save_checkpointables(tmp_path / "a", {"params": saved, "notes": {"lr": 0.5}})
    response = v1.save_checkpointables_async(tmp_path / "b", {"params": MindSporeSave(tree)})
    jax.jit(lambda t: jax.tree.map(lambda x: x * 0 - 1, t), donate_argnums=0)(tree)
    response.result()
    sharding = jax.NamedSharding(other_mesh, jax.P("b", "a"))
    like = {
        "w": jax.ShapeDtypeStruct((8, 8), np.float32, sharding=sharding),
        "step": jax.ShapeDtypeStruct((), np.int32),
    }
    for name in "ab":
        found = v1.load_checkpointables(tmp_path / name, {"params": MindSporeRestore(like)})
        assert found["params"]["w"].sharding == sharding
        assert np.array_equal(found["params"]["w"], np.arange(64).reshape(8, 8) + 3)
    assert v1.load_checkpointables(tmp_path / "a")["params"]["epoch"] == 2
    metadata = v1.checkpointables_metadata(tmp_path / "a").metadata
    assert metadata["params"]["w"] == ("Float32", (8, 8))
    with pytest.raises(ms.CheckpointError, match="complex"):
        v1.save_checkpointables(tmp_path / "c", {"params": MindSporeSave({"z": np.ones(2) * 1j})})
    assert not (tmp_path / "c").exists()
    gc.collect()  # the warning comes in this test

"""Files without ``convention=``: the tree's own names, else the convention that fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms


class Net(nnx.Module):
    def __init__(self, seed: int):
        rngs = nnx.Rngs(seed)
        self.conv = nnx.Conv(3, 4, (2, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.head = nnx.Linear(4, 4, rngs=rngs)


class Plain(nnx.Module):
    """Layers whose parameters both conventions name alike."""

    def __init__(self, seed: int):
        self.first = nnx.Linear(4, 4, rngs=nnx.Rngs(seed))
        self.second = nnx.Linear(4, 2, rngs=nnx.Rngs(seed + 1))


def alike(one: Any, other: Any) -> bool:
    leaves = zip(jax.tree.leaves(nnx.state(one)), jax.tree.leaves(nnx.state(other)), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


@pytest.mark.parametrize("base", ["mindspore", "mint"])
def test_the_convention_is_found(
    tmp_path: Path, base: str, caplog: pytest.LogCaptureFixture
) -> None:
    ms.save_checkpoint(Net(0), tmp_path / "a.ckpt", convention=base)
    net = Net(1)
    assert ms.load_param_into_net(net, ms.load_checkpoint(tmp_path / "a.ckpt")) == ([], [])
    assert alike(net, Net(0))
    assert f"convention='{base}' was taken" in caplog.text
    assert alike(ms.load_checkpoint(tmp_path / "a.ckpt", like=Net(1)), Net(0))


def test_conventions_that_read_alike(tmp_path: Path) -> None:
    ms.save_checkpoint(Plain(0), tmp_path / "a.ckpt", convention="mint")
    net = Plain(5)
    assert ms.load_param_into_net(net, ms.load_checkpoint(tmp_path / "a.ckpt")) == ([], [])
    assert alike(net, Plain(0))


def test_conventions_that_read_differently() -> None:
    """One file with two readings of equal size: neither is guessed."""
    net = nnx.Sequential(nnx.LayerNorm(3, rngs=nnx.Rngs(0)))
    names = ("gamma", "beta", "weight", "bias")
    file = {f"layers.0.{name}": np.full(3, i, np.float32) for i, name in enumerate(names)}
    with pytest.raises(ms.CheckpointError, match=r"'mindspore' and 'mint' read the file different"):
        ms.load_param_into_net(net, file)
    ms.load_param_into_net(net, file, convention="mint")
    assert (net.layers[0].scale[0], net.layers[0].bias[0]) == (2, 3)


def test_the_trees_own_names_come_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ms.save_checkpoint(Net(0), tmp_path / "a.ckpt")
    params = ms.load_checkpoint(tmp_path / "a.ckpt")
    ms.filter_parameters(params, "head")
    missing, unused = ms.load_param_into_net(Net(1), params)
    assert (missing, unused) == (["head.bias", "head.kernel"], [])
    assert "convention" not in caplog.text


def test_the_best_of_a_mindspore_file_without_its_head(tmp_path: Path) -> None:
    ms.save_checkpoint(Net(0), tmp_path / "a.ckpt", convention="mindspore")
    params = ms.load_checkpoint(tmp_path / "a.ckpt")
    ms.filter_parameters(params, "head")
    net = Net(1)
    missing, unused = ms.load_param_into_net(net, params)
    assert (missing, unused) == (["head.bias", "head.weight"], [])
    assert np.array_equal(net.conv.kernel[...], Net(0).conv.kernel[...])
    assert np.array_equal(net.head.kernel[...], Net(1).head.kernel[...])


def test_a_strict_load_guesses_nothing(tmp_path: Path) -> None:
    ms.save_checkpoint(Plain(0), tmp_path / "a.ckpt", convention="mindspore")
    params = ms.load_checkpoint(tmp_path / "a.ckpt")
    missing, _ = ms.load_param_into_net(Plain(1), params, strict_load=True)
    assert missing == ["first.kernel", "second.kernel"]
    assert "in part: first.bias" in missing.reasons["first.kernel"]


def test_nothing_loaded_is_an_error() -> None:
    with pytest.raises(ms.CheckpointError, match=r"nothing was loaded.*pass convention="):
        ms.load_param_into_net(Net(0), {"other.weight": np.zeros(3, np.float32)})
    with pytest.raises(ms.CheckpointError, match="nothing was loaded: of 1 name none fits; 'w'"):
        ms.load_param_into_tree({"w": jnp.zeros(3)}, {"v": np.zeros(3, np.float32)})
    assert ms.load_param_into_tree({}, {"v": np.zeros(3)})[0] == {}


def test_a_run_goes_on_under_mindspores_names(tmp_path: Path) -> None:
    config = ms.CheckpointConfig(save_checkpoint_steps=1, convention="mindspore")
    with ms.ModelCheckpoint("net", tmp_path, config) as saved:
        saved.step({"net": Plain(0), "step": 7}, epoch=1)
    found = ms.resume(tmp_path, like={"net": Plain(3), "step": 0})
    assert found is not None
    assert alike(found.state["net"], Plain(0))
    assert (found.state["step"], found.append) == (7, {})

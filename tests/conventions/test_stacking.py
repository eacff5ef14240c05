"""Leaves with a layer axis become a parameter of each layer, and come back."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from flax import linen, nnx

import msckpt_jax as ms
from msckpt_jax.conventions.convention import Convention
from tests.conventions.test_convention import leaf_bytes, mapped, sharded

LAYERS = 4


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, rngs=rngs, decode=False)
        self.up = nnx.Linear(8, 8, rngs=rngs)
        self.scale = nnx.Param(jax.random.normal(rngs.params(), (8,)))
        self.drop = nnx.Dropout(0.1, rngs=rngs)


class Net(nnx.Module):
    """A network of stacked layers, or of the same layers in a list."""

    def __init__(self, rngs: nnx.Rngs, stacked: bool = True, axis: int = 0):
        self.embed = nnx.Embed(16, 8, rngs=rngs)
        if stacked:
            make = nnx.vmap(Block, in_axes=0, out_axes=nnx.StateAxes({nnx.Param: axis, ...: 0}))
            self.layers = make(rngs.split(LAYERS))
        else:
            self.layers = nnx.List([Block(rngs) for _ in range(LAYERS)])
        self.head = nnx.Linear(8, 4, rngs=rngs)


def params(net: Any) -> Any:
    return nnx.state(net, nnx.Param)


def single(net: Net, axis: int = 0) -> Net:
    """The network of the same weights whose layers are modules of their own."""
    out = Net(nnx.Rngs(9), stacked=False)
    for name in ("embed", "head"):
        nnx.update(getattr(out, name), params(getattr(net, name)))
    for index, layer in enumerate(out.layers):
        taken = jax.tree.map(partial(jnp.take, indices=index, axis=axis), params(net.layers))
        nnx.update(layer, taken)
    return out


def entries(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (str(value.dtype), value.shape, np.asarray(value).tobytes())
            for name, value in ms.load_checkpoint(path).items()}  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("base", ["mindspore", "mint"])
def test_the_file_of_single_layers(tmp_path: Path, base: str, axis: int) -> None:
    """The modules tell that they are stacked, and on which axis."""
    net = Net(nnx.Rngs(0), axis=axis)
    how = Convention(base=base, module=net)
    ms.save_checkpoint(params(net), tmp_path / "stacked.ckpt", convention=how)
    alone = single(net, axis)
    ms.save_checkpoint(params(alone), tmp_path / "single.ckpt",
                       convention=Convention(base=base, module=alone))  # fmt: skip
    assert entries(tmp_path / "stacked.ckpt") == entries(tmp_path / "single.ckpt")
    other = Net(nnx.Rngs(1), axis=axis)
    report = ms.load_param_into_net(
        other, ms.load_checkpoint(tmp_path / "single.ckpt"), strict_load=True, convention=base
    )
    assert [name for name in report[0] if "rngs" not in name] == report[1] == []
    assert leaf_bytes(params(other)) == leaf_bytes(params(net))


def test_told_by_the_user(tmp_path: Path) -> None:
    tree = {"layers": {"w": np.arange(24, dtype=np.int32).reshape(3, 2, 4)}, "b": np.ones(3, "f4")}
    how = Convention(stacked={"layers": 0})
    ms.save_checkpoint(tree, tmp_path / "a.ckpt", convention=how)
    found = ms.load_checkpoint(tmp_path / "a.ckpt")
    assert list(found) == ["b", "layers.0.w", "layers.1.w", "layers.2.w"]
    for index in range(3):
        np.testing.assert_array_equal(found[f"layers.{index}.w"], tree["layers"]["w"][index])
    like = jax.tree.map(np.zeros_like, tree)
    back, *report = ms.load_param_into_tree(like, found, convention=how)
    assert report == [[], []]
    jax.tree.map(np.testing.assert_array_equal, back, tree)
    assert mapped(tree, Convention(stacked={"layers": 1})) == {
        "b": (3,), "layers.0.w": (3, 4), "layers.1.w": (3, 4),
    }  # fmt: skip
    assert set(mapped(tree, Convention(stacked={r"b|layers\.w": 0}))) == {
        "b.0", "b.1", "b.2", "layers.w.0", "layers.w.1", "layers.w.2",
    }  # fmt: skip


def test_stacks_in_stacks(tmp_path: Path) -> None:
    """Experts on axis 0 of layers on axis 1, as MaxText keeps them."""
    w = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    tree = {"layers": {"experts": {"w": w}, "norm": np.ones((5, 3), np.float32)}}
    how = Convention(stacked={"layers": 1, r"layers\.experts": 0})
    ms.save_checkpoint(tree, tmp_path / "a.ckpt", convention=how)
    found = ms.load_checkpoint(tmp_path / "a.ckpt")
    assert len(found) == 2 * 3 + 3
    np.testing.assert_array_equal(found["layers.2.experts.1.w"], w[1, 2])
    assert found["layers.2.norm"].shape == (5,)
    back = ms.load_checkpoint(tmp_path / "a.ckpt", like=tree, convention=how)
    assert leaf_bytes(back) == leaf_bytes(tree)


class Scanned(linen.Module):
    axis: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        step = linen.scan(Step, variable_axes={"params": self.axis},
                          split_rngs={"params": True}, length=LAYERS)  # fmt: skip
        return linen.Dense(3)(step(name="layers")(x, None)[0])


class Step(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array, _: Any) -> tuple[jax.Array, None]:
        scale = self.param("scale", linen.initializers.ones, (x.shape[-1],))
        return linen.Dense(8)(x) * scale, None


@pytest.mark.parametrize("axis", [0, 1])
def test_linen_scan(axis: int) -> None:
    module, x = Scanned(axis), jnp.ones((1, 8))
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    found = mapped(variables, Convention(module=module, inputs=(x,)))
    assert found == {
        "Dense_0.weight": (3, 8), "Dense_0.bias": (3,),
        **{f"layers.{i}.Dense_0.weight": (8, 8) for i in range(LAYERS)},
        **{f"layers.{i}.Dense_0.bias": (8,) for i in range(LAYERS)},
        **{f"layers.{i}.scale": (8,) for i in range(LAYERS)},
    }  # fmt: skip


def test_a_network_that_is_a_stack() -> None:
    stack = nnx.eval_shape(
        lambda: nnx.vmap(lambda r: nnx.Conv(4, 6, (3,), rngs=r))(nnx.Rngs(0).split(5))
    )
    shapes = {f"{i}.weight": (6, 4, 1, 3) for i in range(5)}
    assert mapped(stack) == shapes | {f"{i}.bias": (6,) for i in range(5)}


def test_an_axis_left_open() -> None:
    """As many layers as inputs: without a bias the kernel alone does not tell."""
    make = nnx.vmap(lambda r: nnx.Linear(4, 6, use_bias=False, rngs=r))
    net = nnx.eval_shape(lambda: nnx.Dict(layers=make(nnx.Rngs(0).split(4))))
    with pytest.raises(ms.CheckpointError, match=r"stacked=\{'layers': axis\}.* axes 0 or 1"):
        mapped(net)
    assert mapped(net, Convention(stacked={"layers": 0}))["layers.3.weight"] == (6, 4)


def test_optimizer_states(tmp_path: Path) -> None:
    """The moments follow their weights, those that MindSpore has no names for, too."""
    net = Net(nnx.Rngs(0))
    optimizer = optax.chain(optax.adam(1e-3), optax.ema(0.9))
    tree = {"net": params(net), "opt": optimizer.init(params(net))}
    how = Convention(module=net)
    names = set(mapped(tree, how))
    weights = set(mapped(params(net), how))
    for prefix in ("", "moment1.", "moment2."):
        assert {prefix + name for name in weights} <= names
    assert "opt.1.ema.layers.3.up.kernel" in names
    assert not any(".layers.up." in name for name in names)
    filled = jax.tree.map(lambda x: x + jax.random.normal(jax.random.key(x.size), x.shape)
                          if x.ndim else x, tree)  # fmt: skip
    ms.save_checkpoint(filled, tmp_path / "a.ckpt", convention=how)
    back = ms.load_checkpoint(tmp_path / "a.ckpt", like=tree, convention=how)
    assert leaf_bytes(back) == leaf_bytes(filled)


def test_training_goes_on(tmp_path: Path) -> None:
    """``ModelCheckpoint`` and ``resume`` take the convention along."""
    net = Net(nnx.Rngs(0))
    config = ms.CheckpointConfig(save_checkpoint_steps=1, convention=Convention(module=net))
    with ms.ModelCheckpoint("net", tmp_path, config) as ckpt:
        ckpt.step(params(net))
    assert "layers.3.up.weight" in ms.open_checkpoint(tmp_path / "net-1_1.ckpt").names
    back = ms.resume(tmp_path, params(Net(nnx.Rngs(1))), convention=Convention(module=net))
    assert back is not None
    assert leaf_bytes(back.state) == leaf_bytes(params(net))


@pytest.mark.parametrize("axis", [0, 1])
def test_sharded_is_the_same_file(tmp_path: Path, mesh: Any, other_mesh: Any, axis: int) -> None:
    """Whether or not the layers themselves lie on different devices."""
    net = Net(nnx.Rngs(0), axis=axis)
    how, state = Convention(module=net), params(net)
    split = sharded(state, mesh)
    for name, tree in (("single", state), ("eight", split)):
        ms.save_checkpoint(tree, tmp_path / f"{name}.ckpt", convention=how)
    assert (tmp_path / "single.ckpt").read_bytes() == (tmp_path / "eight.ckpt").read_bytes()
    like = sharded(state, other_mesh)
    back = ms.load_checkpoint(tmp_path / "eight.ckpt", like=like, convention=how)
    assert leaf_bytes(back) == leaf_bytes(state)
    assert jax.tree.map(lambda x: x.sharding, back) == jax.tree.map(lambda x: x.sharding, like)
    ms.save_checkpoint(split, tmp_path / "r.ckpt", integrated_save=False, convention=how)
    back = ms.load_checkpoint(
        tmp_path, strategy=tmp_path / "strategy.ckpt", like=split, convention=how
    )
    assert leaf_bytes(back) == leaf_bytes(state)


def test_layers_of_different_dtypes() -> None:
    """The values of all layers are kept: bfloat16 and float32 make float32."""
    like = {"layers": {"w": np.zeros((2, 3), np.float32)}}
    how = Convention(stacked={"layers": 0})
    file = {"layers.0.w": np.full(3, 1.5, ml_dtypes.bfloat16), "layers.1.w": np.full(3, 0.1, "f4")}
    back, *_ = ms.load_param_into_tree(like, file, convention=how)
    np.testing.assert_array_equal(back["layers"]["w"], np.float32([[1.5] * 3, [0.1] * 3]))
    file["layers.0.w"] = np.full(3, 2**24 + 1, np.int32)
    with pytest.raises(ms.CheckpointError, match="partly of floats, partly of integers"):
        ms.load_param_into_tree(like, file, convention=how)


def test_a_missing_layer() -> None:
    like = {"layers": {"w": np.zeros((2, 3), np.float32)}}
    how = Convention(stacked={"layers": 0})
    file = {"layers.0.w": np.ones(3, "f4"), "layers.2.w": np.ones(3, "f4")}
    with pytest.raises(ms.CheckpointError, match="nothing"):
        ms.load_param_into_tree(like, file, convention=how)


@pytest.mark.parametrize(
    ("stacked", "text"),
    [
        ({"layer": 0}, r"no subtree has a path that stacked=\{'layer': 0\} matches .*found layers"),
        ({"layers": 2}, r"'layers\.b': .* no such layer axis.* axis 2, found shape \[3, 2\]"),
        ({"layers": 0}, "no such layer axis.*expected 3 layers on axis 0"),
        ({"layers": 1, r"layers\.w": 1}, "names one axis of this leaf twice"),
    ],
)
def test_refused(stacked: Any, text: str) -> None:
    tree = {"layers": {"b": np.ones((3, 2), "f4"), "w": np.ones((2, 2, 4), "f4")}}
    with pytest.raises(ms.CheckpointError) as caught:
        mapped(tree, Convention(stacked=stacked))
    assert re.search(text, str(caught.value).replace("\n", " ")), caught.value


@pytest.mark.parametrize("axis", [-1, True, "0"])
def test_no_axis(axis: Any) -> None:
    with pytest.raises(ValueError, match="must be an axis, 0 or more"):
        Convention(stacked={"layers": axis})


def test_unclear_leaves_are_told_once() -> None:
    tree = {"layers": {"kernel": np.ones((3, 4, 4), "f4")}}
    with pytest.raises(ms.AmbiguousLeafError) as caught:
        Convention(stacked={"layers": 0}).targets(tree)
    assert list(caught.value.readings) == ["layers.kernel"]
    how = Convention(stacked={"layers": 0}, layers={"layers": "Dense"})
    assert mapped(tree, how)["layers.1.weight"] == (4, 4)

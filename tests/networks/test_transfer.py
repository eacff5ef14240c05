"""Transfer learning, from a CheckPoint that MindSpore wrote to one that MindSpore loads."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sklearn.datasets import load_digits

import msckpt_jax as ms
from msckpt_jax.networks import resnet
from tests.networks.conftest import CASES, ask, filled, request

HEAD = ["head.dense.bias", "head.dense.weight"]


def by_filter(parameters: ms.Parameters) -> None:
    assert sorted(ms.filter_parameters(parameters, "head")) == HEAD


def by_hand(parameters: ms.Parameters) -> None:
    for name in list(parameters):
        if name in HEAD:
            del parameters[name]


@pytest.mark.parametrize("delete", [by_filter, by_hand])
def test_only_the_head_is_not_loaded(answers: Any, folder: Path, delete: Any) -> None:
    parameters = ms.load_checkpoint(folder / "vision-50" / "theirs.ckpt")
    net = filled(functools.partial(resnet.resnet50, 2))
    before = net.head.dense.kernel[...]
    with pytest.raises(ms.CheckpointError, match=r"head\.dense"):
        ms.load_param_into_net(net, parameters, convention="mindspore")
    delete(parameters)
    not_loaded, unused = ms.load_param_into_net(net, parameters, convention="mindspore")
    assert (sorted(not_loaded), unused) == (HEAD, [])
    np.testing.assert_array_equal(net.head.dense.kernel[...], before)
    conv = net.backbone.layer4[2].conv3.features[0].kernel[...]
    expected = parameters["backbone.layer4.2.conv3.features.0.weight"]
    np.testing.assert_array_equal(conv[0, 0], expected[:, :, 0, 0].T)


def ones_and_zeros() -> tuple[np.ndarray, np.ndarray]:
    """32 images ``[32, 32, 3]`` of the digits 0 and 1, and which they are."""
    pixels, labels = load_digits(n_class=2, return_X_y=True)
    images = (pixels[:32].reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    return images.repeat(4, 1).repeat(4, 2).repeat(3, 3), labels[:32]


def shard(net: nnx.Module, mesh: jax.sharding.Mesh) -> None:
    """Kernels by their outputs over ``y``, where they divide; the rest on all devices."""

    def put(x: jax.Array) -> jax.Array:
        split = x.ndim > 1 and x.shape[-1] % mesh.shape["y"] == 0
        spec = jax.P(*[None] * (x.ndim - 1), "y") if split else jax.P()
        return jax.device_put(x, jax.NamedSharding(mesh, spec))

    nnx.update(net, jax.tree.map(put, nnx.state(net)))


@nnx.jit
def train(net: nnx.Module, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array) -> jax.Array:
    def loss(net: Any) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(net(x), y).mean()

    value, gradients = nnx.value_and_grad(loss)(net)
    optimizer.update(net, gradients)
    return value


def test_fine_tuned_on_a_mesh(answers: Any, folder: Path, tmp_path: Path) -> None:
    parameters = ms.load_checkpoint(folder / "mindcv-18" / "theirs.ckpt")
    ms.filter_parameters(parameters, "classifier")
    auto = jax.sharding.AxisType.Auto  # nnx.Conv leaves the shardings of its outputs to JAX
    mesh = jax.make_mesh((2, 4), ("x", "y"), (auto, auto))
    net = filled(functools.partial(resnet.resnet18, 2))
    shard(net, mesh)
    not_loaded, unused = ms.load_param_into_net(net, parameters, convention=resnet.MINDCV)
    assert (sorted(not_loaded), unused) == (["classifier.bias", "classifier.weight"], [])
    kernel = net.backbone.layer1[0].conv1.features[0].kernel[...]
    assert kernel.sharding.spec == jax.P(None, None, None, "y")

    optimizer = nnx.Optimizer(net, optax.adam(1e-3), wrt=nnx.Param)
    by_rows = jax.NamedSharding(mesh, jax.P("x"))
    images, labels = (jax.device_put(side, by_rows) for side in ones_and_zeros())
    losses = [float(train(net, optimizer, images, labels)) for _ in range(5)]
    assert losses[-1] < 0.2 * losses[0]

    ms.save_checkpoint(net, tmp_path / "tuned.ckpt", convention=resnet.MINDCV)
    inputs = np.asarray(images[:4]).transpose(0, 3, 1, 2)
    case = CASES["mindcv-18"]._replace(args=[18, 2], inputs=[inputs])
    answer = ask({"tuned": request(case, tmp_path, tmp_path / "tuned.ckpt")}, tmp_path)["tuned"]
    assert (answer["missing"], answer["unused"]) == ([], [])
    net.eval()
    with np.load(tmp_path / "outputs.npz") as outputs:
        theirs = outputs["arr_0"]
    np.testing.assert_allclose(net(jnp.asarray(images[:4])), theirs, atol=1e-4, rtol=1e-4)


def test_a_pretrained_bert_has_more_in_front(answers: Any, folder: Path) -> None:
    """The zoo saves the network in its loss: ``bert.bert.``, and heads of pre-training."""
    saved = ms.load_checkpoint(folder / "bert" / "theirs.ckpt")
    parameters = {f"bert.bert.{name}": value for name, value in saved.items()}
    parameters["bert.cls2.dense.weight"] = np.zeros((2, 32), np.float32)
    net = filled(CASES["bert"].make)
    not_loaded, unused = ms.load_param_into_net(net, parameters, convention="mindspore")
    assert (not_loaded, unused) == ([], ["bert.cls2.dense.weight"])
    kernel = net.bert_encoder.layers[1].attention.attention.value_layer.kernel[...]
    name = "bert_encoder.layers.1.attention.attention.value_layer.weight"
    np.testing.assert_array_equal(kernel, saved[name].T)

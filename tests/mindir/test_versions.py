"""Files that MindSpore 2.0.0 and 2.7 to 2.10 exported give the numbers that it computed.

The archives are made by ``versions/make.py``, which says how.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax.api import targets

from .samples import numbers, unpacked

VERSIONS = ("2.0.0", "2.7.0", "2.7.2", "2.8.0", "2.9.0", "2.10.0")
NETWORKS = ("mlp", "cnn", "flow", "lstm", "block")


@pytest.mark.parametrize("version", VERSIONS)
def test_numbers(tmp_path: Path, version: str) -> None:
    folder = unpacked(version, tmp_path)
    for network in NETWORKS:
        inputs, wanted = numbers(folder, network)
        found = jax.tree.leaves(ms.load(folder / f"{network}.mindir")(*inputs))
        for got, want in zip(found, wanted, strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_allclose(got, want, 2e-6, 2e-6, err_msg=network)


@pytest.mark.parametrize("version", VERSIONS)
def test_producer(tmp_path: Path, version: str) -> None:
    file = unpacked(version, tmp_path) / "mlp.mindir"
    content, _ = targets.named("MINDIR").inspect(
        file, lambda name: True, dec_key=None, dec_mode="AES-GCM"
    )
    assert content["producer"] == f"MindSpore {version}"
    found = {row["name"] for row in content["parameters"]}
    assert found == {"first.weight", "first.bias", "second.weight", "second.bias"}


class Cnn(nnx.Module):
    """The network ``Cnn`` of ``versions/make.py``, as one writes it in Flax."""

    def __init__(self, rngs: nnx.Rngs):
        self.features = nnx.List([
            nnx.Conv(2, 4, (3, 3), use_bias=False, rngs=rngs),
            nnx.BatchNorm(4, use_running_average=True, rngs=rngs),
            nnx.relu,
            lambda x: nnx.max_pool(x, (2, 2), (2, 2)),
            nnx.Conv(4, 4, (3, 3), 2, padding=1, feature_group_count=2, rngs=rngs),
        ])  # fmt: skip
        self.head = nnx.Linear(4, 5, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        for layer in self.features:
            x = layer(x)
        return self.head(nnx.avg_pool(x, (2, 2), (1, 1)).mean((1, 2)))


@pytest.mark.parametrize("version", ["2.0.0", "2.10.0"])
def test_weights_go_into_a_flax_network(tmp_path: Path, version: str) -> None:
    folder = unpacked(version, tmp_path)
    (x,), (wanted,) = numbers(folder, "cnn")
    net = Cnn(nnx.Rngs(0))
    weights = ms.load(folder / "cnn.mindir").parameters
    assert ms.load_param_into_net(net, weights, convention="mindspore") == ([], [])
    np.testing.assert_allclose(net(jnp.transpose(x, (0, 2, 3, 1))), wanted, 2e-6, 2e-6)
    ms.convert_checkpoint(folder / "cnn.mindir", folder / "cnn.ckpt")
    again = Cnn(nnx.Rngs(1))
    ms.load_checkpoint(folder / "cnn.ckpt", again, convention="mindspore")
    assert jax.tree.all(jax.tree.map(np.array_equal, nnx.state(net), nnx.state(again)))

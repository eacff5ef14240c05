"""What ``export`` writes, ``load`` reads: the same numbers, weights and notes."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms

from ..exporting import CASES, Mlp


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("options", [{}, {"exact": True, "fuse": False, "target": "cpu"}])
def test_same_numbers(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    net, inputs = CASES[name]
    ms.export(net, *inputs, file_name=tmp_path / "a.mindir", durable=False, **options)
    function = ms.load(tmp_path / "a.mindir")
    found = jax.tree.leaves(jax.jit(function)(*jax.tree.leaves(inputs)))
    wanted = jax.tree.leaves(jax.jit(net)(*inputs))
    assert [(a.dtype, a.shape) for a in found] == [(a.dtype, a.shape) for a in wanted]
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(
            got.astype(jnp.promote_types(got.dtype, jnp.float32)), want, 1e-4, 1e-5
        )


def test_weights_have_their_names(tmp_path: Path) -> None:
    net = Mlp()
    ms.export(net, np.ones((2, 3), np.float32), file_name=tmp_path / "a.mindir")
    ms.save_checkpoint(net, tmp_path / "a.ckpt")
    function = ms.load(tmp_path / "a.mindir")
    saved = ms.load_checkpoint(tmp_path / "a.ckpt")
    for name, array in function.parameters.items():
        np.testing.assert_array_equal(array, saved[name])
    assert len(function.parameters) == len(jax.tree.leaves(nnx.state(net, nnx.Param)))


def test_numpy_arrays_without_jit(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 4)).astype(np.float32)
    ms.export(jnp.linalg.inv, x, file_name=tmp_path / "a.mindir")
    np.testing.assert_allclose(ms.load(tmp_path / "a.mindir")(x), np.linalg.inv(x), 1e-3, 1e-5)


def test_it_trains(tmp_path: Path) -> None:
    net, x = Mlp(), np.ones((2, 3), np.float32)
    ms.export(net, x, file_name=tmp_path / "a.mindir")
    function = ms.load(tmp_path / "a.mindir")
    found = jax.jit(jax.grad(lambda p: jnp.sum(function.apply(p, x)[:, 0])))(function.parameters)
    wanted = nnx.grad(lambda net: jnp.sum(net(x)[:, 0]))(net)
    for leaf, name in ((wanted.first.kernel, "first.kernel"), (wanted.second.bias, "second.bias")):
        match = [g for n, g in found.items() if n == name]
        np.testing.assert_allclose(match[0], leaf[...], 1e-3, 1e-5)


def test_dynamic_sizes(tmp_path: Path) -> None:
    net = Mlp()
    x = jax.ShapeDtypeStruct((None, 3), jnp.float32)
    ms.export(net, x, file_name=tmp_path / "a.mindir")
    function = ms.load(tmp_path / "a.mindir")
    assert function.inputs[0].shape == (None, 3)
    for size in (1, 5):
        given = np.random.default_rng(size).standard_normal((size, 3)).astype(np.float32)
        np.testing.assert_allclose(function(given), net(given), 1e-4, 1e-5)


@pytest.mark.parametrize("split", [None, 8])
def test_weights_stay_in_the_file(tmp_path: Path, split: int | None) -> None:
    weights = {"w": np.arange(12, dtype=np.float32).reshape(3, 4)}
    net: Any = (lambda w, x: x @ w["w"], weights)
    x = np.ones((2, 3), np.float32)
    file = ms.export(net, x, file_name=tmp_path / "a.mindir", split_bytes=split).file
    function = ms.load(file)
    base: Any = function.parameters["w"]
    assert not base.flags.writeable
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base.obj, mmap.mmap)
    np.testing.assert_array_equal(function(x), np.tile(weights["w"].sum(0), (2, 1)))


def test_a_loop_of_known_length_differentiates(tmp_path: Path) -> None:
    def net(x: Any, w: Any) -> Any:
        return jax.lax.scan(lambda c, y: (jnp.tanh(c @ w + y), c.sum()), jnp.zeros(4), x)

    x = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    w = np.random.default_rng(1).standard_normal((4, 4)).astype(np.float32)
    exported = ms.export(net, x, w, file_name=tmp_path / "a.mindir")
    assert any(node.op == "While" for node in exported.graph.nodes)
    function = ms.load(tmp_path / "a.mindir")
    found = jax.grad(lambda w: function(x, w)[1].sum())(w)
    wanted = jax.grad(lambda w: net(x, w)[1].sum())(w)
    np.testing.assert_allclose(found, wanted, 1e-3, 1e-3)

"""Scans over layers: loops over stacked parameters, or layers with parameters of their own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from flax import nnx
from jax import Array, lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import msckpt_jax as ms

X = np.random.default_rng(0).standard_normal((2, 5, 16)).astype(np.float32)


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(16, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 16, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(16, 32, rngs=rngs), nnx.Linear(32, 16, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = x + self.attention(self.norm(x))
        return x + self.down(nnx.gelu(self.up(x)))


class Net(nnx.Module):
    """Layers that are stacked along an axis, and scanned."""

    def __init__(self, axis: int = 0) -> None:
        @nnx.split_rngs(splits=3)
        @nnx.vmap(in_axes=(0,), out_axes=axis)
        def stack(rngs: nnx.Rngs) -> Block:
            return Block(rngs)

        self.layers, self.axis = stack(nnx.Rngs(0)), axis
        self.head = nnx.Linear(16, 3, rngs=nnx.Rngs(1))

    def __call__(self, x: Array) -> Array:
        @nnx.scan(in_axes=(self.axis, nnx.Carry), out_axes=nnx.Carry)
        def forward(layer: Block, x: Array) -> Array:
            return layer(x)

        return self.head(forward(self.layers, x))


@pytest.mark.parametrize("format", ["ONNX", "AIR"])
def test_layers_are_a_loop_over_stacked_parameters(format: str, tmp_path: Path) -> None:
    done = ms.export(Net(), X, file_name=tmp_path / "net", file_format=format, verify=True)
    graph = done.graph
    assert graph is not None
    assert graph.parameters["layers.up.kernel"].type.shape == (3, 16, 32)
    assert len(graph.parameters) == 16
    (loop,) = (node for node in graph.nodes if node.op == "While")
    inside = Counter(node.op for node in loop.bodies[1].walk())
    assert inside["LayerNorm"] == inside["Softmax"] == inside["GeLU"] == 1
    assert inside["Gather"] == 14
    assert not inside["Slice"]


def test_attention_inside_of_loops_and_branches(tmp_path: Path) -> None:
    def branches(p: Array, x: Array) -> Array:
        def attention(x: Array) -> Array:
            return jax.nn.dot_product_attention(x, x, x, is_causal=True)

        return lax.cond(p > 0, attention, lambda x: x, x)

    for function, inputs in ((Net(), (X,)), (branches, (np.float32(1), X.reshape(2, 5, 2, 8)))):
        done = ms.export(
            function, *inputs, file_name=tmp_path / "net", file_format="ONNX", opset=23,
            verify=True,
        )  # fmt: skip
        nodes = onnx.load(done.file).graph.node
        inner = [n for node in nodes for a in node.attribute for n in a.g.node]
        assert Counter(node.op_type for node in inner)["Attention"] == 1
        onnx.checker.check_model(done.file, full_check=True)


@pytest.mark.parametrize(("format", "axis"), [("MINDIR", 0), ("ONNX", 1), ("AIR", 1)])
def test_layers_with_parameters_of_their_own(format: str, axis: int, tmp_path: Path) -> None:
    net = Net(axis)
    done = ms.export(
        net, X, file_name=tmp_path / "net", file_format=format, unroll_layers=True,
        verify=format == "ONNX",
    )  # fmt: skip
    graph = done.graph
    assert graph is not None
    assert "While" not in {node.op for node in graph.walk()}
    parameters = graph.parameters
    assert len(parameters) == 3 * 14 + 2
    if format == "ONNX":
        return
    loaded = ms.load(done.file)
    assert {*loaded.parameters} == {*parameters}
    for name, stack in (("up.kernel", net.layers.up.kernel), ("norm.bias", net.layers.norm.bias)):
        for i in range(3):
            layer = np.moveaxis(np.asarray(stack[...]), axis, 0)[i]
            np.testing.assert_array_equal(loaded.parameters[f"layers.{i}.{name}"], layer)
    np.testing.assert_allclose(loaded(X), net(X), rtol=1e-5, atol=1e-5)


def _mixed(weights: Any, x: Array, caches: Array) -> Any:
    def step(x: Array, layer: Any) -> Any:
        (w, b), cache = layer
        x = jnp.tanh(x @ w + b + cache)
        return x, x.sum(0)

    @jax.jit
    @jax.checkpoint
    def scanned(x: Array) -> Any:
        kernels = weights["stack"]["w"].astype(jnp.bfloat16).astype(jnp.float32)
        xs = (kernels.transpose(0, 2, 1), weights["stack"]["b"]), caches
        return lax.scan(step, x, xs, reverse=True)

    once, rows = scanned(x)
    twice, _ = scanned(once)
    return once, rows, twice + weights["stack"]["b"].sum()


def test_scans_of_weights_and_inputs_twice(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    w, b, x, caches = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((40, 4, 4), (40, 4), (2, 4), (40, 2, 4))
    )
    net = (_mixed, {"stack": {"w": w, "b": b}})
    done = ms.export(net, x, caches, file_name=tmp_path / "net", unroll_layers=True)
    loaded = ms.load(done.file)
    # The sum takes the whole of the biases, too.
    names = [f"stack.{i}.{name}" for i in range(40) for name in "bw"]
    assert sorted(loaded.parameters) == sorted([*names, "stack.b"])
    for got, want in zip(loaded(x, caches), _mixed(net[1], x, caches), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_stacks_on_a_mesh_are_written_shard_by_shard(tmp_path: Path) -> None:
    mesh = jax.make_mesh((2, 4), ("l", "m"), axis_types=(AxisType.Auto,) * 2)
    w = jnp.arange(4 * 8 * 8, dtype=jnp.float32).reshape(4, 8, 8) / 256
    sharded = jax.device_put(w, jax.NamedSharding(mesh, P("l", None, "m")))

    def net(weights: Any, x: Array) -> Array:
        return lax.scan(lambda x, w: (x @ w, None), x, weights["w"])[0]

    x = jnp.ones((2, 8))
    done = ms.export((net, {"w": sharded}), x, file_name=tmp_path / "net", unroll_layers=True)
    loaded = ms.load(done.file)
    assert sorted(loaded.parameters) == ["w.0", "w.1", "w.2", "w.3"]
    for i in range(4):
        np.testing.assert_array_equal(loaded.parameters[f"w.{i}"], w[i])


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "int4", "complex64"])
def test_dtypes_that_formats_store_in_other_ways(dtype: str, tmp_path: Path) -> None:
    def net(weights: Any, x: Array) -> Array:
        return lax.scan(lambda x, w: (x + w.real.astype(x.dtype), None), x, weights["w"])[0]

    w = jnp.arange(12).reshape(3, 4).astype(dtype)
    done = ms.export(
        (net, {"w": w}), jnp.ones(4), file_name=tmp_path / "net", file_format="AIR",
        unroll_layers=True, verify=True,
    )  # fmt: skip
    assert done.graph is not None
    assert [*done.graph.parameters] == ["w.0", "w.1", "w.2"]


def test_a_note_where_nothing_is_scanned(tmp_path: Path) -> None:
    done = ms.export(lambda x: x + 1, X, file_name=tmp_path / "net", unroll_layers=True)
    assert "no scan has weights as its inputs" in done.notes[0]

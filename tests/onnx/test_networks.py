"""Whole networks as ONNX: valid, JAX's numbers in onnxruntime, and no operator too many."""

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
from onnx import helper

import msckpt_jax as ms
from msckpt_jax.onnx import runner
from tests.exporting import CASES
from tests.networks.small import NETWORKS

#: What stays one operator. Transposes of weights are not counted: a CheckPoint's are channels last.
#: An attention has five: of query, key, value and result, and of the key's matrices.
OPERATORS: dict[str, dict[str, int]] = {
    "ResNet-50": {"Transpose": 1, "Conv": 53, "BatchNormalization": 53, "Relu": 49, "Pad": 1},
    "BERT": {"Transpose": 10, "LayerNormalization": 5, "Softmax": 2, "Tanh": 3},
    "YOLOv3": {"Transpose": 10, "Conv": 75, "LeakyRelu": 20, "Pad": 0},
    "YOLOv4": {"Transpose": 10, "Conv": 110, "LeakyRelu": 35, "Exp": 72, "Log": 0},
    "GPT-2": {"Transpose": 15, "LayerNormalization": 7, "Softmax": 3, "Tanh": 3},
    "ViT": {"Transpose": 12, "LayerNormalization": 4, "Softmax": 2, "Tanh": 2},
    "UNet": {"Transpose": 2, "Conv": 6, "ConvTranspose": 2, "Pad": 0},
    "LSTM": {"Reciprocal": 42, "Tanh": 28},
    "BiLSTM": {"Reciprocal": 63, "Tanh": 42},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str, tmp_path: Path) -> None:
    small = NETWORKS[name]
    out = ms.export(small.network(), *small.inputs, file_name=tmp_path / "net", engine="native",
                    file_format="ONNX", verify=True)  # fmt: skip
    onnx.checker.check_model(str(out.file), full_check=True)
    graph = onnx.load(out.file).graph
    out.file.unlink()  # 250 MB for a YOLO
    assert out.difference is not None
    assert out.difference < 1e-4
    counted = counts(graph)
    assert {op: counted[op] for op in OPERATORS[name]} == OPERATORS[name]
    # Of BERT's mask, and of the NaN of each of two max-pools.
    assert counted["Cast"] <= (name == "BERT") + counted["MaxPool"] / 2


def counts(graph: Any) -> Counter[str]:
    """How often each operator is computed, those of weights alone left out."""
    weights = {tensor.name for tensor in graph.initializer}
    return Counter(node.op_type for node in graph.node if not weights.issuperset(node.input))


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "ViT"])
def test_softmax_stays_at_a_batch_of_one(name: str, tmp_path: Path) -> None:
    small = NETWORKS[name]
    out = ms.export(small.network(), *(x[:1] for x in small.inputs), file_name=tmp_path / "net",
                    file_format="ONNX", verify=True)  # fmt: skip
    counted = counts(onnx.load(out.file).graph)
    assert counted["Softmax"] == OPERATORS[name]["Softmax"]
    assert counted["Transpose"] <= OPERATORS[name]["Transpose"]


@pytest.mark.parametrize(("name", "count"), [("BERT", 2), ("GPT-2", 3), ("ViT", 2)])
def test_attention_where_the_opset_has_it(name: str, count: int, tmp_path: Path) -> None:
    small = NETWORKS[name]
    out = ms.export(small.network(), *small.inputs, file_name=tmp_path / "net", opset=23,
                    file_format="ONNX", verify=True)  # fmt: skip
    onnx.checker.check_model(str(out.file), full_check=True)
    counted = counts(onnx.load(out.file).graph)
    assert (counted["Attention"], counted["Softmax"]) == (count, 0)


@pytest.mark.parametrize("shape", [("b", 6, 16), ("b", "t", 16)])
def test_attention_of_dynamic_sizes(shape: Any, tmp_path: Path) -> None:
    net = nnx.MultiHeadAttention(4, 16, decode=False, rngs=nnx.Rngs(0))
    spec = jax.ShapeDtypeStruct(shape, np.float32)
    out = ms.export(net, spec, file_name=tmp_path / "net", file_format="ONNX", opset=23,
                    verify=True)  # fmt: skip
    counted = counts(onnx.load(out.file).graph)
    assert (counted["Attention"], counted["Softmax"]) == (1, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_attention_of_rows_that_are_masked_altogether(dtype: Any, tmp_path: Path) -> None:
    q, k, v = np.random.default_rng(0).standard_normal((3, 2, 5, 3, 4)).astype(dtype)
    mask = np.tril(np.ones((5, 5), bool), -1)  # the first row sees nothing

    def net(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return jax.nn.dot_product_attention(q, k, v, mask=mask[None, None])

    out = ms.export(net, q, k, v, file_name=tmp_path / "net", file_format="ONNX", opset=23,
                    verify=True)  # fmt: skip
    counted = counts(onnx.load(out.file).graph)
    assert counted["Attention"] == (dtype == np.float32)


def _attention(scored: Any) -> Any:
    """Attention by hand: queries and keys of as many tokens as there are."""

    def net(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
        weights = jax.nn.softmax(scored(jnp.einsum("bqhd,bkhd->bhqk", q, k) / 2, mask))
        return jnp.einsum("bhqk,bkhd->bqhd", weights, v)

    return net


_TRIANGLE = np.tril(np.ones((5, 5), bool))
#: What the scores and a mask make, the mask's shape, and whether it stays one operator. Masks of
#: bools have rows that are masked altogether, where JAX's results are uniform or NaN.
MASKS: dict[str, tuple[Any, tuple[Any, ...], bool]] = {
    "lowest": (lambda s, m: jnp.where(m > 0, s, jnp.finfo(s.dtype).min), ("b", 1, "t", "s"), True),
    "-1e9": (lambda s, m: jnp.where(m > 0, s, -1e9), (1, 4, "t", "s"), True),
    "-inf": (lambda s, m: jnp.where(m > 0, s, -jnp.inf), ("b", 1, "t", "s"), False),
    "-inf, known": (lambda s, m: jnp.where(_TRIANGLE, s, -jnp.inf), (1,), True),
    "added": (lambda s, m: s + m, ("b", 4, "t", "s"), True),
    "added first": (lambda s, m: m + s, ("b", 1, 1, "s"), True),
    "added, lowest": (
        lambda s, m: s + jnp.where(m > 0, 0, jnp.finfo(s.dtype).min), ("b", 1, 1, "s"), True,
    ),
    "of fewer axes": (lambda s, m: s + m, (4, "t", 1), True),
    "scalar": (lambda s, m: s + m, (), True),
}  # fmt: skip


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("sizes", [{}, {"b": 2, "t": 5, "s": 5}, {"b": 1, "t": 5, "s": 5}])
def test_attention_with_masks_of_any_size(name: str, sizes: Any, tmp_path: Path) -> None:
    function, mask, stays = MASKS[name]
    sizes = {"t": 5, "s": 5} if name == "-inf, known" and not sizes else sizes
    shapes = ("b", "t", 4, 8), ("b", "s", 4, 8), ("b", "s", 4, 6), mask
    specs = [jax.ShapeDtypeStruct([sizes.get(n, n) for n in s], np.float32) for s in shapes]
    net = _attention(function)
    out = ms.export(net, *specs, file_name=tmp_path / "net", file_format="ONNX", opset=23,
                    engine="native", verify=True)  # fmt: skip
    onnx.checker.check_model(str(out.file), full_check=True)
    counted = counts(onnx.load(out.file).graph)
    assert (counted["Attention"], counted["Softmax"]) == ((1, 0) if stays else (0, 1))
    run = runner.session(out.file)
    for known in ({"b": 1, "t": 2, "s": 3}, {"b": 3, "t": 7, "s": 4}):
        known |= sizes
        rng = np.random.default_rng(0)
        inputs = [rng.standard_normal([known.get(n, n) for n in s]) for s in shapes]
        inputs = [np.asarray(x, np.float32) for x in inputs]
        if inputs[3].ndim == 4:
            inputs[3][..., :1, :] = -1  # rows that see nothing
        np.testing.assert_allclose(run(*inputs)[0], net(*map(jnp.asarray, inputs)), 1e-4, 1e-5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", ["cnn", "attention", "mlp"])
def test_small_floats(name: str, dtype: Any, tmp_path: Path) -> None:
    """The file's inputs, weights and results are of the dtype; onnxruntime's kernels mostly not."""
    net, (x,) = CASES[name]
    structure, weights = nnx.split(net)
    small = jax.tree.map(lambda w: w.astype(dtype), weights)

    def function(weights: Any, x: jax.Array) -> jax.Array:
        return nnx.merge(structure, weights)(x).astype(dtype)

    out = ms.export((function, small), x.astype(dtype), file_name=tmp_path / "net",
                    file_format="ONNX", engine="native", verify=True)  # fmt: skip
    onnx.checker.check_model(str(out.file), full_check=True)
    graph = onnx.load(out.file).graph
    ends = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    assert ends == {helper.np_dtype_to_tensor_dtype(np.dtype(dtype))}


def test_conversions_that_lose_nothing_leave(tmp_path: Path) -> None:
    def net(x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
        wide = x.astype(jnp.int32), y.astype(jnp.float32)
        return (*wide, wide[0].astype(jnp.float32), wide[1].astype(jnp.float16))

    inputs = np.arange(3, dtype=np.int8), np.ones(3, np.float16)
    out = ms.export(net, *inputs, file_name=tmp_path / "net", file_format="ONNX", verify=True)
    graph = onnx.load(out.file).graph
    given = {value.name for value in graph.input}
    casts = [node for node in graph.node if node.op_type == "Cast"]
    assert len(casts) == 3
    assert given.issuperset(name for node in casts for name in node.input)

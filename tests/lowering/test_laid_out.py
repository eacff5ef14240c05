"""Networks whose weights lie as in a CheckPoint: the leaves are made of its parameters again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.extend.core import jaxpr_as_fun

import msckpt_jax as ms
from msckpt_jax.checkpoint.leaves import Given
from msckpt_jax.conventions import saving
from msckpt_jax.conventions.families import table
from msckpt_jax.conventions.mapping import View
from msckpt_jax.lowering.laid_out import laid_out
from msckpt_jax.lowering.trace import trace
from tests import exporting
from tests.families.models import config

X = np.ones((2, 4), np.float32)


def numbers(like: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: rng.standard_normal(s.shape).astype(s.dtype), like)


def families() -> list[Any]:
    """A family for each kind of table, from each stack, to each kind of files."""
    out = []
    for name in ("llama", "mixtral", "gemma2", "deepseek_v3", "gpt_oss", "gpt2"):
        sections = table.known()[name].sections
        for stack in sections.keys() & {"maxtext", "tunix", "levanter"}:
            for files in sections.keys() & {"huggingface", "mindformers-concat"}:
                out.append(pytest.param(name, stack, files, id=f"{name}-{stack}-{files}"))
    return sorted(out, key=lambda param: param.id)


@pytest.mark.parametrize(("name", "stack", "files"), families())
def test_leaves_of_a_family(name: str, stack: str, files: str) -> None:
    how = ms.Family(config(name), jax=stack, files=files)
    like = how.abstract(scanned=how.stacks)
    other = numbers(like, 1)
    traced = laid_out(trace((lambda tree: tree, numbers(like, 0)), ()), how)
    saved = {r.tag: np.asarray(Given(r)) for r in saving.from_tree(other, how, lambda name: True)}
    assert traced.weights.keys() == saved.keys()
    out = jaxpr_as_fun(traced.jaxpr)(*[jnp.asarray(saved[name]) for name in traced.weights])
    scaled = any(isinstance(p, View) and p.how.steps for t in how.targets(like) for p in t.parts)
    assert scaled == any("scaled" in note for note in traced.notes)
    for restored, leaf in zip(out, jax.tree.leaves(other), strict=True):
        tolerance = 3e-7 if scaled else 0
        np.testing.assert_allclose(restored, leaf, tolerance, tolerance)


def operators(done: Any) -> Counter[str]:
    return Counter(node.op for node in done.graph.walk())


@pytest.mark.parametrize("file_format", ["MINDIR", "AIR", "ONNX"])
@pytest.mark.parametrize("case", ["mlp", "cnn"])
def test_files(tmp_path: Path, case: str, file_format: str) -> None:
    """The CheckPoint's parameters, JAX's results, and not an operator more than without."""
    net, inputs = exporting.CASES[case]
    plain = ms.export(net, *inputs, file_name=tmp_path / "plain", file_format=file_format)
    done = ms.export(
        net, *inputs, file_name=tmp_path / "net", file_format=file_format, convention="mindspore",
        verify=file_format != "MINDIR",  # that is tests/oracle/test_graphs_with_conventions.py
    )  # fmt: skip
    ms.save_checkpoint(net, tmp_path / "net.ckpt", convention="mindspore")
    saved = ms.load_checkpoint(tmp_path / "net.ckpt")
    written = arrays(done)
    assert written.keys() == saved.keys()
    for name, array in written.items():
        assert array.shape == saved[name].shape
        assert array.tobytes() == saved[name].tobytes()
    assert operators(done) <= operators(plain)


def arrays(done: Any) -> dict[str, np.ndarray]:
    if done.file.suffix != ".onnx":
        return {name: np.asarray(array) for name, array in ms.load(done.file).parameters.items()}
    onnx = pytest.importorskip("onnx")
    stored = onnx.load(done.file).graph.initializer
    every = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in stored}
    return {name: every[name] for name in done.graph.parameters}


def test_a_dense_layer_of_bfloat16_is_one_product(tmp_path: Path) -> None:
    tree = {"l": {"kernel": jnp.ones((4, 2), jnp.bfloat16), "bias": jnp.ones(2, jnp.bfloat16)}}
    done = ms.export(
        (lambda w, x: x @ w["l"]["kernel"] + w["l"]["bias"], tree), X.astype(jnp.bfloat16),
        file_name=tmp_path / "net", convention="mindspore",
    )  # fmt: skip
    assert "Transpose" not in operators(done)
    assert operators(done)["MatMul"] == 1


@pytest.mark.parametrize(("order", "transposes"), [((1, 2, 0), 1), ((0, 2, 1), 0)])
def test_products_read_transposed_weights(
    tmp_path: Path, order: tuple[int, ...], transposes: int
) -> None:
    """Only a swap of the last two axes is the product's; any other permutation stays."""
    tree = {"w": np.arange(24, dtype=np.float32).reshape(3, 2, 4)}
    batch, depth, _ = tree["w"].transpose(order).shape
    x = np.arange(batch * depth, dtype=np.float32).reshape(batch, 1, depth)
    done = ms.export(
        (lambda w, x: lax.batch_matmul(x, w["w"].transpose(order)), tree), x,
        file_name=tmp_path / "net", verify=True,
    )  # fmt: skip
    assert operators(done)["Transpose"] == transposes


def test_a_weight_that_is_rounded_before_it_is_transposed(tmp_path: Path) -> None:
    tree = {"w": np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4)}

    def net(w: Any, x: Any) -> Any:
        return x @ w["w"].astype(jnp.float16).T.astype(jnp.float32)

    done = ms.export((net, tree), X, file_name=tmp_path / "net")
    assert np.array_equal(ms.load(done.file)(X), net(tree, X))
    assert not np.array_equal(net(tree, X), X @ tree["w"].T)


def test_an_input_with_the_name_of_a_parameter(tmp_path: Path) -> None:
    tree = {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)}
    done = ms.export(
        (lambda w, weight: weight @ w["kernel"] + w["bias"], tree), X, file_name=tmp_path / "net",
        convention="mindspore",
    )  # fmt: skip
    function = ms.load(done.file)
    assert [value.name for value in function.graph.inputs] == ["weight_1"]
    assert [*function.parameters] == ["bias", "weight"]


def test_notes_on_what_other_weights_have_to_heed() -> None:
    from flax import nnx

    net = nnx.InstanceNorm(4, rngs=nnx.Rngs(0))
    (note,) = laid_out(trace(net, (X[None, None],)), "mindspore").notes
    assert note.startswith("mean, variance: a CheckPoint of the convention has it")
    cell = nnx.GRUCell(4, 2, rngs=nnx.Rngs(0))
    traced = laid_out(trace((lambda net, x: net(x[:, :2], x)[1], cell), (X,)), "mindspore")
    assert traced.notes == ["bias_hh: rows 4 to 6 must be zero, the network has none"]


def test_padding_is_zeros() -> None:
    how = ms.Family(config("gemma2"), jax="maxtext")
    like = how.abstract()
    like["token_embedder"]["embedding"] = jax.ShapeDtypeStruct((24, 20), np.float32)
    traced = laid_out(trace((lambda tree: tree["token_embedder"], numbers(like, 0)), ()), how)
    assert traced.notes[-1] == (
        "token_embedder.embedding: a CheckPoint of the convention has no padding: here it is zeros"
    )
    (out,) = jaxpr_as_fun(traced.jaxpr)(*map(jnp.asarray, map(np.asarray, traced.weights.values())))
    assert not np.asarray(out)[22:].any()
    assert np.asarray(out)[:22].all()


def test_refusals(tmp_path: Path) -> None:
    file = tmp_path / "net"
    with pytest.raises(ValueError, match="a plain function has none"):
        ms.export(lambda x: x, X, file_name=file, convention="mindspore")
    tree = {"a": {"kernel": jnp.ones((4, 4))}}
    with pytest.raises(ms.AmbiguousLeafError, match=r"a\.kernel"):
        ms.export(
            (lambda w, x: x @ w["a"]["kernel"], tree), X, file_name=file, convention="mindspore"
        )
    state = optax.adam(1e-3).init({"l": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)}})
    with pytest.raises(ms.CheckpointError, match=r"0\.count': the network uses this leaf"):
        ms.export((lambda s, x: x * s[0].count, state), X, file_name=file, convention="mindspore")
    family = ms.Family(config("llama"), jax="tunix", lora_alpha=4.0)
    tree = numbers(family.abstract(), 0)
    gate = tree["layers"]["0"]["mlp"]["gate_proj"]
    gate |= {"kernel_lora_a": jnp.ones((20, 2)), "kernel_lora_b": jnp.ones((2, 14))}
    with pytest.raises(ms.CheckpointError, match=r"gate_proj\.kernel': LoRA is merged"):
        ms.export(
            (lambda w: w["layers"]["0"]["mlp"]["gate_proj"]["kernel"], tree), file_name=file,
            convention=family,
        )  # fmt: skip
    assert not [*tmp_path.iterdir()]

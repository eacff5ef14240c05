"""A MindIR and CheckPoints of one convention: MindSpore loads one into the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from tests import exporting
from tests.conventions.cases import CASES, Case, random_inputs
from tests.conventions.test_layers import LinenNest, Nest, no_rngs
from tests.families.models import config


class Net(NamedTuple):
    """A network, two trees of weights, an input, and the convention."""

    function: Callable[..., Any]
    trees: Sequence[Any]
    inputs: tuple[Any, ...]
    convention: Any


def check(mindspore: Any, folder: Path, net: Net, unused: list[str] | None = None) -> None:
    """Compare the MindIR's parameters with the CheckPoint's, and results with other weights."""
    how = net.convention
    for name, tree in zip(("own", "others"), net.trees, strict=True):
        ms.save_checkpoint(tree, folder / f"{name}.ckpt", convention=how, choice_func=no_rngs)
    done = ms.export(
        (net.function, net.trees[0]), *net.inputs, file_name=folder / "net", convention=how
    )
    np.savez(folder / "x.npz", *jax.tree.leaves(net.inputs))
    found = mindspore.call(
        "run_graph", model=str(done.file), load=str(folder / "others.ckpt"),
        inputs=str(folder / "x.npz"), output=str(folder / "y.npz"), folder=str(mindspore.fresh()),
    )  # fmt: skip
    assert found["missing"] == []
    assert found["unused"] == (unused or [])
    saved = mindspore.load(folder / "own.ckpt")
    assert {p["name"] for p in found["own"]} == saved.keys() - set(found["unused"])
    for own in found["own"]:
        param = saved[own["name"]]
        assert (own["dtype"], tuple(own["shape"])) == (param.dtype, param.shape)
        assert Path(own["file"]).read_bytes() == param.data
    results = list(np.load(folder / "y.npz").values())
    compiled = nnx.jit(net.function)
    former, expected = (jax.tree.leaves(compiled(tree, *net.inputs)) for tree in net.trees)
    for result, array, before in zip(results, expected, former, strict=True):
        np.testing.assert_allclose(result, array, rtol=1e-4, atol=1e-4)
        assert not np.allclose(result, before, rtol=1e-3, atol=1e-3)


def filled(make: Callable[[], Any], seed: int) -> Any:
    """A network with random weights, all positive: there is a variance among them."""
    rng = np.random.default_rng(seed)

    def fill(leaf: Any) -> Any:
        if leaf.dtype == np.float32:
            return jnp.asarray(rng.uniform(0.1, 1, leaf.shape).astype(np.float32))
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key(0) if is_key else jnp.zeros(leaf.shape, leaf.dtype)

    graph, state = nnx.split(nnx.eval_shape(make))
    return nnx.merge(graph, jax.tree.map(fill, state))


class Every(nnx.Module):
    """The layers of these cases beside each other."""

    def __init__(self, cases: Sequence[Case]):
        self.runs = tuple(case.run for case in cases)
        for number, case in enumerate(cases):
            setattr(self, f"n{number}", Nest(case.flax(nnx.Rngs(0))))

    def __call__(self, *inputs: tuple[np.ndarray, ...]) -> list[jax.Array]:
        nets = (getattr(self, f"n{number}").layer for number in range(len(self.runs)))
        return [run(net, *x) for run, net, x in zip(self.runs, nets, inputs, strict=True)]


#: Parameters that only MindSpore's layer has.
UNUSED = {
    "InstanceNorm2d-nnx": ("moving_mean", "moving_variance"),
    "mint BatchNorm2d": ("num_batches_tracked",),
}


@pytest.mark.parametrize("base", ["mindspore", "mint"])
def test_every_layer(mindspore: Any, tmp_path: Path, base: str) -> None:
    cases = [case for case in CASES if case.base == base and not case.name.endswith("-linen")]
    trees = [filled(lambda: Every(cases), seed) for seed in range(2)]
    unused = [
        f"n{number}.layer.{name}"
        for number, case in enumerate(cases)
        for name in UNUSED.get(case.name, ())
    ]
    inputs = tuple(tuple(random_inputs(case)) for case in cases)
    net = Net(lambda net, *x: net(*x), trees, inputs, base)
    check(mindspore, tmp_path, net, unused)


def test_linen(mindspore: Any, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == "Attention-linen")
    inputs = tuple(random_inputs(case))
    module = LinenNest(case.flax(nnx.Rngs(0)), case.run)
    tree = module.init(jax.random.key(0), *inputs)
    others = jax.tree.map(lambda x: jnp.flip(x) * 1.25 + 0.125, tree)
    how = ms.Convention(module=module, inputs=inputs)
    check(mindspore, tmp_path, Net(module.apply, [tree, others], inputs, how))


class Stacked(nnx.Module):
    """Three equal layers in one, and a loop over them."""

    def __init__(self) -> None:
        @nnx.vmap(in_axes=0, out_axes=0)
        def make(rngs: nnx.Rngs) -> exporting.Block:
            return exporting.Block(rngs)

        self.layers = make(nnx.Rngs(0).split(3))

    def __call__(self, x: jax.Array) -> jax.Array:
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def run(x: jax.Array, layer: Any) -> jax.Array:
            return layer(x)

        return run(x, self.layers)


def test_stacked_layers(mindspore: Any, tmp_path: Path) -> None:
    trees = [filled(Stacked, seed) for seed in range(2)]
    x = (np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32),)
    check(mindspore, tmp_path, Net(lambda net, x: net(x), trees, x, "mindspore"))


def test_language_model(mindspore: Any, tmp_path: Path) -> None:
    """Scanned layers of MaxText; rotary pairs lie side by side there, and q, k, v in one tensor."""
    how = ms.Family(
        config("llama") | {"rope_scaling": {"rope_type": "llama3"}}, jax="maxtext",
        files="mindformers-concat", maxtext_model="llama3.1-8b",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    trees = [jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) / 4, s.dtype),
                          how.abstract(scanned=True)) for _ in range(2)]  # fmt: skip
    tokens = np.array([[1, 5, 2]], np.int32)

    def read(tree: Any, tokens: jax.Array) -> list[jax.Array]:
        """What a decoder multiplies with its weights: all of them."""
        x = tree["token_embedder"]["embedding"][tokens]
        return [x, *(jnp.tanh(leaf).sum(-1) for leaf in jax.tree.leaves(tree))]

    check(mindspore, tmp_path, Net(read, trees, (tokens,), how))

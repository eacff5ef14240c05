"""Any callable as a user writes it: the arrays in it are named weights, all else is static."""

import functools
from pathlib import Path
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import msckpt_jax as ms

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
W, V = jnp.full((3, 4), 0.5), jnp.arange(4.0)
SQUARE = jnp.eye(3) * 2


def _closing(w: Any) -> Any:
    def function(x: Any) -> Any:
        return x @ w

    return function


def _recursing(w: Any) -> Any:
    def function(x: Any, depth: int = 2) -> Any:
        return function(x @ w, depth - 1) if depth else x

    return function


def _of_global(x: Any) -> Any:
    return x @ W


class Net(nnx.Module):
    """A module with flags, texts and functions, whose layers begin in training mode."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.linear = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.norm.mean[...] = jnp.arange(4.0)
        self.calls = nnx.Variable(jnp.zeros(()))
        self.activation, self.kind, self.wide = jax.nn.gelu, "encoder", True

    def encode(self, ids: Any) -> Any:
        self.calls[...] += 1
        return self.activation(self.dropout(self.norm(self.linear(ids))))


class Layers(nn.Module):
    @nn.compact
    def __call__(self, image: Any, train: bool = False) -> Any:
        return nn.BatchNorm(use_running_average=not train)(nn.Dense(4)(image))


class Parts(nn.Module):
    def setup(self) -> None:
        self.dense = nn.Dense(4)

    def __call__(self, x: Any) -> Any:
        return self.dense(x)

    def encode(self, ids: Any) -> Any:
        return self.dense(ids) * 2


class Module(eqx.Module):
    mlp: eqx.nn.MLP
    dropout: eqx.nn.Dropout
    name: str = "tower"
    scale: float = 2.0

    def __call__(self, x: Any) -> Any:
        return self.dropout(self.mlp(x)) * self.scale

    def encode(self, ids: Any) -> Any:
        return jax.vmap(self)(ids)


class Plain:
    """An object of no library."""

    def __init__(self, net: Any) -> None:
        self.params, self.net, self.kind = {"w": W, "rest": [np.full(4, 2, np.float32)]}, net, "a"

    def encode(self, ids: Any) -> Any:
        return ids @ self.params["w"] + self.params["rest"][0] + self.net.encode(ids)


NET = Net()
MODULE = Module(eqx.nn.MLP(3, 4, 8, 1, key=jax.random.key(0)), eqx.nn.Dropout(0.5))
LINEN = Layers()
VARIABLES = LINEN.init(jax.random.key(0), X)
PARTS = Parts()
BOUND = PARTS.bind(PARTS.init(jax.random.key(0), X))


def _of_global_net(x: Any) -> Any:
    return NET.encode(x)


@nnx.jit
def _jitted(ids: Any) -> Any:
    return NET.encode(ids)


OF_NET = {"linear.kernel", "linear.bias", "norm.bias", "norm.scale", "norm.mean", "norm.var"}
OF_MODULE = {f"mlp.layers.{i}.{part}" for i in (0, 1) for part in ("weight", "bias")}
OF_LINEN = {"params.Dense_0.kernel", "params.Dense_0.bias", "params.BatchNorm_0.scale"} | {
    f"{name}" for name in ("params.BatchNorm_0.bias", "batch_stats.BatchNorm_0.mean")
} | {"batch_stats.BatchNorm_0.var"}  # fmt: skip

#: A callable, the names of its weights, of its inputs.
CASES: dict[str, tuple[Any, set[str], list[str]]] = {
    "a closure": (_closing(W), {"w"}, ["x"]),
    "a closure over NumPy": (_closing(np.asarray(W)), {"w"}, ["x"]),
    "a closure over a tree": (lambda x: _closing(W)(x) + V, {"W", "V"}, ["x"]),
    "a closure under jit": (jax.jit(_closing(W)), {"w"}, ["x"]),
    "a closure under jit and vmap": (jax.vmap(jax.jit(_closing(W))), {"w"}, ["x"]),
    "recursion": (_recursing(SQUARE), {"w"}, ["x"]),
    "a global": (_of_global, {"W"}, ["x"]),
    "a default": (lambda x, w=W: x @ w, {"w"}, ["x"]),
    "one array by two paths": (
        functools.partial(lambda a, b, x: x @ a + x @ b["c"], W, {"c": W}), {"a"}, ["x"]),
    "a partial": (
        functools.partial(lambda p, x, *, bias: x @ p["w"] + bias, {"w": W}, bias=V),
        {"p.w", "bias"}, ["x"]),
    "a scalar": (functools.partial(lambda t, x: x / t, jnp.float32(2)), {"t"}, ["x"]),
    "jit in loops": (
        lambda x: lax.scan(lambda c, y: (jax.jit(_closing(SQUARE))(c) + y, y), x, jnp.arange(9.)),
        {"SQUARE"}, ["x"]),
    "jit in a condition": (
        lambda x: lax.cond(x.sum() > 0, jax.jit(_closing(W)), lambda x: x @ W + V, x),
        {"W", "V"}, ["x"]),
    "jit in a while": (
        lambda x: lax.while_loop(lambda c: jax.jit(_closing(SQUARE))(c).max() < 9,
                                 jax.jit(_closing(SQUARE)), x),
        {"SQUARE"}, ["x"]),
    "a method of nnx": (NET.encode, OF_NET, ["ids"]),
    "a closure over nnx": (lambda x: NET.encode(x), OF_NET, ["x"]),
    "a global of nnx": (_of_global_net, OF_NET, ["x"]),
    "nnx.jit": (_jitted, OF_NET, ["ids"]),
    "partial of nnx": (functools.partial(Net.encode, NET), OF_NET, ["ids"]),
    "a method of a class": (
        Plain(NET).encode, {"params.w", "params.rest.0"} | {f"net.{n}" for n in OF_NET}, ["ids"]),
    "Equinox": (jax.vmap(MODULE), OF_MODULE, ["x"]),
    "a pair of Equinox": ((lambda m, x: jax.vmap(m)(x), MODULE), OF_MODULE, ["x"]),
    "a method of Equinox": (MODULE.encode, OF_MODULE, ["ids"]),
    "filter_jit": (eqx.filter_jit(MODULE.encode), OF_MODULE, ["ids"]),
    "filter_vmap": (eqx.filter_vmap(MODULE), OF_MODULE, ["x"]),
    "linen": (functools.partial(LINEN.apply, VARIABLES), OF_LINEN, ["image"]),
    "linen's lambda": (lambda x: LINEN.apply(VARIABLES, x), OF_LINEN, ["x"]),
    "linen's method": (
        functools.partial(PARTS.apply, BOUND.variables, method="encode"),
        {"params.dense.kernel", "params.dense.bias"}, ["ids"]),
    "a bound module": (BOUND, {"params.dense.kernel", "params.dense.bias"}, ["x"]),
    "a method of it": (BOUND.encode, {"params.dense.kernel", "params.dense.bias"}, ["ids"]),
}  # fmt: skip


@pytest.mark.parametrize(("net", "weights", "inputs"), CASES.values(), ids=CASES)
def test_arrays_are_named_weights(
    net: Any, weights: set[str], inputs: list[str], tmp_path: Path
) -> None:
    done = ms.export(net, X, file_name=tmp_path / "a", file_format="ONNX", verify=True)
    assert done.graph is not None
    assert done.graph.parameters.keys() == weights
    assert [value.name for value in done.graph.inputs] == inputs
    assert not any("constant_" in note for note in done.notes)


IN_TRAINING = [name for name, (_, weights, _) in CASES.items() if weights >= OF_NET]


@pytest.mark.parametrize("name", IN_TRAINING)
def test_modules_are_in_inference_mode_and_stay_as_they_are(name: str, tmp_path: Path) -> None:
    net = CASES[name][0]
    done = ms.export(net, X, file_name=tmp_path / "a", file_format="AIR")
    assert not NET.norm.use_running_average
    assert not NET.dropout.deterministic
    assert NET.calls == 0
    (note,) = [note for note in done.notes if "training mode" in note]
    assert "norm.use_running_average" in note
    assert "dropout.deterministic" in note
    evaluated = nnx.clone(NET)
    evaluated.eval()
    np.testing.assert_allclose(ms.load(done.file)(X), evaluated.encode(X), 1e-5, 1e-6)


class Switch(nnx.Module):
    """A layer that only reads its mode."""

    def __init__(self) -> None:
        self.deterministic, self.scale = False, nnx.Param(jnp.ones(3))

    def __call__(self, x: Any) -> Any:
        return x * self.scale if self.deterministic else -x


def test_jit_that_knows_a_module_in_training_mode_is_not_asked(tmp_path: Path) -> None:
    """JAX keeps what it has traced before: the file is of another trace, the cache stays."""
    switch = Switch()
    jitted = jax.jit(lambda x: switch(x))
    np.testing.assert_array_equal(jitted(X), -X)
    done = ms.export(jitted, X, file_name=tmp_path / "a", file_format="AIR")
    np.testing.assert_array_equal(ms.load(done.file)(X), X)
    np.testing.assert_array_equal(jitted(X), -X)
    other = jax.jit(lambda x: switch(x))
    ms.export(other, X, file_name=tmp_path / "a", file_format="AIR")
    np.testing.assert_array_equal(other(X), -X)


def test_equinox_is_in_inference_mode(tmp_path: Path) -> None:
    done = ms.export(jax.vmap(MODULE), X, file_name=tmp_path / "a", file_format="AIR")
    assert done.notes[0].endswith("keeps it): dropout.inference")
    wanted = jax.vmap(eqx.nn.inference_mode(MODULE))(X)
    np.testing.assert_allclose(ms.load(done.file)(X), wanted, 1e-5, 1e-6)
    with pytest.raises(ms.ExportError, match="Dropout requires a key"):
        ms.export(jax.vmap(MODULE), X, file_name=tmp_path / "a", training=True)


def test_leaves_that_are_no_arrays_are_static(tmp_path: Path) -> None:
    weights = {"w": W, "on": True, "scale": 2.0, "how": "fast", "f": jnp.tanh, "none": None}

    def net(p: Any, x: Any) -> Any:
        return p["f"](x @ p["w"]) * p["scale"] if p["on"] and p["how"] == "fast" else x

    done = ms.export((net, weights), X, file_name=tmp_path / "a", file_format="ONNX", verify=True)
    assert [*done.graph.parameters] == ["w"]


def test_mutable_collections_are_results(tmp_path: Path) -> None:
    net = functools.partial(LINEN.apply, VARIABLES, mutable=["batch_stats"], train=True)
    done = ms.export(net, X, file_name=tmp_path / "a", file_format="AIR")
    function = ms.load(done.file)
    results, state = net(X)
    assert function.output_names == (
        "output", "1.batch_stats.BatchNorm_0.mean", "1.batch_stats.BatchNorm_0.var"
    )  # fmt: skip
    found = function(X)
    assert jax.tree.structure(found) == jax.tree.structure((results, state))
    for have, want in zip(*map(jax.tree.leaves, (found, (results, state))), strict=True):
        np.testing.assert_allclose(have, want, 1e-4, 1e-5)
    assert any("statistics of the batch" in note for note in done.notes)


def test_an_array_without_a_path_gets_a_note(tmp_path: Path) -> None:
    class Hidden:
        __slots__ = ("array",)

    hidden = Hidden()
    hidden.array = jnp.arange(2000.0).reshape(2, 1000) ** 2

    def net(x: Any) -> Any:
        return x[:, :1] + hidden.array

    done = ms.export(net, X, file_name=tmp_path / "a", file_format="ONNX", verify=True)
    assert [*done.graph.parameters] == ["constant_0"]
    (note,) = done.notes
    assert note.startswith(f"{__file__}:{net.__code__.co_firstlineno + 1}:")
    assert "float32[2,1000]" in note
    assert "(function, weights)" in note

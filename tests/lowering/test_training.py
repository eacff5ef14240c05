"""Exports are of inference mode by default, and leave the user's modules as they are."""

import inspect
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms

X = jnp.linspace(-1, 1, 8).reshape(2, 4)


class Net(nnx.Module):
    """A module whose layers begin in training mode."""

    def __init__(self, rngs: nnx.Rngs):
        self.linear = nnx.Linear(4, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(1, 3, decode=False, dropout_rate=0.5, rngs=rngs)
        self.attention.deterministic = False
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dropout(self.attention(self.norm(self.linear(x))))


class Layers(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(3)(x))
        return nn.Dropout(0.5, deterministic=not train)(x)


def _line(function: Any, text: str) -> str:
    """The place of the line of a function that has a text, as notes begin."""
    lines, first = inspect.getsourcelines(function)
    number = first + next(i for i, line in enumerate(lines) if text in line)
    return f"{__file__}:{number}:"


@pytest.fixture(scope="module")
def net() -> Net:
    net = Net(nnx.Rngs(0))
    net.norm.mean[...], net.norm.var[...] = jnp.arange(3.0), jnp.arange(1.0, 4.0)
    return net


def test_a_module_is_exported_in_inference_mode(net: Net, tmp_path: Path) -> None:
    before = nnx.state(nnx.clone(net))
    done = ms.export(net, X, file_name=tmp_path / "net", verify=True)
    assert not net.norm.use_running_average
    assert not net.dropout.deterministic
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), before, nnx.state(net)))
    (note,) = done.notes
    for layer in ("norm.use_running_average", "dropout.deterministic"):
        assert layer in note
        assert "training=True" in note
    evaluated = nnx.clone(net)
    evaluated.eval()
    expected = evaluated(X)
    np.testing.assert_allclose(ms.load(done.file)(X), expected, rtol=1e-5, atol=1e-6)
    quiet = ms.export(evaluated, X, file_name=tmp_path / "evaluated")
    assert quiet.notes == ()
    assert quiet.file.read_bytes() == done.file.read_bytes()


def test_training_mode_is_kept_when_asked(tmp_path: Path) -> None:
    net = nnx.Sequential(nnx.BatchNorm(4, rngs=nnx.Rngs(0)))
    done = ms.export(net, X, file_name=tmp_path / "net", training=True)
    expected = (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-5)
    np.testing.assert_allclose(ms.load(done.file)(X), expected, rtol=1e-4)
    assert done.notes == ()


def test_modules_in_a_tree_are_views_too(net: Net, tmp_path: Path) -> None:
    done = ms.export((lambda nets, x: nets["a"](x), {"a": net}), X, file_name=tmp_path / "net")
    assert any("norm.use_running_average" in note for note in done.notes)
    assert not net.norm.use_running_average
    evaluated = nnx.clone(net)
    evaluated.eval()
    np.testing.assert_allclose(ms.load(done.file)(X), evaluated(X), rtol=1e-5, atol=1e-6)


def test_a_mode_left_to_the_call_is_inference(tmp_path: Path) -> None:
    net = nnx.MultiHeadAttention(2, 4, decode=False, dropout_rate=0.5, rngs=nnx.Rngs(0))
    assert net.deterministic is None
    done = ms.export(net, X, file_name=tmp_path / "net")
    assert done.notes == ()
    assert net.deterministic is None
    expected = net(X, deterministic=True)
    np.testing.assert_allclose(ms.load(done.file)(X), expected, rtol=1e-5, atol=1e-6)


def test_a_module_that_computes_its_mode_is_refused(tmp_path: Path) -> None:
    class Fixed(nnx.Module):
        deterministic = property(lambda self: False)

        def __call__(self, x: jax.Array) -> jax.Array:
            return x + 1

    with pytest.raises(TypeError, match=r"Fixed.deterministic cannot be set.*training=True"):
        ms.export(Fixed(), X, file_name=tmp_path / "net")


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("updated", [False, True])
def test_linen_in_training_mode_is_noted(updated: bool, jit: bool, tmp_path: Path) -> None:
    layers = Layers()
    variables = layers.init(jax.random.key(0), X, False)

    def run(variables: Any, x: jax.Array, key: jax.Array) -> Any:
        rngs = {"dropout": key}
        y = layers.apply(variables, x, True, mutable=["batch_stats"], rngs=rngs)
        return y if updated else y[0]

    function = jax.jit(run) if jit else run
    done = ms.export((function, variables), X, jax.random.key(0), file_name=tmp_path / "net")
    drawn, normalised = done.notes
    line = _line(test_linen_in_training_mode_is_noted, "y = layers.apply")
    assert drawn.startswith(line)
    assert "random numbers are drawn" in drawn
    assert normalised.startswith(line)
    assert "statistics of the batch" in normalised
    assert "batch_stats.BatchNorm_0.mean, batch_stats.BatchNorm_0.var" in normalised
    kept = (function, variables)
    done = ms.export(kept, X, jax.random.key(0), file_name=tmp_path / "net", training=True)
    assert done.notes == ()


def test_linen_in_inference_mode_is_not_noted(tmp_path: Path) -> None:
    layers = Layers()
    variables = layers.init(jax.random.key(0), X, False)

    def run(variables: Any, x: jax.Array) -> Any:
        y, state = layers.apply(variables, x, False, mutable=["batch_stats"])
        return y, state

    assert ms.export((run, variables), X, file_name=tmp_path / "net").notes == ()


def test_a_split_module_in_training_mode_is_noted(tmp_path: Path) -> None:
    graph, state = nnx.split(Net(nnx.Rngs(0)))

    def run(state: Any, x: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)(x)

    drawn, normalised = ms.export((run, state), X, file_name=tmp_path / "net").notes
    line = _line(test_a_split_module_in_training_mode_is_noted, "return nnx.merge")
    assert drawn.startswith(line)
    assert normalised.startswith(line)
    assert "norm.mean, norm.var" in normalised


def test_a_call_that_insists_on_training_is_noted(tmp_path: Path) -> None:
    class Insisting(nnx.Module):
        def __init__(self) -> None:
            self.norm = nnx.BatchNorm(4, use_running_average=True, rngs=nnx.Rngs(0))

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.norm(x, use_running_average=False)

    (note,) = ms.export(Insisting(), X, file_name=tmp_path / "net").notes
    assert note.startswith(_line(Insisting, "return self.norm"))
    assert "statistics of the batch" in note

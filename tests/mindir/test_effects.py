"""Networks of MindSpore that change tensors in place or their parameters, in JAX.

Three steps of each are MindSpore's own; where it has no kernel, they are NumPy's, whose views are
the same thing.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import msckpt_jax as ms
from msckpt_jax.api import convert_model
from msckpt_jax.graph import meaning
from tests.real import made_by_mindspore

IN_PLACE = [
    "AddInPlace", "Ordered", "ThroughViews", "Slices", "Copied", "InBranch", "InLoop", "Helper",
    "RowsUpdated",
]  # fmt: skip
STATE = {
    "Counter": ("n", "k"),
    "Swap": ("a", "b"),
    "InBranchAndLoop": ("w", "c"),
    "Cache": ("k", "v", "at"),
    "Normalized": (
        "bn.moving_mean", "bn.moving_variance", "bn1.moving_mean", "bn1.moving_variance",
    ),
    "Scattered": ("k",),
}  # fmt: skip
OPTIMIZERS = [
    "Adam", "AdamNesterov", "AdamWeightDecay", "ApplyAdaMax", "ApplyAdadelta", "ApplyAdagrad",
    "ApplyAdagradDA", "ApplyAdagradV2", "ApplyAdamWithAmsgrad", "ApplyAddSign",
    "ApplyCenteredRMSProp", "ApplyFtrl", "ApplyGradientDescent", "ApplyMomentum", "ApplyPowerSign",
    "ApplyProximalAdagrad", "ApplyProximalGradientDescent", "ApplyRMSProp", "FusedSparseAdam",
    "FusedSparseFtrl", "FusedSparseLazyAdam", "FusedSparseProximalAdagrad", "SGD", "SGDDampened",
    "SGDNesterov", "SparseApplyAdagrad", "SparseApplyFtrl",
]  # fmt: skip


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = Path(__file__).with_name("effects.py")
    return made_by_mindspore(script, tmp_path_factory.mktemp("effects"))


def saved(folder: Path, name: str) -> list[dict[str, np.ndarray]]:
    """Inputs, results and parameters of each step."""
    with np.load(folder / f"{name}.npz") as arrays:
        steps = [[key for key in arrays if key.startswith(f"{k}.")] for k in range(3)]
        return [{key[2:]: arrays[key] for key in keys} for keys in steps]


def of(step: dict[str, np.ndarray], kind: str) -> list[np.ndarray]:
    return [step[f"{kind}{k}"] for k in range(len(step)) if f"{kind}{k}" in step]


def close(got: Any, want: Any) -> None:
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, 2e-5, 2e-5)


@pytest.mark.parametrize("name", [*IN_PLACE, *STATE, *OPTIMIZERS])
def test_three_steps_are_mindspores(folder: Path, name: str) -> None:
    function = ms.load(folder / f"{name}.mindir")
    step = jax.jit(functools.partial(function.apply, mutable=True))
    parameters = dict(function.parameters)
    for wanted in saved(folder, name):
        assert of(wanted, "output")
        result, parameters = step(parameters, *of(wanted, "input"))
        for got, want in zip(jax.tree.leaves(result), of(wanted, "output"), strict=True):
            close(got, want)
        assert parameters.keys() == function.parameters.keys()
        for key, got in parameters.items():
            assert got.dtype == function.parameters[key].dtype
            close(got, wanted[key])


@pytest.mark.parametrize("name", IN_PLACE)
def test_changes_of_other_tensors_are_no_state(folder: Path, name: str) -> None:
    function = ms.load(folder / f"{name}.mindir")
    assert function.state == ()
    (wanted, *_) = saved(folder, name)
    result = function(*of(wanted, "input"))
    for got, want in zip(jax.tree.leaves(result), of(wanted, "output"), strict=True):
        close(got, want)


@pytest.mark.parametrize("name", STATE)
def test_state_is_named_and_asked_for(folder: Path, name: str) -> None:
    function = ms.load(folder / f"{name}.mindir")
    assert sorted(function.state) == sorted(STATE[name])
    assert all(f"{key}: %" in repr(function) for key in STATE[name])
    inputs = of(saved(folder, name)[0], "input")
    for call in (function, functools.partial(function.apply, function.parameters)):
        with pytest.raises(
            TypeError, match=f"changes the parameters '{function.state[0]}'.*mutable=True"
        ):
            call(*inputs)


def test_in_a_loop_of_jax(folder: Path) -> None:
    function = ms.load(folder / "Cache.mindir")
    inputs = of(saved(folder, "Cache")[0], "input")
    one = {**function.parameters}
    for _ in range(3):
        _, one = function.apply(one, *inputs, mutable=True)

    def step(_: int, parameters: Any) -> Any:
        return function.apply(parameters, *inputs, mutable=True)[1]

    many = jax.jit(lambda p: lax.fori_loop(0, 3, step, p))({**function.parameters})
    for key, want in one.items():
        close(many[key], want)


def test_vmap_and_grad(folder: Path) -> None:
    function = ms.load(folder / "Normalized.mindir")
    (x,) = of(saved(folder, "Normalized")[0], "input")
    call = functools.partial(function.apply, mutable=True)
    parameters = dict(function.parameters)
    results, states = jax.vmap(call, (None, 0))(parameters, jnp.stack([x, 3 * x]))
    for k, one in enumerate((x, 3 * x)):
        result, state = call(parameters, one)
        np.testing.assert_allclose(results[k], result, 1e-4, 1e-4)
        close(states["bn.moving_mean"][k], state["bn.moving_mean"])

    def loss(parameters: Any) -> Any:
        result, state = call(parameters, x)
        return jnp.sum(result**3), state

    gradient, state = jax.grad(loss, has_aux=True)(parameters)
    close(state["bn.moving_variance"], call(parameters, x)[1]["bn.moving_variance"])
    weight = parameters["bn1.gamma"]
    moved = parameters | {"bn1.gamma": weight + np.float32(1e-2)}
    slope = (loss(moved)[0] - loss(parameters)[0]) / 1e-2
    np.testing.assert_allclose(slope, jnp.sum(gradient["bn1.gamma"]), 5e-2, 1e-3)


def test_mutable_of_a_model_without_state(folder: Path) -> None:
    function = ms.load(folder / "AddInPlace.mindir")
    (x,) = of(saved(folder, "AddInPlace")[0], "input")
    result, parameters = function.apply({}, x, mutable=True)
    close(result[0], x * 2 + 1)
    assert parameters == {}


def test_what_mindspore_has_no_kernels_for(folder: Path) -> None:
    x, i = of(saved(folder, "Filled")[0], "input")
    filled, zero, masked, scattered, added, clamped, also = ms.load(folder / "Filled.mindir")(x, i)
    y = x * 2
    np.testing.assert_array_equal(filled, np.full_like(x, 3))
    np.testing.assert_array_equal(also, np.full_like(x, 3))
    np.testing.assert_array_equal(zero, np.zeros_like(x))
    np.testing.assert_array_equal(masked, np.where(x > 0, np.float32(7), y))
    want = y.copy()
    np.put_along_axis(want, i, 9, 1)
    np.testing.assert_array_equal(scattered, want)
    want = y.copy()
    np.add.at(want, i[:, 0], x)
    np.testing.assert_array_equal(added, want)
    np.testing.assert_array_equal(clamped, np.clip(y, -1, 1))


def test_views_that_are_written(folder: Path) -> None:
    for step in saved(folder, "ViewsWritten"):
        x, n = of(step, "input")
        function = ms.load(folder / "ViewsWritten.mindir")
        result, parameters = function.apply(function.parameters, x, n, mutable=True)
        y, w = x * 2, function.parameters["w"].copy()
        left, right, row = y[:, :2], y[:, 2:], y[1]
        if x.sum() > 0:
            left += 1
        for _ in range(n):
            right *= 2
        y[1:3].T[...] *= -100
        w[2:] += x[:2]
        for got, want in zip(result, (y, left, right, row, w), strict=True):
            close(got, want)
        close(parameters["w"], w)


def test_random_numbers_take_a_key(folder: Path) -> None:
    function = ms.load(folder / "Drawn.mindir")
    x, n = of(saved(folder, "Drawn")[0], "input")
    with pytest.raises(TypeError, match=r"draws random numbers.*rng=jax\.random\.key\(0\)"):
        function(x, n)
    key = jax.random.key(3)
    call = jax.jit(lambda key: function(x, n, rng=key))
    results, again, other = call(key), call(key), call(jax.random.key(4))
    for got, same, new in zip(results, again, other, strict=True):
        np.testing.assert_array_equal(got, same)
        assert (np.asarray(got) != np.asarray(new)).any()
    first, second, channels, normal, uniform, whole, looped = map(np.asarray, results)
    assert (first != second).any()
    for dropped in (first, second):
        kept = dropped != 0
        np.testing.assert_allclose(dropped[kept], x[kept] / 0.75, 1e-6)
        assert abs(kept.mean() - 0.75) < 0.05
    kept = (channels != 0).all((2, 3))
    np.testing.assert_array_equal(kept, (channels != 0).any((2, 3)))
    assert 0.3 < kept.mean() < 0.7
    assert abs(normal.mean()) < 0.1
    assert abs(normal.std() - 1) < 0.1
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.05
    assert set(whole.ravel()) == {2, 3, 4}
    assert len(np.unique(looped)) == looped.size  # each round draws numbers of its own
    for k, got in enumerate(jax.vmap(call)(jnp.stack([key, jax.random.key(4)]))[0]):
        np.testing.assert_array_equal(got, (results, other)[k][0])


@pytest.mark.parametrize("name", ["MaybeTheSame", "MaybeOneOfThree", "SwappedInLoop"])
def test_what_is_known_only_at_run_time_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(ms.MindIRError, match=r"may be the same as one that was changed in place"):
        ms.load(folder / f"{name}.mindir")


def test_a_race_is_refused(folder: Path) -> None:
    with pytest.raises(
        ms.MindIRError, match=r"use the same tensor.*does not say which comes first"
    ):
        ms.load(folder / "Race.mindir")


def test_export_and_conversion_of_state_are_refused(folder: Path, tmp_path: Path) -> None:
    function = ms.load(folder / "Counter.mindir")
    (x,) = of(saved(folder, "Counter")[0], "input")
    with pytest.raises(ms.ExportError, match="changes the parameters 'n', 'k'"):
        ms.export(function, x, file_name=tmp_path / "net")
    for name, does in (("Counter", "changes its parameters"), ("Drawn", "draws random numbers")):
        with pytest.raises(ms.ExportError, match=does):
            convert_model.convert(folder / f"{name}.mindir", tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
    step = functools.partial(function.apply, mutable=True)
    file = ms.export((step, function.parameters), x, file_name=tmp_path / "net").file
    for got, want in zip(
        jax.tree.leaves(ms.load(file)(x)),
        jax.tree.leaves(step(function.parameters, x)),
        strict=True,
    ):
        close(got, want)


@pytest.mark.parametrize("op", ["ApplyMomentum", "ApplyAdagrad", "ApplyFtrl", "ApplyAdagradDA"])
def test_steps_where_mindspores_kernel_departs_from_the_definition(op: str) -> None:
    rng = np.random.default_rng(0)
    var, m, grad = rng.standard_normal((3, 50))
    v = np.abs(rng.standard_normal(50)) + 1
    step = meaning.table()[op]
    if op == "ApplyMomentum":
        found = step(var, m, 0.1, grad, 0.9, use_nesterov=True)
        new = 0.9 * m + grad
        wanted = var - (grad * 0.1 + new * 0.9 * 0.1), new
    elif op == "ApplyAdagrad":
        found = step(var, v, 0.1, grad, update_slots=False)
        wanted = var - 0.1 * grad / np.sqrt(v), v
    elif op == "ApplyFtrl":
        found = step(var, v, m, grad, 0.1, 0.2, 0.3, -0.5)
        new = v + grad**2
        linear = m + grad - (np.sqrt(new) - np.sqrt(v)) / 0.1 * var
        least = (np.sign(linear) * 0.2 - linear) / (np.sqrt(new) / 0.1 + 0.6)
        wanted = np.where(np.abs(linear) > 0.2, least, 0), new, linear
    else:
        found = step(var, m, v, grad, 0.1, 0.2, 0.3, 4)
        total, squares = m + grad, v + grad**2
        shrunk = np.sign(total) * np.maximum(np.abs(total) - 0.2 * 4, 0)
        wanted = -0.1 * shrunk / (0.3 * 4 * 0.1 + np.sqrt(squares)), total, squares
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, 1e-5, 1e-6)


def test_slots_of_16_bits_stay_so() -> None:
    var, m, v, grad = np.ones((4, 5), np.float16)
    numbers = [np.float32(x) for x in (0.1, 0.9, 0.99, 1e-8, 0.01)]
    new = meaning.table()["AdamWeightDecay"](var, m, v, *numbers, grad)
    assert [a.dtype for a in new] == [np.float16] * 3
    new = meaning.table()["SGD"](var, grad, np.float32(0.1), m, np.float32(0.9), v)
    assert [a.dtype for a in new] == [np.float16] * 3

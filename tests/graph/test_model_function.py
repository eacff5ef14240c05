"""What ``export`` writes, ``load`` reads: one face and one interpreter for both formats."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import msckpt_jax as ms
from tests.exporting import CASES, Mlp

X = np.ones((2, 3), np.float32)
FORMATS = ("MINDIR", "AIR")
Export = Callable[..., Any]


@pytest.fixture(params=FORMATS)
def exported(request: Any, tmp_path: Path) -> Export:
    """Exports a function in one of the formats and loads the file."""

    def export(net: Any, *inputs: Any, rules: Any = None, **options: Any) -> Any:
        name, form = tmp_path / "a", request.param
        done = ms.export(net, *inputs, file_name=name, file_format=form, durable=False, **options)
        return ms.load(done.file, rules=rules)

    return export


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_both_are_one_class(exported: Export) -> None:
    function = exported(Mlp(), X)
    assert type(function) is ms.MindIRFunction is ms.AirFunction


def check_numbers(function: Any, net: Any, inputs: Any) -> None:
    results = jax.tree.leaves(jax.jit(function)(*jax.tree.leaves(inputs)))
    wanted = jax.tree.leaves(jax.jit(net)(*inputs))
    assert [(a.dtype, a.shape) for a in results] == [(a.dtype, a.shape) for a in wanted]
    for result, want in zip(results, wanted, strict=True):
        wide = jnp.promote_types(result.dtype, jnp.float32)
        np.testing.assert_allclose(result.astype(wide), want.astype(wide), *tolerances(want.dtype))


def tolerances(dtype: np.dtype) -> tuple[float, float]:
    """The relative and absolute difference; one unit of 16 bits, which XLA rounds when it likes."""
    unit = float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0
    return (unit, unit) if unit > 1e-4 else (1e-4, 1e-5)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("options", [{}, {"exact": True, "fuse": False}])
def test_same_numbers(exported: Export, name: str, options: dict[str, Any]) -> None:
    net, inputs = CASES[name]
    check_numbers(exported(net, *inputs, **options), net, inputs)


def test_parameters_are_the_weights_by_their_names(exported: Export, tmp_path: Path) -> None:
    net = Mlp()
    function = exported(net, X)
    ms.save_checkpoint(net, tmp_path / "a.ckpt")
    saved = ms.load_checkpoint(tmp_path / "a.ckpt")
    assert sorted(function.parameters) == sorted(saved)
    for name, array in function.parameters.items():
        np.testing.assert_array_equal(array, saved[name])


def test_constants_are_no_parameters(exported: Export) -> None:
    table = np.arange(6, dtype=np.float32)
    net: Any = (lambda w, x: jnp.maximum(x @ w["w"], 0.5) + table[:4], {"w": random(0, 3, 4)})
    function = exported(net, X)
    assert list(function.parameters) == ["w"]


def test_inputs_are_typed(exported: Export) -> None:
    function = exported(lambda x, i: x[i], ms.TensorSpec((None, 3), jnp.float32), np.int32(1))
    assert function.inputs == (
        ms.TensorSpec((None, 3), jnp.float32),
        jax.ShapeDtypeStruct((), jnp.int32),
    )
    assert [value.name for value in function.graph.inputs] == ["x", "i"]


def test_numpy_arrays_without_jit(exported: Export) -> None:
    x = random(0, 2, 4, 4)
    np.testing.assert_allclose(exported(jnp.linalg.inv, x)(x), np.linalg.inv(x), 1e-3, 1e-5)


def test_it_trains(exported: Export) -> None:
    net = Mlp()
    function = exported(net, X)
    gradients = jax.jit(jax.grad(lambda p: jnp.sum(function.apply(p, X)[:, 0])))(
        function.parameters
    )
    wanted = nnx.grad(lambda net: jnp.sum(net(X)[:, 0]))(net)
    assert sorted(gradients) == sorted(function.parameters)
    for leaf, name in ((wanted.first.kernel, "first.kernel"), (wanted.second.bias, "second.bias")):
        np.testing.assert_allclose(gradients[name], leaf[...], 1e-3, 1e-5)


def test_apply_under_jit_takes_the_weights_as_arguments(exported: Export) -> None:
    net = Mlp()
    function = exported(net, X)
    apply = jax.jit(function.apply)
    np.testing.assert_allclose(apply(function.parameters, X), net(X), 1e-4, 1e-5)
    zeros = jax.tree.map(np.zeros_like, function.parameters)
    np.testing.assert_array_equal(apply(zeros, X), np.full((2, 4), 0.25, np.float32))
    constants = jax.make_jaxpr(function.apply)(function.parameters, X).consts
    assert sum(np.size(constant) for constant in constants) < 32


def test_gradients_and_batches_of_inputs(exported: Export) -> None:
    weights = {"w": random(1, 3, 4)}
    function = exported((lambda w, x: jnp.maximum(x @ w["w"], 0), weights), X)
    x = random(0, 2, 3)
    gradient = jax.grad(lambda x: function(x).sum())(x)
    np.testing.assert_allclose(gradient, (x @ weights["w"] > 0) @ weights["w"].T, 1e-4, 1e-6)
    batch = random(2, 5, 2, 3)
    wanted = np.stack([function(x) for x in batch])
    np.testing.assert_allclose(jax.vmap(function)(batch), wanted, 1e-5, 1e-6)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda p: p | {"first.kernal": 0}, "no 'first.kernal' .nearest: 'first.kernel'"),
        (lambda p: {k: v for k, v in p.items() if k != "first.bias"}, "missing: 'first.bias'"),
        (lambda p: {}, "missing: 'first.bias', 'first.kernel', 'second.bias', 'second.kernel'"),
        (lambda p: {k.replace("first.bias", "first.bais"): v for k, v in p.items()},
         "missing: 'first.bias'; the model has no 'first.bais' .nearest: 'first.bias'"),
    ],
)  # fmt: skip
def test_names_of_other_weights_are_refused(exported: Export, change: Any, text: str) -> None:
    function = exported(Mlp(), X)
    with pytest.raises(KeyError, match=text):
        function.apply(change(function.parameters), X)


def test_wrong_arguments_are_refused(exported: Export) -> None:
    function = exported(Mlp(), X)
    for arguments in ((), (X, X), ((X,),)):
        with pytest.raises(TypeError, match=r"the model takes \(x,\)"):
            function(*arguments)


def test_weights_go_to_the_device_once(exported: Export, monkeypatch: Any) -> None:
    function = exported(Mlp(), X)
    function(X)
    before = function.on_device
    assert all(isinstance(array, jax.Array) for array in before.values())
    function(X)
    assert function.on_device is before


def test_dynamic_sizes(exported: Export) -> None:
    net = Mlp()
    function = exported(net, ms.TensorSpec((None, 3), jnp.float32))
    for size in (1, 5):
        x = random(size, size, 3)
        np.testing.assert_allclose(function(x), net(x), 1e-4, 1e-5)


def test_a_loop_of_known_length_differentiates(exported: Export) -> None:
    def net(x: Any, w: Any) -> Any:
        return lax.scan(lambda c, y: (jnp.tanh(c @ w + y), c.sum()), jnp.zeros(4), x)

    x, w = random(0, 300, 4), random(1, 4, 4)
    function = exported(net, x, w)
    assert any(node.op == "While" for node in function.graph.nodes)
    gradient = jax.grad(lambda w: function(x, w)[1].sum())(w)
    wanted = jax.grad(lambda w: net(x, w)[1].sum())(w)
    np.testing.assert_allclose(gradient, wanted, 1e-3, 1e-3)


def test_a_loop_differentiates_by_a_weight_that_it_takes(exported: Export) -> None:
    def net(weights: Any, x: Any) -> Any:
        return lax.fori_loop(0, 200, lambda i, c: jnp.tanh(c @ weights["w"]), x)

    weights, x = {"w": random(1, 3, 3)}, random(0, 2, 3)
    function = exported((net, weights), x)
    gradient = jax.grad(lambda p: function.apply(p, x).sum())(function.parameters)
    wanted = jax.grad(lambda p: net(p, x).sum())(weights)
    np.testing.assert_allclose(gradient["w"], wanted["w"], 1e-3, 1e-3)


def test_branches_take_either_side(exported: Export) -> None:
    def net(flag: Any, x: Any) -> Any:
        return lax.cond(flag, lambda x: x * 2, jnp.sin, x)

    function = exported(net, np.bool_(True), X)
    for flag in (True, False):
        for call in (function, jax.jit(function)):
            np.testing.assert_allclose(call(np.bool_(flag), X), net(flag, X), 1e-6)


def test_meanings_of_the_user_take_attributes_by_keyword(exported: Export) -> None:
    seen: list[Any] = []

    def softmax(x: Any, *rest: Any, **attributes: Any) -> Any:
        seen.append((rest, attributes))
        return x * 0

    rules = {"Softmax": softmax, "SoftmaxV2": softmax}
    function = exported(lambda x: jax.nn.softmax(x) + 1, X, rules=rules)
    np.testing.assert_array_equal(function(X), np.ones_like(X))
    ((rest, attributes),) = seen
    axis = (
        attributes["axes"] if attributes else rest[0]
    )  # an attribute in GE, an input in MindSpore
    assert tuple(axis) in ((-1,), (1,))


def test_an_error_names_the_operator_and_the_file(exported: Export) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("here")

    function = exported(jnp.sin, X, rules={"Sin": broken})
    with pytest.raises(ZeroDivisionError, match="here") as raised:
        function(X)
    operator, file = raised.value.__notes__
    assert operator.startswith("in the operator Sin")
    assert file == f"in the model {function.file}"


def test_it_prints_as_its_graph(exported: Export) -> None:
    function = exported(Mlp(), X)
    lines = repr(function).splitlines()
    assert lines[0].endswith(f"Function of {function.file}")
    assert any("first.kernel" in line for line in lines)
    assert "first.kernel" in function._repr_html_()


# What is MindIR's alone.


@pytest.mark.parametrize("split", [None, 8])
def test_weights_of_a_mindir_stay_in_the_file(tmp_path: Path, split: int | None) -> None:
    weights = {"w": np.arange(12, dtype=np.float32).reshape(3, 4)}
    net: Any = (lambda w, x: x @ w["w"], weights)
    file = ms.export(net, X, file_name=tmp_path / "a.mindir", split_bytes=split).file
    function = ms.load(file)
    base: Any = function.parameters["w"]
    assert not base.flags.writeable
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base.obj, mmap.mmap)
    np.testing.assert_array_equal(function(X), np.tile(weights["w"].sum(0), (2, 1)))


@pytest.mark.parametrize("name", CASES)
def test_same_numbers_of_a_mindir_for_the_cpu(name: str, tmp_path: Path) -> None:
    net, inputs = CASES[name]
    how = {"exact": True, "fuse": False, "target": "cpu"}
    ms.export(net, *inputs, file_name=tmp_path / "a", durable=False, **how)
    check_numbers(ms.load(tmp_path / "a.mindir"), net, inputs)

"""Numbers of 64 bits in models of MindSpore stay so where JAX has 32, or are refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms

from .samples import check, sample

MODELS = ("float64", "int64", "complex128", "positions", "constant", "inputs", "loop")
#: Those with weights that 32 bits do not hold.
NARROWED = ("float64", "int64", "complex128", "loop")


@pytest.mark.parametrize("model", MODELS)
def test_numbers_and_dtypes_are_the_files(tmp_path: Path, model: str) -> None:
    function, inputs, wanted = sample(tmp_path, model)
    assert [spec.dtype for spec in function.inputs] == [x.dtype for x in inputs]
    check(function(*inputs), wanted)
    check(function.apply(function.parameters, *inputs), wanted)
    found = jax.jit(function.apply)(function.on_device, *inputs)
    assert [x.dtype for x in jax.tree.leaves(found)] == [x.dtype for x in wanted]


@pytest.mark.parametrize("model", NARROWED)
@pytest.mark.parametrize("transform", [jax.jit, lambda f: lambda p, *x: f(_narrow(p), *x)])
def test_weights_that_jax_has_narrowed_are_refused(
    tmp_path: Path, model: str, transform: Callable[[Any], Any]
) -> None:
    function, inputs, wanted = sample(tmp_path, model)
    run = transform(function.apply)
    with pytest.raises(ValueError, match=rf"{model}.mindir: the parameter '\w+' .*jax_enable_x64"):
        run(function.parameters, *inputs)
    with jax.enable_x64(True):
        check(jax.jit(function.apply)(function.parameters, *inputs), wanted)


def _narrow(parameters: Any) -> Any:
    return {name: jnp.asarray(value) for name, value in parameters.items()}


def test_whole_numbers_that_32_bits_hold_are_not(tmp_path: Path) -> None:
    function, inputs, wanted = sample(tmp_path, "positions")
    check(jax.jit(function.apply)(function.parameters, *inputs), wanted)


def test_gradients_have_64_bits(tmp_path: Path) -> None:
    function, inputs, _ = sample(tmp_path, "float64")
    with jax.enable_x64(True):
        found = jax.grad(lambda p: function.apply(p, *inputs).sum())(function.parameters)
    np.testing.assert_array_equal(found["b"], np.full(4, 2.0))
    wanted = np.repeat(inputs[0].sum(0)[:, None], 4, 1)
    assert found["w"].dtype == np.float64
    np.testing.assert_allclose(found["w"], wanted, 1e-15)


@pytest.mark.parametrize("file_format", ["MINDIR", "AIR"])
@pytest.mark.parametrize("model", MODELS)
def test_exported_again(tmp_path: Path, model: str, file_format: str) -> None:
    function, inputs, wanted = sample(tmp_path, model)
    file = ms.export(function, *inputs, file_name=tmp_path / "again", file_format=file_format).file
    again = ms.load(file)
    assert [spec.dtype for spec in again.inputs] == [x.dtype for x in inputs]
    assert again.parameters.keys() == function.parameters.keys()
    for name, value in function.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], value, strict=True)
    check(again(*inputs), wanted)


def test_exported_within_another_function(tmp_path: Path) -> None:
    function, inputs, wanted = sample(tmp_path, "int64")
    for net in (lambda x: function(x), functools.partial(function.apply, function.parameters)):
        check(ms.load(ms.export(net, *inputs, file_name=tmp_path / "net").file)(*inputs), wanted)
    pair = (lambda p, x: function.apply(p, x)), function.parameters
    with pytest.raises(ValueError, match=r"'offset' has numbers of 64 bits.*jax_enable_x64"):
        ms.export(pair, *inputs, file_name=tmp_path / "net")

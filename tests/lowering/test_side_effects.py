"""What is printed, logged or checked on the way is left out of a file, and noted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify, io_callback

import msckpt_jax as ms


def printed(x: jax.Array) -> jax.Array:
    jax.debug.print("x {}", x)
    return x + 1


def called(x: jax.Array) -> jax.Array:
    jax.debug.callback(lambda x: None, x)
    return x + 1


def called_in_order(x: jax.Array) -> jax.Array:
    io_callback(lambda x: None, None, x, ordered=True)
    return x + 1


def checked(x: jax.Array) -> jax.Array:
    checkify.check(jnp.all(x > 0), "negative: {x}", x=x)
    return x + 1


def in_a_loop(x: jax.Array) -> jax.Array:
    def step(i: Any, carry: jax.Array) -> jax.Array:
        jax.debug.print("step {}", i)
        return carry * 2

    return jax.lax.fori_loop(0, 300, step, x)


def in_a_while(x: jax.Array) -> jax.Array:
    def step(carry: jax.Array) -> jax.Array:
        jax.debug.print("sum {}", carry.sum(), ordered=True)
        return carry * 2

    return jax.lax.while_loop(lambda carry: carry.sum() < 100, step, x)


def in_a_branch(x: jax.Array) -> jax.Array:
    def yes(x: jax.Array) -> jax.Array:
        jax.debug.print("yes")
        return x * 3

    return jax.lax.cond(x.sum() > 0, yes, lambda x: x, x)


def in_a_gradient(x: jax.Array) -> jax.Array:
    return jax.grad(lambda x: jnp.sum(jax.jit(printed)(x) ** 2))(x)


EFFECTS: dict[Callable[..., jax.Array], str] = {
    printed: "the print",
    called: "the call of a Python function",
    called_in_order: "the call of a Python function",
    checked: "the check of checkify",
    in_a_loop: "the print",
    in_a_while: "the print",
    in_a_branch: "the print",
    in_a_gradient: "the print",
}


@pytest.mark.parametrize("format", ["MINDIR", "ONNX", "AIR"])
@pytest.mark.parametrize("function", EFFECTS)
def test_it_is_left_out(function: Callable[..., Any], format: str, tmp_path: Path) -> None:
    x = np.array([1.0, 2.5], np.float32)
    done = ms.export(function, x, file_name=tmp_path / "net", file_format=format, verify=True)
    (note,) = (note for note in done.notes if "left out" in note)
    assert f"{EFFECTS[function]} is left out" in note
    assert Path(__file__).name in note
    assert done.difference is not None
    assert done.difference < 1e-6
    if format != "ONNX":
        plain = function(x) if function is not checked else x + 1
        np.testing.assert_allclose(ms.load(done.file)(x), plain, rtol=1e-6)


@pytest.mark.parametrize("call", [jax.pure_callback, io_callback])
@pytest.mark.parametrize("format", ["MINDIR", "ONNX", "AIR"])
def test_results_of_python_code_are_refused(call: Any, format: str, tmp_path: Path) -> None:
    def function(x: jax.Array) -> jax.Array:
        return call(np.sin, x, x) + 1

    with pytest.raises(ms.ExportError, match="Python code computes its results") as caught:
        ms.export(function, jnp.ones(2), file_name=tmp_path / "net", file_format=format)
    assert f"{Path(__file__).name}:" in str(caught.value)
    assert not [*tmp_path.iterdir()]


def test_checks_of_equinox_are_left_out(tmp_path: Path) -> None:
    eqx = pytest.importorskip("equinox")

    def function(x: jax.Array) -> jax.Array:
        return eqx.error_if(x, jnp.any(x < 0), "negative") * 2

    x = np.array([1.0, 2.5], np.float32)
    done = ms.export(function, x, file_name=tmp_path / "net")
    (note,) = done.notes
    assert "the check of error_if is left out" in note
    assert Path(__file__).name in note
    np.testing.assert_array_equal(ms.load(done.file)(x), x * 2)

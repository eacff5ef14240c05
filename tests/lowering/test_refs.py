"""Mutable arrays: functions that write to them export as functions of values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax

import msckpt_jax as ms
from msckpt_jax.errors import UnsupportedError
from msckpt_jax.lowering.canonical import canonicalise
from tests.lowering.equal import check

X = jnp.arange(12.0).reshape(3, 4) - 5


def in_calls(x: Array) -> Array:
    ref = jax.new_ref(x)

    @jax.jit
    def scale(by: Any) -> None:
        ref[...] = ref[...] * by

    scale(2.0)
    jax.checkpoint(lambda: jax.ref.addupdate(ref, 1, x[0]))()
    return jax.freeze(ref)


def in_a_loop(x: Array) -> Any:
    ref, count = jax.new_ref(x), jax.new_ref(np.int32(0))

    def step(carry: Array) -> Array:
        count[...] += 1
        ref[count[...] % 3] = ref[(count[...] + 1) % 3] * 0.5 + carry
        return carry + 1

    out = lax.while_loop(lambda carry: carry < 50, step, jnp.float32(0))
    return out, ref[...], count[...]


def in_a_scan(x: Array) -> Any:
    total, history = jax.new_ref(jnp.zeros(4)), jax.new_ref(jnp.zeros((40, 4)))

    def step(carry: Array, i: Array) -> Any:
        total[...] += x[i % 3]
        history[i] = total[...] * carry
        jax.ref.addupdate(history, (i, 2), 1.0)
        return carry + 1, total[1]

    carry, rows = lax.scan(step, jnp.float32(0), jnp.arange(40), reverse=True)
    return carry, rows, jax.freeze(history), jax.ref.swap(total, ..., x[0]), total[::2]


def in_branches(x: Array) -> Any:
    ref = jax.new_ref(x)
    lax.cond(x[0, 0] < 0, lambda: jax.ref.addupdate(ref, 1, x[2]), lambda: None)
    branches = [lambda: ref[0], lambda: jax.ref.swap(ref, 1, x[2]), lambda: x[2]]
    return lax.switch(x[2, 0].astype(int) - 2, branches), ref[...]


def by_indices(x: Array) -> Any:
    ref, rows = jax.new_ref(x), jnp.array([2, 0, 0])
    read = ref[rows], ref[rows, jnp.array([1, 1, 3])], ref[1:, ::2], ref[:, rows], ref[rows, 1:3]
    ref[:, rows] = read[3] + 1
    jax.ref.addupdate(ref, rows, jnp.ones((3, 4)))
    ref[::2, 1:3] = jnp.full((2, 2), 7.0)
    jax.ref.addupdate(ref, (slice(0, 2), 3), jnp.ones(2))
    return read, ref[...]


def of_views(x: Array) -> Any:
    ref = jax.new_ref(x)
    ref.at[1].at[1:3][...] = jnp.array([-1.0, -2.0])
    ref.at[::2][:, jnp.array([0, 3])] = x[:2, :2]
    return ref.at[1:][0], ref[...]


def differentiated(x: Array) -> Array:
    def sines(x: Array) -> Array:
        total = jax.new_ref(jnp.zeros(()))

        def step(i: Array, none: None) -> None:
            total[...] += jnp.sin(x[i]).sum()

        lax.fori_loop(0, 3, step, None)
        return total[...]

    return jax.grad(sines)(x)


def mapped(x: Array) -> Array:
    def row(x: Array) -> Array:
        ref = jax.new_ref(x)
        ref[0] = ref[1] * 2
        return jax.freeze(ref)

    return jax.vmap(row)(x)


FUNCTIONS = (in_calls, in_a_loop, in_a_scan, in_branches, by_indices, of_views, mapped)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_bit_by_bit(function: Callable[..., Any]) -> None:
    check(function, X)


def test_a_gradient() -> None:
    check(differentiated, X, rtol=1e-6)


@pytest.mark.parametrize("format", ["MINDIR", "ONNX", "AIR"])
def test_files(format: str, tmp_path: Path) -> None:
    def several(x: Array) -> Any:
        return in_a_loop(x), in_branches(x)

    done = ms.export(several, X, file_name=tmp_path / "net", file_format=format, verify=True)
    assert done.difference == 0


def test_arguments_that_are_mutable_are_inputs_and_weights(tmp_path: Path) -> None:
    weights, x = {"w": jax.new_ref(X)}, jax.new_ref(X + 1)

    def function(weights: Any, x: Any) -> Array:
        weights["w"][0] = x[0]
        return weights["w"][...] * x[1]

    done = ms.export((function, weights), x, file_name=tmp_path / "net")
    assert [*ms.load(done.file).parameters] == ["w"]
    (note,) = done.notes
    assert "is not kept" in note
    want = np.asarray(X).copy()
    want[0] = X[0] + 1
    np.testing.assert_array_equal(ms.load(done.file)(X + 1), want * np.asarray(X[1] + 1))
    np.testing.assert_array_equal(weights["w"][...], X)


def test_what_a_function_closes_over_is_as_it_is_now(tmp_path: Path) -> None:
    calls = jax.new_ref(jnp.int32(3))

    def function(x: Array) -> Array:
        calls[...] += 1
        return x * calls[...]

    done = ms.export(function, X, file_name=tmp_path / "net")
    np.testing.assert_array_equal(ms.load(done.file)(X), X * 4)
    assert "are in the file as they are now" in done.notes[0]
    assert calls[...] == 3


def test_beside_weights_that_a_function_closes_over(tmp_path: Path) -> None:
    """The weights become arguments; the writes stay, in calls and loops, too."""
    weight, held = jnp.linspace(-1, 1, 16).reshape(4, 4), jax.new_ref(jnp.arange(4.0))

    def function(weights: dict[str, Array], x: Array) -> Array:
        own = jax.new_ref(jnp.arange(4.0))

        @jax.jit
        def step(x: Array) -> Array:
            own[...] = own[...] * 2 + x[0]
            return x @ weight + held[...]

        x, _ = lax.scan(lambda x, layer: (step(x) * layer, None), x, weights["scale"])
        return x + own[...]

    weights = {"scale": jnp.array([0.5, -1.0, 2.0])}
    for unroll in (False, True):
        done = ms.export(
            (function, weights), X, file_name=tmp_path / "a", file_format="ONNX",
            verify=True, unroll_layers=unroll,
        )  # fmt: skip
        assert done.graph is not None
        scales = {f"scale.{i}" for i in range(3)} if unroll else {"scale"}
        assert done.graph.parameters.keys() == {"weight", *scales}
        assert done.difference == pytest.approx(0, abs=1e-5)


def test_a_condition_that_reads_what_the_body_writes_is_refused() -> None:
    def function(x: Array) -> Array:  # JAX never leaves this loop
        count = jax.new_ref(jnp.int32(0))

        def step(x: Array) -> Array:
            count[...] += 1
            return x + 1

        return lax.while_loop(lambda x: count[...] < 3, step, x)

    with pytest.raises(UnsupportedError, match="JAX itself reads what it was before the loop"):
        canonicalise(jax.make_jaxpr(function)(1.0))

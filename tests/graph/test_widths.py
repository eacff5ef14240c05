"""Models with numbers of 64 bits, loaded where JAX has 32: the numbers are those of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import msckpt_jax as ms
from msckpt_jax.mindir import runner

FORMATS = ("MINDIR", "AIR")
X = np.array([3, -5, 7, 2**30], np.int32)
BIG = np.int64(2**40 + 3)


@pytest.fixture(autouse=True)
def _narrow() -> None:
    assert not jax.config.jax_enable_x64  # type: ignore[attr-defined]


def exported(function: Any, *inputs: Any, file: Path, kind: str, **options: Any) -> Path:
    """Export with 64 bits."""
    with jax.enable_x64(True):
        out = ms.export(function, *inputs, file_name=file, file_format=kind, **options)
    return Path(out.file)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_large_constant(tmp_path: Path, kind: str) -> None:
    def function(x: Any) -> Any:
        return x.astype(jnp.int64) + BIG

    f = ms.load(exported(function, X, file=tmp_path / "a", kind=kind))
    wanted = X.astype(np.int64) + BIG
    rows = np.stack([X, X])
    for found in (f(X), jax.jit(f)(X), jax.vmap(f)(rows)[1], jax.jit(jax.vmap(f))(rows)[0]):
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, wanted)


#: Primitives that JAX expands where it compiles.
_LATE = {"i0e": lax.bessel_i0e, "betainc": lambda x: lax.betainc(x, x, x / 9)}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("function", _LATE.values(), ids=_LATE)
def test_what_a_jit_would_expand_with_32_bits(tmp_path: Path, kind: str, function: Any) -> None:
    x = np.array([0.5, 1.75, 4])
    f = ms.load(exported(function, x, file=tmp_path / "a", kind=kind))
    with jax.enable_x64(True):
        wanted = np.asarray(function(jnp.asarray(x)))
        np.testing.assert_allclose(jax.jit(f)(x), wanted, 1e-14)
    rows = np.stack([x, x])
    for found in (f(x), jax.vmap(f)(rows)[1]):
        np.testing.assert_allclose(found, wanted, 1e-14)
    for around, given in ((f, x), (lambda _: f(x), x), (jax.vmap(f), rows)):
        with pytest.raises(ValueError, match=r"of float64 in a jit around the model"):
            jax.jit(around)(given)


@pytest.mark.parametrize("kind", FORMATS)
def test_an_input_of_64_bits(tmp_path: Path, kind: str) -> None:
    x = np.array([2**40, -(2**35), 5], np.int64)
    f = ms.load(exported(lambda x: x - 1, x, file=tmp_path / "a", kind=kind))
    assert f.inputs == (jax.ShapeDtypeStruct((3,), np.dtype(np.int64)),)
    np.testing.assert_array_equal(f(x), x - 1)
    np.testing.assert_array_equal(jax.jit(f)(X[:3]), X[:3] - 1)


@pytest.mark.parametrize("kind", FORMATS)
def test_products_that_only_64_bits_hold(tmp_path: Path, kind: str) -> None:
    """Neither a constant nor an input is wide: a Cast is."""

    def function(x: Any) -> Any:
        wide = x.astype(jnp.int64)
        return (wide * wide).astype(jnp.float32)

    f = ms.load(exported(function, X, file=tmp_path / "a", kind=kind))
    np.testing.assert_array_equal(f(X), (X.astype(np.int64) ** 2).astype(np.float32))


def test_gradients_of_weights_of_64_bits(tmp_path: Path) -> None:
    w, x = np.array([1 + 1e-12, 3.0]), np.array([1.0, 2.0])
    file = exported(((lambda p, x: (p["w"] * x) ** 2), {"w": w}), x, file=tmp_path / "a",
                    kind="MINDIR")  # fmt: skip
    f = ms.load(file)
    assert f.parameters["w"].dtype == np.float64
    wanted = (w * x) ** 2
    np.testing.assert_array_equal(np.asarray(f(x)), wanted)
    assert (np.asarray(f(x), np.float64) != wanted.astype(np.float32)).any()
    with jax.enable_x64(True):
        slope = jax.jit(jax.grad(lambda p: f.apply(p, x).sum()))(f.parameters)["w"]
    np.testing.assert_allclose(slope, 2 * w * x**2, rtol=1e-15)


def test_gradients_where_jax_has_32_bits(tmp_path: Path) -> None:
    """Integers of 64 bits choose; the weights are floats of 32."""
    w, x = np.arange(4, dtype=np.float32), np.array([2**40, 2**41 + 3], np.int64)
    file = exported(((lambda p, x: p["w"][x % 4]), {"w": w}), x, file=tmp_path / "a", kind="MINDIR")
    f = ms.load(file)
    np.testing.assert_array_equal(f(x), w[x % 4])
    for slope in (jax.grad, lambda g: jax.jit(jax.grad(g))):
        found = slope(lambda p: f.apply(p, x).sum())(f.parameters)["w"]
        np.testing.assert_array_equal(found, [1, 0, 0, 1])


def test_verify_without_mindspore_takes_a_right_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function computes with 64 bits, as a library of the user's may."""
    monkeypatch.setattr(runner, "available", lambda: False)

    def function(x: Any) -> Any:
        with jax.enable_x64(True):
            return x.astype(jnp.int64) * BIG

    out = ms.export(function, X, file_name=tmp_path / "a", verify=True)
    np.testing.assert_array_equal(ms.load(out.file)(X), X * BIG)


def test_models_of_32_bits_stay_as_they_are(tmp_path: Path) -> None:
    out = ms.export(lambda x: x.sum(1), jnp.ones((2, 3)), file_name=tmp_path / "a")
    f = ms.load(out.file)
    assert not f._wide
    assert f(jnp.ones((2, 3))).dtype == np.float32

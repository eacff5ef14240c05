"""Numbers of 4 and 8 bits: XLA's conversions and results, bit by bit, in files of each format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import pytest
from jax import lax
from jax.extend.core import jaxpr_as_fun

import msckpt_jax as ms
from msckpt_jax.errors import ExportError
from msckpt_jax.lowering import tiny
from msckpt_jax.lowering.canonical import canonicalise

FLOATS = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
INTS = ("int4", "uint4")
FORMATS = ("MINDIR", "AIR", "ONNX")
#: The files that are run: all dtypes in ONNX, in the others those that are hardest.
FILES = [
    *((name, "ONNX") for name in FLOATS + INTS),
    ("float8_e4m3fn", "AIR"), ("uint4", "AIR"), ("float8_e5m2fnuz", "MINDIR"), ("int4", "MINDIR"),
]  # fmt: skip


def _all(name: str) -> np.ndarray:
    """All numbers of a float."""
    return np.arange(256, dtype=np.uint8).view(jnp.dtype(name))


def _around(name: str, dtype: Any) -> np.ndarray:
    """The numbers of a float, the middles between them, and what lies beside these and beyond."""
    numbers = _all(name).astype(np.float64)
    numbers = np.sort(numbers[np.isfinite(numbers)])
    middles, step = (numbers[1:] + numbers[:-1]) / 2, 2.0 ** -(jnp.finfo(dtype).nmant - 4)
    beyond = numbers[-1] * np.array([1.03, 1.06, 1.07, 1.1, 1.2, 2, 1e9])
    sides = [numbers, middles, middles * (1 + step), middles * (1 - step), beyond]
    points = np.concatenate([*sides, [np.inf, np.nan, 0, 1e-30]])
    with np.errstate(over="ignore"):
        return np.concatenate([points, -points]).astype(dtype)


def _same(want: Any, have: Any) -> None:
    """Compare all bits, but for those of NaN."""
    want, have = (np.asarray(x).astype(np.float64) for x in (want, have))
    np.testing.assert_array_equal(want, have)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(want[number]), np.signbit(have[number]))


def _carried(function: Callable[..., Any], *args: Any) -> list[Any]:
    """The results of the jaxpr without tiny numbers."""
    jaxpr, _ = tiny.carried(canonicalise(jax.make_jaxpr(function)(*args), fuse=False), {}, set())
    assert not tiny.needed(jaxpr)
    return jax.jit(jaxpr_as_fun(jaxpr))(*args)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, wide) for name in FLOATS for wide in ("float32", "float64")),
     ("float8_e4m3fn", "bfloat16"), ("float8_e5m2fnuz", "float16")],
)  # fmt: skip
def test_conversions_to_float8(name: str, dtype: str) -> None:
    def function(x: jax.Array) -> jax.Array:
        return x.astype(name).astype(dtype)

    with jax.enable_x64(dtype == "float64"):
        x = _around(name, jnp.dtype(dtype))
        _same(jax.jit(function)(x), _carried(function, x)[0])


@pytest.mark.parametrize("name", FLOATS + INTS)
def test_conversions_between_integers_and_tiny_numbers(name: str) -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        kinds = [x.astype(d) for d in ("int32", "uint8", "int8", "bool")]
        few = [kind.astype(name) for kind in kinds]
        return [y.astype(d) for y in few for d in ("float32", "int8", "bool", "bfloat16")]

    x = np.concatenate([np.arange(-300, 300), np.arange(-70000, 70000, 997)]).astype(np.int32)
    for want, have in zip(jax.jit(function)(x), _carried(function, x), strict=True):
        _same(want, have)


@pytest.mark.parametrize("name", INTS)
def test_floats_stop_at_the_ends_of_four_bits(name: str) -> None:
    x = np.concatenate([np.linspace(-20, 20, 161), [np.inf, -np.inf, np.nan, 1e30]])
    for dtype in ("float32", "float16", "bfloat16"):
        with np.errstate(over="ignore"):
            given = x.astype(jnp.dtype(dtype))

        def function(x: jax.Array) -> jax.Array:
            return x.astype(name).astype("int32")

        _same(jax.jit(function)(given), _carried(function, given)[0])


_PAIRS = (lax.add, lax.sub, lax.mul, lax.div, lax.rem, lax.max, lax.min)
_BITS = (lax.bitwise_and, lax.bitwise_or, lax.bitwise_xor, lax.shift_left)
_ONES = (lax.abs, lax.neg, lax.floor, lax.ceil, lax.sign, lax.sqrt, lax.exp, lax.tanh, lax.square)


@pytest.mark.parametrize(
    "name", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "int4", "uint4"]
)
def test_operations_on_all_pairs(name: str) -> None:
    """One program for all: each result is rounded before the next operation."""
    whole = name in INTS
    every = np.arange(16).astype(jnp.dtype(name)) if whole else _all(name)
    x, y = (z.ravel().astype(np.float32) for z in np.meshgrid(every, every))

    def function(x: jax.Array, y: jax.Array) -> list[jax.Array]:
        x, y = x.astype(name), y.astype(name)
        results = [each(x, y) for each in (*_PAIRS, *(_BITS if whole else ()))]
        results += [x * y + x, *(() if whole else (each(x) for each in _ONES))]
        return [z.astype("float32") for z in results] + [x < y, x == y]

    for want, have in zip(jax.jit(function)(x, y), _carried(function, x, y), strict=True):
        _same(want, have)


def _moved(name: str) -> Callable[..., Any]:
    def function(x: jax.Array, i: jax.Array) -> list[jax.Array]:
        y = x.astype(name)
        parts = [
            y[i], y.T, jnp.pad(y, 1), y.at[i].set(y[0]), jnp.where(x > 0, y, -y), jnp.sort(y, 0),
            y.max(0), jnp.concatenate([y, y]), lax.dot(y, y.T),
            lax.scan(lambda c, a: (jnp.maximum(c, a), c), y[0], y)[1],
            lax.cond(x[0, 0] > 0, lambda: y + y, lambda: y),
        ]  # fmt: skip
        return [part.astype("float32") for part in parts] + [y > 0, jnp.argmax(y, 1)]

    return function


@pytest.mark.parametrize(("name", "file_format"), FILES)
def test_files_compute_the_same_numbers(name: str, file_format: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {"w": jnp.asarray(rng.uniform(0, 7, (4, 5)), name), "scale": np.float32(0.25)}

    def layer(p: Any, x: jax.Array, i: jax.Array) -> list[jax.Array]:
        y = lax.round(x).astype(jnp.bfloat16)  # its products are exact
        scaled = p["w"].astype(y.dtype) * p["scale"].astype(y.dtype)
        return [y @ scaled, *_moved(name)(x, i)]

    x = rng.uniform(-7, 7, (5, 4)).astype(np.float32)
    done = ms.export((layer, weights), x, np.array([3, 0, 1]), file_format=file_format,
                     file_name=tmp_path / "a", verify=True)  # fmt: skip
    assert done.difference == 0
    if file_format == "ONNX" and name in FLOATS:
        stored = {t.name: t for t in onnx.load(tmp_path / "a.onnx").graph.initializer}
        assert len(stored["w"].raw_data) == 20


@pytest.mark.parametrize("file_format", FORMATS)
def test_what_is_refused(file_format: str, tmp_path: Path) -> None:
    x = np.ones(3, np.float32)
    options: Any = {"engine": "native"} if file_format == "ONNX" else {}

    def text(function: Callable[..., Any], x: np.ndarray) -> str:
        with pytest.raises(ExportError) as caught:
            ms.export(function, x, file_format=file_format, file_name=tmp_path / "a", **options)
        return str(caught.value)

    e4m3 = ml_dtypes.float8_e4m3fn
    assert "the input 0: numbers of float8_e4m3fn stay inside" in text(
        lambda x: x + x, x.astype(e4m3)
    )
    assert "the result 0: numbers of int4 stay inside" in text(lambda x: x.astype("int4"), x)
    of_sum = text(lambda x: lax.reduce_sum(x.astype(e4m3), (0,)).astype("float32"), x)
    assert "reduce_sum: of float8_e4m3fn" in of_sum
    assert "test_tiny.py" in of_sum

"""Quantised weights in MindIR files, run by MindSpore."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.mindir import runner
from tests import quantising
from tests.quantising import CASES, DTYPES, WISHES
from tests.real import need_mindspore

_KINDS = [
    *(("right", dtype, wish) for dtype in DTYPES for wish in WISHES if dtype is not np.float16),
    ("right", np.float16, "int4"),
    ("left", np.float32, "int4"),
    ("heads", np.float32, "int8 in blocks"),
    ("experts", np.float32, "int4"),
]
_ALL = {f"{name}-{np.dtype(dtype).name}-{wish}": (name, dtype, wish)
        for name, dtype, wish in _KINDS}  # fmt: skip


STACK = np.random.default_rng(0).standard_normal((100, 32, 32)).astype(np.float32) / 5


def _scanned(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return jax.lax.scan(lambda c, w: (jnp.tanh(c @ w), None), x, p["w"])[0]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("quantised")
    made = {}
    for number, (key, (name, dtype, wish)) in enumerate(_ALL.items()):
        weight, x = CASES[name].arrays(dtype)
        done = ms.export((CASES[name].function, {"w": weight}), x, file_name=folder / str(number),
                         **WISHES[wish])  # fmt: skip
        made[key] = done.file
    stacked = ms.export((_scanned, {"w": STACK}), jnp.ones((5, 32)), file_name=folder / "stack",
                        weights="int4")  # fmt: skip
    return made | {"stack": stacked.file}


@pytest.fixture(scope="module")
def outcomes(files: dict[str, Path]) -> dict[str, runner.Outcome]:
    """All files in one MindSpore; that of a stack is the last."""
    need_mindspore()
    inputs = {key: CASES[name].arrays(dtype)[1] for key, (name, dtype, _) in _ALL.items()}
    inputs["stack"] = np.ones((5, 32), np.float32)
    cases = [runner.Case(files[key], [[x]], {}) for key, x in inputs.items()]
    with runner.MindSpore() as mindspore:
        return dict(zip(inputs, mindspore.run(cases), strict=True))


@pytest.mark.parametrize("key", _ALL)
def test_products(files: dict[str, Path], outcomes: dict[str, runner.Outcome], key: str) -> None:
    """MindSpore's numbers, and those of the function that ``load`` makes, are NumPy's."""
    name, dtype, wish = _ALL[key]
    want = quantising.expected(CASES[name], dtype, WISHES[wish])
    assert not outcomes[key].error
    quantising.check(outcomes[key].results[0][0], want, dtype)
    function = ms.load(files[key])
    quantising.check(np.asarray(function(CASES[name].arrays(dtype)[1])), want, dtype)
    bits = quantising.bits_and_block(WISHES[wish])[0]
    assert function.parameters["w"].nbytes == np.prod(CASES[name].weight) * bits // 8


def test_layers_of_a_stack(files: dict[str, Path], outcomes: dict[str, runner.Outcome]) -> None:
    """A loop takes one layer of numbers and of scales at a time, in MindSpore."""
    layers = [quantising.dequantised(layer, 0, 4, 32).astype(np.float64) for layer in STACK]
    want = np.ones((5, 32))
    for layer in layers:
        want = np.tanh(want @ layer)
    assert not outcomes["stack"].error
    np.testing.assert_allclose(outcomes["stack"].results[0][0], want, rtol=1e-4, atol=1e-6)
    assert ms.load(files["stack"]).parameters["w"].shape == (100, 16, 32)

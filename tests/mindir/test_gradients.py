"""Gradient operators, alone and in graphs that MindSpore exported."""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.graph.meaning import gradients
from tests.mindir import gradient_sweep as sweep
from tests.mindir.gradient_formulas import FORMULAS, MORE, Formula, T
from tests.mindir.gradient_samples import SAMPLES
from tests.real import need_mindspore

#: Networks whose gradients the default run compares; a command runs all.
NETWORKS = ("branch", "convnet", "language", "lstm", "unet")
STEPS = ("adam", "momentum")
#: One in so many operators; all of them are a command's.
_SHARE = 4


def test_every_row_has_a_case() -> None:
    covered = SAMPLES.keys() | FORMULAS.keys() | {
        "BroadcastGradientArgs", "DynamicBroadcastGradientArgs", "IRFFTDouble",
    }  # fmt: skip
    assert gradients.ROWS.keys() == covered


def test_operators_run_in_a_dtype_of_each() -> None:
    need_mindspore()
    chosen = []
    for op, group in itertools.groupby(sweep.cases(), lambda case: case.op):
        cases, number = [*group], zlib.crc32(op.encode())
        chosen += [cases[number % len(cases)]] if number % _SHARE == 0 else []
    done = sweep.outcomes(chosen)
    assert len(done) > 10
    assert {case: text for case, each in done.items() if (text := sweep.wrong(case, each))} == {}


@pytest.mark.parametrize("name", [*FORMULAS, *MORE])
def test_gradients_are_slopes(name: str) -> None:
    """The gradients, along random directions, are the differences of the forward operator."""
    formula: Formula = (FORMULAS | MORE)[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    with jax.enable_x64(True):
        at = [rng.uniform(formula.low, formula.high, shape) for shape in formula.shapes]
        dout = rng.standard_normal(np.shape(formula.forward(*at)))
        found = formula.gradients(jnp.asarray(dout), *map(jnp.asarray, at))
        found = found if isinstance(found, tuple) else (found,)
        assert [g.shape for g in found] == [x.shape for x in at]
        for k, gradient in enumerate(found):
            way = rng.standard_normal(at[k].shape)
            ends = [
                formula.forward(*at[:k], at[k] + step * way, *at[k + 1 :]) for step in (1e-6, -1e-6)
            ]
            slope = np.vdot(dout, ends[0] - ends[1]) / 2e-6
            np.testing.assert_allclose(np.vdot(gradient, way), slope, 1e-5, 1e-6)


@pytest.mark.parametrize(
    ("x", "y", "axes"),
    [((2, 3), (3,), ([], [0])), ((2, 1), (2, 3), ([1], [])), ((1, 3), (2, 1), ([0], [1])),
     ((2, 3), (2, 3), ([], [])), ((1, 2), (1, 2), ([0], [0]))],
)  # fmt: skip
def test_axes_of_broadcasting(x: Any, y: Any, axes: Any) -> None:
    for op in ("BroadcastGradientArgs", "DynamicBroadcastGradientArgs"):
        assert [part.tolist() for part in T[op](x, y)] == [*axes]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_mindspore()
    folder = tmp_path_factory.mktemp("training")
    script = Path(__file__).with_name("training_networks.py")
    environment = os.environ | {"GLOG_v": "4"}
    subprocess.run([sys.executable, script, folder, *NETWORKS, *STEPS], check=True, timeout=280,
                   env=environment, capture_output=True)  # fmt: skip
    return folder


def arrays(folder: Path, name: str) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """The inputs, and all else that MindSpore has given."""
    failure = folder / f"{name}.txt"
    assert not failure.exists(), failure.read_text()
    with np.load(folder / f"{name}.npz") as saved:
        inputs = [saved[key] for key in saved if key.startswith("input")]
        return inputs, {key: saved[key] for key in saved if not key.startswith("input")}


def near(found: Any, wanted: np.ndarray, tolerance: float = 3e-5) -> None:
    """Compare by the largest number."""
    size = max(np.abs(wanted).max(initial=0), 1e-3)
    np.testing.assert_allclose(np.asarray(found), wanted, 0, tolerance * size)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_give_mindspores_gradients(trained: Path, name: str) -> None:
    inputs, wanted = arrays(trained, name)
    f = ms.load(trained / f"{name}.mindir")
    run = jax.jit(functools.partial(f.apply, mutable=True))
    found = jax.tree.leaves(run(f.parameters, *inputs)[0])
    for got, want in zip(found, wanted.values(), strict=True):
        assert got.dtype == want.dtype
        near(got, want)


@pytest.mark.parametrize("name", NETWORKS)
def test_jax_differentiates_what_is_loaded(trained: Path, name: str) -> None:
    """The gradient of the file's loss is its gradient; that can be differentiated once more."""
    inputs, _ = arrays(trained, name)
    f = ms.load(trained / f"{name}.mindir")

    def results(parameters: Any) -> Any:
        loss, given = f.apply(parameters, *inputs, mutable=True)[0]
        return loss, jax.tree.leaves(given)

    of_weights = jax.jit(jax.grad(lambda parameters: results(parameters)[0]))
    weights = {name: jnp.asarray(p) for name, p in f.parameters.items()}
    moving = {key: p for key, p in weights.items() if "moving" not in key}
    gradient = of_weights(weights)
    for key, got in zip(moving, jax.jit(results)(weights)[1], strict=True):
        near(got, np.asarray(gradient[key]))
    # The file's gradients change along a direction as those of JAX do.
    way = {key: jnp.cos(jnp.arange(p.size)).reshape(p.shape) for key, p in weights.items()}
    _, changes = jax.jit(jax.jvp, static_argnums=0)(of_weights, (weights,), (way,))
    (_, _), (_, own) = jax.jit(jax.jvp, static_argnums=0)(results, (weights,), (way,))
    for key, got in zip(moving, own, strict=True):
        near(got, np.asarray(changes[key]), 1e-3)


@pytest.mark.parametrize("name", STEPS)
def test_training_takes_mindspores_steps(trained: Path, name: str) -> None:
    inputs, wanted = arrays(trained, name)
    f = ms.load(trained / f"{name}.mindir")
    step = jax.jit(functools.partial(f.apply, mutable=True))
    parameters = f.parameters
    for number in range(3):
        loss, parameters = step(parameters, *inputs)
        near(jax.tree.leaves(loss)[0], wanted[f"loss{number}"])
        for key, value in parameters.items():
            near(value, wanted[f"step{number}:{key}"], 1e-4)
    assert len(wanted) == 3 * (1 + len(parameters))

"""Gradient operators, alone and in graphs that MindSpore exported."""

from __future__ import annotations

import functools
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
from tests.mindir import vocabulary, vocabulary_gradients
from tests.mindir.gradient_formulas import FORMULAS, MORE, Formula, T
from tests.mindir.gradient_samples import SAMPLES
from tests.mindir.sweep import few
from tests.real import made_by_mindspore, need_mindspore

#: Networks whose gradients the default run compares; a command runs all.
NETWORKS = ("branch", "convnet", "language", "lstm", "unet", "words")
STEPS = ("adam", "asgd", "momentum")
#: One in so many operators; all of them are a command's.
_SHARE = 4


def test_every_row_has_a_case() -> None:
    rows = vocabulary.rows(vocabulary_gradients.ROWS)
    alone = {row.op for row in rows if "Grad" in row.op}
    covered = alone | SAMPLES.keys() | FORMULAS.keys() | {
        "BroadcastGradientArgs", "DynamicBroadcastGradientArgs", "IRFFTDouble", "ShapeCalc",
    }  # fmt: skip
    assert gradients.ROWS.keys() == covered


def test_operators_run_in_a_dtype_of_each() -> None:
    need_mindspore()
    done = sweep.outcomes(few(sweep.cases(), _SHARE))
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


def test_shapes_are_computed() -> None:
    x, y = np.zeros((2, 3, 4)), np.zeros((3, 1))

    def computed(name: str, *options: Any) -> Any:
        of_shape = (True, name.endswith("Args"))
        second = y if of_shape[1] else (0, -1)
        functor = (f"ShapeCalc_{name}", *options)
        return T["ShapeCalc"](x, second, functor=functor, only_depend_shape=of_shape)

    assert computed("ReduceShape", False) == ((1, 3, 1), (2, 1, 4))
    assert [part.tolist() for part in computed("BroadcastGradientArgs", 0)] == [[], [0, 2]]
    with pytest.raises(ms.MindIRError, match="ShapeCalc_g_cdist has no meaning"):
        computed("g_cdist")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = Path(__file__).with_name("training_networks.py")
    return made_by_mindspore(script, tmp_path_factory.mktemp("training"), *NETWORKS, *STEPS)


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


def _loss_and_gradients(f: ms.MindIRFunction, inputs: Any) -> Any:
    """The file's loss and its gradients, by the names of the parameters, as a function of these."""

    def run(parameters: Any) -> Any:
        loss, given = f.apply(parameters, *inputs)
        return loss, dict(zip(f.parameters, jax.tree.leaves(given), strict=True))

    return run


def test_jax_differentiates_what_is_loaded(trained: Path) -> None:
    """The gradient of the file's loss is the file's, and changes along a direction as that does."""
    inputs, _ = arrays(trained, "branch")
    f = ms.load(trained / "branch.mindir")
    run = _loss_and_gradients(f, inputs)
    weights = {name: jnp.asarray(p) for name, p in f.parameters.items()}
    way = {name: jnp.cos(jnp.arange(p.size)).reshape(p.shape) for name, p in weights.items()}
    of_loss = jax.grad(lambda parameters: run(parameters)[0])
    wanted, wanted_change = jax.jit(lambda p: jax.jvp(of_loss, (p,), (way,)))(weights)
    found, change = jax.jit(lambda p: jax.jvp(lambda p: run(p)[1], (p,), (way,)))(weights)
    for name in weights:
        near(found[name], np.asarray(wanted[name]))
        near(change[name], np.asarray(wanted_change[name]), 1e-4)


def test_gradients_of_other_sizes(trained: Path) -> None:
    inputs, _ = arrays(trained, "words")
    f = ms.load(trained / "words.mindir")
    assert f.inputs[0].shape == (None, None)
    longer = np.tile(inputs[0], (2, 2)), np.tile(inputs[1], 2)
    run = _loss_and_gradients(f, longer)
    weights = {name: jnp.asarray(p) for name, p in f.parameters.items()}
    wanted = jax.grad(lambda parameters: run(parameters)[0])(weights)
    for name, got in run(weights)[1].items():
        near(got, np.asarray(wanted[name]))


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

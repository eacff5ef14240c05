"""Every layer's weights give the same output in real MindSpore, in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import linen, nnx

import msckpt_jax as ms
from msckpt_jax.conventions.convention import Convention
from tests.conventions.cases import CASES, Case, random_inputs, randomised

#: MindSpore's tanh is that far from XLA's after five steps of a recurrent layer.
TOLERANCE: dict[str, Any] = {"rtol": 0, "atol": 1e-4}


class Nest(nnx.Module):
    def __init__(self, layer: Any):
        self.layer = layer


class LinenNest(linen.Module):
    layer: linen.Module
    run: Any

    def __call__(self, *x: Any) -> Any:
        return self.run(self.layer, *x)


class Flax:
    """A network of one layer, of nnx or linen."""

    def __init__(self, case: Case, inputs: list[np.ndarray]):
        layer = case.flax(nnx.Rngs(0))
        self.run, self.inputs = case.run, inputs
        if isinstance(layer, linen.Module):
            self.module = LinenNest(layer, case.run)
            self.tree = self.module.init(jax.random.key(0), *inputs)
            self.convention: Any = Convention(
                base=case.base, module=self.module, inputs=tuple(inputs)
            )
            self.tree = jax.tree_util.tree_map_with_path(randomised, self.tree)
        else:
            self.tree, self.convention = Nest(layer), case.base
            state = nnx.state(self.tree, (nnx.Param, nnx.BatchStat))
            nnx.update(self.tree, jax.tree_util.tree_map_with_path(randomised, state))

    def output(self) -> np.ndarray:
        if isinstance(self.tree, nnx.Module):
            return np.asarray(self.run(self.tree.layer, *self.inputs))
        return np.asarray(self.module.apply(self.tree, *self.inputs))

    def save(self, path: Path) -> None:
        ms.save_checkpoint(self.tree, path, convention=self.convention, choice_func=no_rngs)

    def load(self, path: Path) -> tuple[list[str], list[str]]:
        params = ms.load_checkpoint(path)
        if isinstance(self.tree, nnx.Module):
            missing, unused = ms.load_param_into_net(
                self.tree, params, strict_load=True, convention=self.convention
            )
        else:
            self.tree, missing, unused = ms.load_param_into_tree(
                self.tree, params, strict_load=True, convention=self.convention
            )
        return [name for name in missing if no_rngs(name)], unused


def no_rngs(name: str) -> bool:
    return ".rngs." not in name


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_same_output(mindspore: Any, tmp_path: Path, case: Case) -> None:
    inputs = random_inputs(case)
    flax = Flax(case, inputs)
    np.savez(tmp_path / "x.npz", *[np.moveaxis(x, -1, 1) if case.first else x for x in inputs])

    def in_mindspore(**paths: Any) -> tuple[Any, np.ndarray]:
        found = mindspore.call(
            "run_layer", make=case.mindspore, forward=case.call, patch=case.patch,
            inputs=str(tmp_path / "x.npz"), output=str(tmp_path / "y.npy"),
            **{"load": None, "save": None} | paths,
        )  # fmt: skip
        y = np.load(tmp_path / "y.npy")
        return found, np.moveaxis(y, 1, -1) if case.first else y

    flax.save(tmp_path / "flax.ckpt")
    found, y = in_mindspore(load=str(tmp_path / "flax.ckpt"))
    assert found == {"missing": [], "unused": []}
    np.testing.assert_allclose(y, flax.output(), **TOLERANCE)

    _, y = in_mindspore(save=str(tmp_path / "mindspore.ckpt"))
    assert not np.allclose(y, flax.output(), atol=1e-3)
    assert flax.load(tmp_path / "mindspore.ckpt") == ([], [])
    np.testing.assert_allclose(y, flax.output(), **TOLERANCE)

"""Real MindSpore builds the same networks: the same names, and the same logits from one file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax.networks import bert, resnet
from tests.networks.conftest import CASES, abstract, filled

DATA = Path(__file__).parent / "data"
RESNETS = {
    18: resnet.resnet18,
    34: resnet.resnet34,
    50: resnet.resnet50,
    101: resnet.resnet101,
    152: resnet.resnet152,
}


@nnx.jit
def run(net: Any, *inputs: jax.Array) -> tuple[jax.Array, ...]:
    """The outputs as MindSpore has them: channels first, and for a YOLO boxes, too."""
    if inputs[0].ndim != 4:
        return net(*inputs)
    image = inputs[0].transpose(0, 2, 3, 1)
    if not hasattr(net, "boxes"):
        return (net(image),)
    return (*(raw.transpose(0, 3, 1, 2) for raw in net(image)), *net.boxes(image))


def assert_same(net: Any, inputs: list[np.ndarray], expected: list[np.ndarray]) -> None:
    net.eval()
    for mine, theirs in zip(run(net, *inputs), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=3e-5, rtol=1e-4)


def outputs(folder: Path, name: str) -> list[np.ndarray]:
    """MindSpore's: those with our file first, those with its own file after them."""
    with np.load(folder / name / "outputs.npz") as file:
        return list(file.values())


@pytest.mark.parametrize("name", CASES)
def test_mindspore_loads_our_file(answers: dict[str, Any], folder: Path, name: str) -> None:
    assert (answers[name]["missing"], answers[name]["unused"]) == ([], [])
    found = outputs(folder, name)
    assert_same(filled(CASES[name].make), CASES[name].inputs, found[: len(found) // 2])


@pytest.mark.parametrize("name", CASES)
def test_we_load_mindspores_file(answers: dict[str, Any], folder: Path, name: str) -> None:
    net, case = filled(CASES[name].make), CASES[name]
    parameters = ms.load_checkpoint(folder / name / "theirs.ckpt")
    report = ms.load_param_into_net(net, parameters, True, convention=case.convention)
    assert report == ([], [])
    found = outputs(folder, name)
    assert_same(net, case.inputs, found[len(found) // 2 :])


def test_the_two_max_pools_differ() -> None:
    """No parameter tells them apart, so that only the logits can."""
    case = CASES["vision-50-symmetric"]
    same = case._replace(make=functools.partial(resnet.resnet50, 7, max_pool="same"))
    nets = [filled(each.make) for each in (case, same)]
    for net in nets:
        net.eval()  # as the cases above, which have compiled it
    one, other = (run(net, *case.inputs)[0] for net in nets)
    assert np.abs(one - other).max() > 0.1


def shapes(net: Any, convention: ms.Convention) -> dict[str, tuple[int, ...]]:
    return {target.name: target.shape for target in convention.targets(net)}


@pytest.mark.parametrize("depth", RESNETS)
def test_names_of_mindspore_vision(answers: dict[str, Any], depth: int) -> None:
    theirs = {name: tuple(shape) for name, shape in answers[f"names-{depth}"]["shapes"].items()}
    assert shapes(abstract(RESNETS[depth]), ms.Convention()) == theirs


def test_names_of_bert_base(answers: dict[str, Any]) -> None:
    theirs = {name: tuple(shape) for name, shape in answers["names-bert"]["shapes"].items()}
    assert shapes(abstract(bert.bert_base), ms.Convention()) == theirs


def test_published_names_of_resnet50(answers: dict[str, Any]) -> None:
    rows = [line.split("\t") for line in (DATA / "resnet50.tsv").read_text().splitlines()[1:]]
    sizes = [tuple(map(int, shape.split(","))) for *_, shape in rows]
    net = abstract(resnet.resnet50)
    for column, convention, oracle in (
        (0, ms.Convention(), "names-50"),
        (1, resnet.MINDCV, "names-mindcv-50"),
    ):
        published = dict(zip([row[column] for row in rows], sizes, strict=True))
        assert shapes(net, convention) == published
        assert {n: tuple(s) for n, s in answers[oracle]["shapes"].items()} == published

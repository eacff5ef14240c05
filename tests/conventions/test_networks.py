"""The tables of others' networks, by names that ``tests/flaxnets/check.py`` took from them."""

from __future__ import annotations

import collections
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax.conventions import networks
from msckpt_jax.conventions.renaming import renamed
from tests.pages import script

ROOT = Path(__file__).parents[2]
LINES = [
    line.split("\t") for line in (ROOT / "tests/flaxnets/names.tsv").read_text("utf-8").splitlines()
]


@pytest.mark.parametrize("name", networks.known())
def test_names_become_those_of_the_files(name: str) -> None:
    lines = [line for line in LINES if line[0] == name]
    assert len(lines) > 15
    assert [renamed(plain, networks.known()[name].rename) for _, plain, _, _ in lines] == [
        theirs for _, _, theirs, _ in lines
    ]


def test_the_names_of_one_collection_agree() -> None:
    """Two networks of one family have mindcv's parameters, each of them once, in one shape."""
    of: dict[str, collections.Counter[tuple[str, str]]] = {}
    for name, _, theirs, shape in LINES:
        of.setdefault(name, collections.Counter())[theirs, shape] += 1
    assert of["bonsai.vit"] == of["jimm.vit"]
    assert all(set(counts.values()) == {1} for counts in of.values())


class Small(nnx.Module):
    """A part of bonsai's ResNet."""

    def __init__(self, rngs: nnx.Rngs):
        self.layer0 = nnx.Dict(blocks=nnx.List([nnx.Dict(conv0=nnx.Conv(3, 4, (1, 1), rngs=rngs))]))
        self.fc = nnx.Linear(4, 2, rngs=rngs)


def test_by_name_and_with_more(tmp_path: Path) -> None:
    net = Small(nnx.Rngs(0))
    ms.save_checkpoint(net, tmp_path / "a.ckpt", convention="bonsai.resnet")
    names = ["classifier.bias", "classifier.weight", "layer1.0.conv1.bias", "layer1.0.conv1.weight"]
    assert sorted(ms.load_checkpoint(tmp_path / "a.ckpt")) == names
    how = ms.Convention(network="bonsai.resnet", rename={"^": "net."})
    assert sorted(row.name for row in ms.explain(net, how)) == [f"net.{name}" for name in names]
    fresh = Small(nnx.Rngs(1))
    params = ms.load_checkpoint(tmp_path / "a.ckpt")
    assert ms.load_param_into_net(fresh, params, convention="bonsai.resnet") == ([], [])
    assert jnp.array_equal(fresh.fc.kernel[...], net.fc.kernel[...])


def test_a_proposal_names_the_network() -> None:
    net = Small(nnx.Rngs(0))
    file = {row.name.replace("classifier", "fc"): np.zeros(row.shape, np.float32)
            for row in ms.explain(net, "bonsai.resnet")}  # fmt: skip
    missing, _ = ms.load_param_into_net(net, file, convention="bonsai.resnet")
    rule = r"r'\bclassifier\b': 'fc'"
    assert f"ms.Convention(network='bonsai.resnet', rename={{{rule}}})" in missing.explain()


def test_unknown() -> None:
    with pytest.raises(ValueError, match=r"network must be one of bonsai\.resnet.*not 'timm'"):
        ms.Convention(network="timm")
    with pytest.raises(ValueError, match=r"base must be one of .*mint.*, or a network: bonsai"):
        ms.explain(Small(nnx.Rngs(0)), "bonsai.resnet50")


def test_the_page_is_current() -> None:
    page = script("networks")
    assert page.page() == page.PAGE.read_text("utf-8"), "run python docs/networks.py"

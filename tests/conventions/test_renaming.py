"""``Convention(rename=...)``: templates, functions of matches, a function of the whole name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import msckpt_jax as ms


class Blocks(linen.Module):
    """Names with ``_`` where MindSpore's networks have ``.``."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for stage in (1, 2):
            for block in range(3):
                x = linen.Conv(4, (3, 3), name=f"layer{stage}_{block}")(x)
        return x


class Features(nnx.Module):
    """Convolutions by themselves, between which MindSpore's SequentialCell has activations."""

    def __init__(self, seed: int):
        rngs = nnx.Rngs(seed)
        self.features = nnx.List([nnx.Conv(4, 4, (3, 3), rngs=rngs) for _ in range(3)])
        self.head = nnx.Linear(4, 2, rngs=rngs)


def doubled(match: Any) -> str:
    return str(2 * int(match[0]))


def test_separators() -> None:
    tree = Blocks().init(jax.random.key(0), jnp.ones((1, 4, 4, 4)))
    how = ms.Convention(rename={r"^layer(\d+)_(\d+)": r"layer\1.\2"})
    assert ms.explain(tree, how)[0].name == "layer1.0.bias"


@pytest.mark.parametrize("rename", [
    {r"(?<=^features\.)\d+": doubled},
    {r"^features": "cells", r"(?<=^cells\.)\d+": doubled, "^cells": "features"},
    lambda name: name.replace(".2.", ".4.").replace(".1.", ".2."),
])  # fmt: skip
def test_an_index_that_is_shifted(tmp_path: Path, rename: Any) -> None:
    """Saved and loaded by the same function; it is never inverted."""
    how = ms.Convention(rename=rename)
    ms.save_checkpoint(Features(0), tmp_path / "a.ckpt", convention=how)
    params = ms.load_checkpoint(tmp_path / "a.ckpt")
    assert [n for n in params if n.endswith("s")] == [
        "features.0.bias", "features.2.bias", "features.4.bias", "head.bias",
    ]  # fmt: skip
    net = Features(1)
    assert ms.load_param_into_net(net, params, convention=how) == ([], [])
    for got, wanted in zip(*map(jax.tree.leaves, map(nnx.state, (net, Features(0)))), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_moments_are_renamed_behind_their_prefix() -> None:
    net = Features(0)
    optimizer = nnx.Optimizer(net, optax.sgd(0.1, momentum=0.9), wrt=nnx.Param)
    how = ms.Convention(rename={"^": "backbone."})
    names = {row.name for row in ms.explain({"net": net, "optimizer": optimizer}, how)}
    assert {"backbone.head.weight", "moments.backbone.head.weight", "global_step"} <= names
    assert not any(name.startswith("backbone.moments") for name in names)


@pytest.mark.parametrize(("rename", "problem"), [
    ({"head": lambda match: 3}, r"'head.bias': the function rename\['head'\] does not .*found 3"),
    (lambda name: None, "'features.0.bias': the function rename= does not give a text.*found None"),
    (lambda name: "", "leaves nothing of the name"),
    ({".*": ""}, "leaves nothing of the name"),
    ({r"\d": "0"}, "get the same name in MindSpore; rename= must keep them apart"),
])  # fmt: skip
def test_names_that_none_can_be(rename: Any, problem: str, tmp_path: Path) -> None:
    how = ms.Convention(rename=rename)
    with pytest.raises(ms.CheckpointError, match=problem):
        ms.save_checkpoint(Features(0), tmp_path / "a.ckpt", convention=how)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("rename", "error", "problem"), [
    ({"a": r"\2"}, ValueError, "no template for 'a'"),
    ({"a": r"\g<b>"}, ValueError, "no template for 'a'"),
    ({"(": "a"}, ValueError, "no regular expression"),
    ({"a": 1}, TypeError, r"rename\['a'\] must be a str or a function, not int"),
    ({1: "a"}, TypeError, "must be a str, not int"),
    ("a", TypeError, "must be a dict of regular expressions.*not str"),
])  # fmt: skip
def test_rules_that_none_can_be(rename: Any, error: type[Exception], problem: str) -> None:
    with pytest.raises(error, match=problem):
        ms.Convention(rename=rename)

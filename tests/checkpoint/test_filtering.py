"""Deleting parameters of a loaded CheckPoint, before it goes into another network."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms

NAMES = ["backbone.conv.weight", "head.dense.bias", "head.dense.weight", "header.weight"]


def in_file(path: Path) -> Any:
    ms.save_checkpoint({name: np.ones(2, np.float32) for name in NAMES}, str(path))
    return ms.load_checkpoint(str(path))


def in_memory(path: Path) -> Any:
    return {name: np.ones(2, np.float32) for name in NAMES}


@pytest.mark.parametrize("load", [in_file, in_memory])
@pytest.mark.parametrize(
    ("drop", "deleted"),
    [
        ("head", [1, 2]),
        ("head.dense.weight", [2]),
        (["header", "backbone.conv"], [0, 3]),
        (re.compile(r"^head"), [1, 2, 3]),
        (re.compile(r"dense\..*s$"), [1]),
        (lambda name: name.endswith("weight"), [0, 2, 3]),
        (("head", re.compile("dense")), [1, 2]),
        ([], []),
    ],
)
def test_what_is_deleted(
    tmp_path: Path, load: Callable[[Path], Any], drop: Any, deleted: list[int]
) -> None:
    parameters = load(tmp_path / "a.ckpt")
    assert ms.filter_parameters(parameters, drop) == [NAMES[i] for i in deleted]
    assert list(parameters) == [name for i, name in enumerate(NAMES) if i not in deleted]


@pytest.mark.parametrize(
    ("drop", "error", "text"),
    [
        (["head", "heads"], ms.CheckpointError, "'heads' (nearest: head"),
        (re.compile("^dense"), ms.CheckpointError, "'^dense'"),
        ([3], TypeError, "not int"),
    ],
)
def test_refused_and_nothing_deleted(drop: Any, error: type[Exception], text: str) -> None:
    parameters = dict.fromkeys(NAMES, np.ones(2))
    with pytest.raises(error, match=re.escape(text)):
        ms.filter_parameters(parameters, drop)
    assert list(parameters) == NAMES


class Net(nnx.Module):
    def __init__(self, classes: int):
        self.body = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
        self.head = nnx.Linear(4, classes, rngs=nnx.Rngs(0))


def test_the_head_is_reported_as_not_loaded(tmp_path: Path) -> None:
    path = str(tmp_path / "a.ckpt")
    ms.save_checkpoint(Net(10), path)
    by_filter, by_hand, net = ms.load_checkpoint(path), ms.load_checkpoint(path), Net(2)
    with pytest.raises(ms.CheckpointError, match=r"head.bias.*expected \[2\], found \[10\]"):
        ms.load_param_into_net(net, by_filter)
    ms.filter_parameters(by_filter, "head")
    del by_hand["head.kernel"], by_hand["head.bias"]
    for parameters in (by_filter, by_hand):
        assert ms.load_param_into_net(net, parameters) == (["head.bias", "head.kernel"], [])

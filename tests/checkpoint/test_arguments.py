"""What a user may get wrong in a call: refused by name, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.errors import CheckpointError

X = np.ones(2, np.float32)


@pytest.mark.parametrize(
    ("tree", "kwargs", "error", "message"),
    [
        ({}, {}, CheckpointError, "nothing to save"),
        (None, {}, CheckpointError, "nothing to save"),
        ({"a": X}, {"choice_func": lambda name: False}, CheckpointError, "nothing to save"),
        ({"a": X}, {"integrated_save": "no"}, TypeError, "integrated_save must be bool"),
        ({"a": X}, {"threads": 0}, ValueError, "positive"),
        ({"a": X}, {"timeout": -1}, ValueError, "positive"),
        ({"a": X}, {"append_dict": {"b": 1e300}}, CheckpointError, r"'b'.*np\.float64"),
        (
            [{"name": "a", "data": X}, {"nam": "b", "data": X}],
            {},
            TypeError,
            r"save_obj\[1\] must be a dict of a name",
        ),
    ],
)
def test_wrong_arguments_of_save(
    tmp_path: Path, tree: Any, kwargs: Any, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        ms.save_checkpoint(tree, tmp_path / "a.ckpt", **kwargs)
    assert not list(tmp_path.iterdir())


def test_what_is_not_chosen_is_not_refused(tmp_path: Path) -> None:
    tree = {"w": X, "z": X * 1j, "rng": jax.random.key(0)}
    asked: list[str] = []
    ms.save_checkpoint(tree, tmp_path / "a.ckpt", choice_func=lambda n: asked.append(n) or n != "z")
    assert sorted(asked) == ["rng", "w", "z"]  # the names that loading gives
    assert sorted(ms.load_checkpoint(tmp_path / "a.ckpt")) == ["rng", "w"]


def test_large_numbers_of_append_dict(tmp_path: Path) -> None:
    append = {"inf": float("inf"), "wide": np.float64(1e300)}
    ms.save_checkpoint({"w": X}, tmp_path / "a.ckpt", append_dict=append)
    found = ms.load_checkpoint(tmp_path / "a.ckpt")
    assert (found["inf"], found["wide"]) == (np.inf, 1e300)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"sharding": "x"}, "sharding must be a"),
        ({"sharding": lambda name, shape: name}, r"sharding\('w', \(2,\)\) gave a str"),
        ({"strict_load": 1}, "strict_load must be bool"),
        ({"crc_check": "yes"}, "crc_check must be bool"),
    ],
)
def test_wrong_arguments_of_load(tmp_path: Path, kwargs: Any, message: str) -> None:
    ms.save_checkpoint({"w": jnp.asarray(X)}, tmp_path / "a.ckpt")
    with pytest.raises(TypeError, match=message):
        ms.load_checkpoint(tmp_path / "a.ckpt", **kwargs)


def test_a_scheme_that_nothing_reads() -> None:
    with pytest.raises(ValueError, match=r"ftpx://a/b.*nor fsspec knows ftpx"):
        ms.save_checkpoint({"w": X}, "ftpx://a/b.ckpt")

"""A folder in an object store."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import pytest

import msckpt_jax as ms
from msckpt_jax import CheckpointConfig, ModelCheckpoint


@pytest.mark.parametrize("how", [False, True])
def test_a_run_in_an_object_store(object_store: dict[str, Any], how: bool) -> None:
    folder = "gs://bucket/runs"
    config = CheckpointConfig(2, keep_checkpoint_max=1, exception_save=True, async_save=how)
    for _ in range(2):
        with ModelCheckpoint("m", folder, config) as ckpt:
            for number in range(5):
                ckpt.step({"w": jnp.arange(3.0) + number})
    names = sorted(name.rpartition("/")[2] for name in object_store)
    assert names == ["m-1_5.ckpt", "m_1-1_5.ckpt"]
    assert ms.latest_checkpoint(folder) == f"{folder}/m_1-1_5.ckpt" == ckpt.latest_ckpt_file_name
    found = ms.resume(folder, like={"w": jnp.zeros(3)})
    assert found is not None
    assert found.state["w"].tolist() == [4, 5, 6]


def test_retention_in_an_object_store(object_store: dict[str, Any]) -> None:
    folder = "gs://bucket/runs"
    config = CheckpointConfig(2, keep_checkpoint_max=1, keep_every=3, keep_earlier_runs=False)
    for _ in range(2):
        with ModelCheckpoint("m", folder, config) as ckpt:
            for _ in range(7):
                ckpt.step({"w": 1})
    names = sorted(name.rpartition("/")[2] for name in object_store)
    assert names == ["m-1_4.ckpt", "m-1_6.ckpt", "m_1-1_7.ckpt"]

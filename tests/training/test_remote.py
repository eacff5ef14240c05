"""A folder in an object store: Google's paths, with a file system in memory in its place."""

from __future__ import annotations

from typing import Any, ClassVar

import fsspec
import jax.numpy as jnp
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import msckpt_jax as ms
from msckpt_jax import CheckpointConfig, ModelCheckpoint


class Store(MemoryFileSystem):
    protocol = ("gs", "gcs")
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]


@pytest.mark.parametrize("how", [False, True])
def test_a_run_in_an_object_store(how: bool) -> None:
    for name in Store.protocol:
        fsspec.register_implementation(name, Store, clobber=True)
    Store.store.clear()
    folder = "gs://bucket/runs"
    config = CheckpointConfig(2, keep_checkpoint_max=1, exception_save=True, async_save=how)
    for _ in range(2):
        with ModelCheckpoint("m", folder, config) as ckpt:
            for number in range(5):
                ckpt.step({"w": jnp.arange(3.0) + number})
    names = sorted(name.rpartition("/")[2] for name in Store.store)
    assert names == ["m-1_5.ckpt", "m_1-1_5.ckpt"]
    assert ms.latest_checkpoint(folder) == f"{folder}/m_1-1_5.ckpt" == ckpt.latest_ckpt_file_name
    found = ms.resume(folder, like={"w": jnp.zeros(3)})
    assert found is not None
    assert found.state["w"].tolist() == [4, 5, 6]

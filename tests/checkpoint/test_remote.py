"""Paths of object stores that fsspec's file systems speak to: written in order, read by ranges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint.stores.path import StorePath


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the ranges that are read."""
    sizes: list[int] = []
    read = StorePath.read

    def counting(self: StorePath, start: int, stop: int, *tag: Any) -> bytes:
        sizes.append(stop - start)
        return read(self, start, stop, *tag)

    monkeypatch.setattr(StorePath, "read", counting)
    return sizes


def test_the_same_bytes(tmp_path: Path, mesh: Any, object_store: dict[str, Any]) -> None:
    array = np.arange(1 << 20, dtype=np.float32).reshape(1024, 1024)
    tree = {
        "w": jax.device_put(array, jax.NamedSharding(mesh, jax.P(None, "y"))),
        "s": "text",
        "z": np.zeros((0, 2)),
        "n": np.array(3),
    }
    for name, kwargs in {"a": {}, "b": {"crc_check": True}}.items():
        ms.save_checkpoint(tree, str(tmp_path / name), **kwargs)
        ms.save_checkpoint(tree, f"gs://bucket/{name}", **kwargs)
        (content,) = object_store.values()
        assert content.getvalue() == (tmp_path / f"{name}.ckpt").read_bytes()
        assert list(object_store) == [f"gs://bucket/{name}.ckpt"]
        object_store.clear()


@pytest.mark.parametrize("kwargs", [{}, {"slice_bytes": 1 << 20}, {"format": "safetensors"}])
def test_loading_fetches_only_what_is_needed(
    mesh: Any, object_store: dict[str, Any], fetched: list[int], kwargs: dict[str, Any]
) -> None:
    array = np.arange(1 << 21, dtype=np.float32).reshape(2048, 1024)  # 8 MiB
    ms.save_checkpoint({"w": array, "v": array[0], "n": np.array(3)}, "gs://b/a", **kwargs)
    name = next(iter(object_store))
    file = ms.open_checkpoint(name)
    assert sum(fetched) <= 80_000
    fetched.clear()
    assert np.array_equal(file.get_slice("w")[100:110, 7], array[100:110, 7])
    assert len(fetched) == 1
    assert sum(fetched) < 10 * 4096
    assert file["n"] == 3
    fetched.clear()
    sharding = jax.NamedSharding(mesh, jax.P("x", "y"))
    like = {"w": jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)}
    assert np.array_equal(ms.load_checkpoint(name, like=like)["w"], array)
    assert sum(fetched) < 1.05 * array.nbytes
    file.close()


def test_paths_of_stores(mesh: Any, object_store: dict[str, Any]) -> None:
    array = np.arange(1 << 20, dtype=np.float32).reshape(1024, 1024)
    tree = {"w": jax.device_put(array, jax.NamedSharding(mesh, jax.P(None, "y"))), "s": "text"}
    name = "gs://bucket/dir/model.ckpt"
    for kwargs in ({"async_save": True}, {}, {"crc_check": True}):
        save = ms.save_checkpoint(tree, name, **kwargs)
        if save is not None:
            save.result()
        assert list(object_store) == [name]
        found = ms.load_checkpoint(name, **{k: v for k, v in kwargs.items() if k != "async_save"})
        assert np.array_equal(found["w"], array)
    sharding = jax.NamedSharding(mesh, jax.P("x", "y"))
    like = {"w": jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)}
    assert np.array_equal(ms.load_checkpoint(name, like=like)["w"], array)
    ms.save_checkpoint(tree, name, enc_key=bytes(16))
    assert ms.load_checkpoint(name, dec_key=bytes(16))["s"] == "text"
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        ms.load_checkpoint("gs://bucket/dir/none.ckpt")
    with pytest.raises(ms.CheckpointError, match="folder"):
        ms.load_checkpoint("gs://bucket/dir")


def test_a_failed_upload_leaves_nothing(object_store: dict[str, Any]) -> None:
    ms.save_checkpoint({"v": 1}, "gs://b/a")

    def interrupt(nbytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ms.save_checkpoint({"v": 2}, "gs://b/a", progress=interrupt)
    assert list(object_store) == ["gs://b/a.ckpt"]
    assert ms.load_checkpoint("gs://b/a.ckpt")["v"] == 1


def test_an_object_that_shrinks(object_store: dict[str, Any]) -> None:
    ms.save_checkpoint({"v": np.ones(1 << 18)}, "gs://b/a")
    found = ms.load_checkpoint("gs://b/a.ckpt")
    object_store["gs://b/a.ckpt"].truncate(100)
    with pytest.raises(ms.CheckpointError, match="another object replaced it while it was open"):
        found["v"]


def test_the_parts_of_a_path() -> None:
    path = StorePath("gs://bucket//dir/model.ckpt/")
    assert str(path) == "gs://bucket/dir/model.ckpt" == str(path.parent / path.name)
    assert (path.stem, path.suffix, str(path.parent)) == ("model", ".ckpt", "gs://bucket/dir")
    assert path.with_name("b") == StorePath("gs://bucket/dir/b") != path
    assert StorePath("gs://bucket").parent == StorePath("gs://bucket")
    with pytest.raises(ValueError, match="names no bucket"):
        StorePath("gs://")

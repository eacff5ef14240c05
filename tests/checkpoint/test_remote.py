"""Paths that are no local files go through etils.epath: streamed out, fetched in parts."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import paths, source

FILES: dict[str, bytes] = {}
_PATH_OF = paths.path_of


class MemoryPath:
    """The part of ``epath.Path`` that is used, over a dict, as an object store would be."""

    def __init__(self, name: str):
        self.text = name

    def __str__(self) -> str:
        return self.text

    @property
    def name(self) -> str:
        return self.text.rpartition("/")[2]

    @property
    def parent(self) -> MemoryPath:
        return MemoryPath(self.text.rpartition("/")[0])

    def __truediv__(self, name: str) -> MemoryPath:
        return MemoryPath(f"{self.text}/{name}")

    def with_name(self, name: str) -> MemoryPath:
        return self.parent / name

    def is_dir(self) -> bool:
        return False

    def exists(self) -> bool:
        return self.text in FILES

    def is_file(self) -> bool:
        return self.exists()

    def stat(self) -> Any:
        return type("Stat", (), {"length": len(FILES[self.text])})

    def open(self, mode: str) -> io.BytesIO:
        if mode == "rb":
            return io.BytesIO(FILES[self.text])
        path = self

        class Upload(io.BytesIO):
            def close(self) -> None:
                FILES[path.text] = self.getvalue()
                super().close()

        return Upload()

    def replace(self, other: MemoryPath) -> None:
        FILES[other.text] = FILES.pop(self.text)

    def unlink(self, missing_ok: bool = False) -> None:
        FILES.pop(self.text, None)


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch) -> None:
    FILES.clear()
    local = paths.path_of
    monkeypatch.setattr(
        paths, "path_of", lambda n: MemoryPath(str(n)) if "://" in str(n) else local(n)
    )


def test_the_same_bytes(tmp_path: Path, mesh: Any) -> None:
    array = np.arange(1 << 20, dtype=np.float32).reshape(1024, 1024)
    tree = {
        "w": jax.device_put(array, jax.NamedSharding(mesh, jax.P(None, "y"))),
        "s": "text",
        "z": np.zeros((0, 2)),
        "n": np.array(3),
    }
    for name, kwargs in {"a": {}, "b": {"crc_check": True}}.items():
        ms.save_checkpoint(tree, str(tmp_path / name), **kwargs)
        ms.save_checkpoint(tree, f"mem://bucket/{name}", **kwargs)
        assert list(FILES.items()) == [
            (f"mem://bucket/{name}.ckpt", (tmp_path / f"{name}.ckpt").read_bytes())
        ]
        FILES.clear()


@pytest.mark.parametrize("kwargs", [{}, {"slice_bytes": 1 << 20}, {"format": "safetensors"}])
def test_loading_fetches_only_what_is_needed(mesh: Any, kwargs: dict[str, Any]) -> None:
    array = np.arange(1 << 21, dtype=np.float32).reshape(2048, 1024)  # 8 MiB
    ms.save_checkpoint({"w": array, "v": array[0], "n": np.array(3)}, "mem://b/a", **kwargs)
    name = next(iter(FILES))
    fetched: list[int] = []
    read = source.ReadBytes._read

    def counting(self: Any, start: int, count: int) -> bytes:
        fetched.append(count)
        return read(self, start, count)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source.ReadBytes, "_read", counting)
        file = ms.open_checkpoint(name)
        assert sum(fetched) <= 20 * source.ReadBytes.BLOCK
        fetched.clear()
        assert np.array_equal(file.get_slice("w")[100:110, 7], array[100:110, 7])
        assert sum(fetched) <= 2 * source.ReadBytes.BLOCK
        assert file["n"] == 3
    sharding = jax.NamedSharding(mesh, jax.P("x", "y"))
    like = {"w": jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)}
    assert np.array_equal(ms.load_checkpoint(name, like=like)["w"], array)
    file.close()


def test_paths_of_etils_itself(
    monkeypatch: pytest.MonkeyPatch, mesh: Any, object_store: dict[str, Any]
) -> None:
    monkeypatch.setattr(paths, "path_of", _PATH_OF)
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


def test_threads_share_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seek of one thread does not come between seek and read of another."""

    class Slow(io.BytesIO):
        def seek(self, *args: int) -> int:
            place = super().seek(*args)
            time.sleep(0.001)
            return place

    blocks, size = 40, source.ReadBytes.BLOCK + 1
    content = b"".join(bytes([number]) * size for number in range(blocks))
    FILES["mem://b/a"] = content
    monkeypatch.setattr(MemoryPath, "open", lambda self, mode: Slow(content))
    data = source.ReadBytes(MemoryPath("mem://b/a"))
    with ThreadPoolExecutor(8) as pool:
        read = pool.map(lambda n: bytes(data[n * size : (n + 1) * size]), range(blocks))
    assert b"".join(read) == content


def test_a_failed_upload_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ms.save_checkpoint({"v": 1}, "mem://b/a")

    def interrupt(nbytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ms.save_checkpoint({"v": 2}, "mem://b/a", progress=interrupt)
    assert list(FILES) == ["mem://b/a.ckpt"]
    assert ms.load_checkpoint("mem://b/a.ckpt")["v"] == 1


def test_a_remote_file_that_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    ms.save_checkpoint({"v": np.ones(1 << 18)}, "mem://b/a")
    found = ms.load_checkpoint("mem://b/a.ckpt")
    found.file._data._file.truncate(100)
    with pytest.raises(ms.CheckpointError, match="cut off while it was open"):
        found["v"]

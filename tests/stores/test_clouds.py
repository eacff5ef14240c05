"""gs:// and az://: objects of parts, what a kill leaves of them, and who reads beside a writer."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.stores import uploads
from tests.stores import memory
from tests.stores.clouds import Cloud

ROWS = np.arange(4 << 20, dtype=np.float32).reshape(-1, 1024)  # 16 MiB, two parts
CLOUDS = ["google", "azurite"]
pytestmark = [
    pytest.mark.parametrize("cloud", CLOUDS, indirect=True),
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),  # aiohttp
]


@pytest.fixture
def bucket(cloud: Cloud) -> str:
    """The URL of a new bucket."""
    return f"{cloud.scheme}://{cloud.bucket()}"


def key_in(bucket: str, name: str) -> tuple[Any, str]:
    path = paths.path_of(f"{bucket}/{name}")
    return path.store, path.key


def test_the_bytes_are_those_of_a_local_save(
    cloud: Cloud, bucket: str, tmp_path: Path, mesh: Any
) -> None:
    columns = jax.device_put(ROWS, jax.NamedSharding(mesh, jax.P(None, "y")))
    large, small = {"w": columns, "v": ROWS[0]}, {"v": ROWS[0]}
    for name, tree, kwargs in (
        ("summed.ckpt", large, {"crc_check": True, "slice_bytes": 1 << 20}),
        ("small.ckpt", small, {}),
        ("one.safetensors", large, {"format": "safetensors", "threads": 1}),
        ("hub", large, {"format": "safetensors", "max_shard_size": "5MB"}),
    ):
        ms.save_checkpoint(tree, tmp_path / name, **kwargs)
        ms.save_checkpoint(tree, f"{bucket}/{name}", **kwargs)
        found = ms.load_checkpoint(f"{bucket}/{name}")
        assert all(np.array_equal(found[key], tree[key]) for key in tree)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert cloud.keys(bucket[5:]) == sorted(files)
    for name in files:
        stored = paths.path_of(f"{bucket}/{name}").read_bytes()
        assert stored == (tmp_path / name).read_bytes() or name.startswith("hub/"), name
    ms.save_checkpoint(large, f"{bucket}/secret", enc_key=bytes(16))  # a stream
    assert np.array_equal(ms.load_checkpoint(f"{bucket}/secret.ckpt", dec_key=bytes(16))["w"], ROWS)


def test_many_parts_are_joined_in_order(cloud: Cloud, bucket: str) -> None:
    store, key = key_in(bucket, "d/a.ckpt")
    upload = store.upload(key)
    tags = [upload.put(number, f"{number} ".encode()) for number in range(1, 70)]
    store.resumed(key, upload.id).complete(tags)  # by another process
    assert store.read(key, 0, 1000) == b"".join(b"%d " % number for number in range(1, 70))
    assert cloud.keys(bucket[5:]) == ["d/a.ckpt"]


@pytest.mark.parametrize("data", [b"", b"a\r", b"a\r\n", b"\n--==0==--\n", bytes(range(256))])
def test_any_bytes_arrive(cloud: Cloud, bucket: str, data: bytes) -> None:
    """gcsfs sends small objects between marks, before which a server may take a last byte away."""
    store, key = key_in(bucket, "a")
    store.put(key, data)
    assert store.read(key, 0, 1000) == data if data else store.size(key) == 0
    upload = store.upload(key)
    upload.complete([upload.put(1, data + b"\r"), upload.put(2, b"end")])
    assert store.read(key, 0, 1000) == data + b"\rend"


def test_an_interrupt_leaves_the_old_object(cloud: Cloud, bucket: str) -> None:
    ms.save_checkpoint({"w": ROWS}, f"{bucket}/a")

    def interrupt(nbytes: int) -> None:
        raise KeyboardInterrupt

    for options in ({}, {"enc_key": bytes(16)}):
        with pytest.raises(KeyboardInterrupt):
            ms.save_checkpoint({"w": ROWS + 1}, f"{bucket}/a", progress=interrupt, **options)
        assert cloud.keys(bucket[5:]) == ["a.ckpt"]
    assert np.array_equal(ms.load_checkpoint(f"{bucket}/a.ckpt")["w"], ROWS)


KILLED = """
import os, signal, sys
import numpy as np
import msckpt_jax as ms
from msckpt_jax.checkpoint import paths
upload = type(paths.path_of(sys.argv[1]).store.resumed("b/a", "id"))
setattr(upload, "complete", lambda *args: os.kill(os.getpid(), signal.SIGKILL))
ms.save_checkpoint({"w": np.zeros(4 << 20, np.float32)}, sys.argv[1], threads=1)
"""


def test_what_a_kill_leaves_nobody_sees_and_the_next_save_removes(
    cloud: Cloud, bucket: str
) -> None:
    ms.save_checkpoint({"w": ROWS}, f"{bucket}/d/a")
    for name in ("d/a.ckpt", "e/b.ckpt"):  # with an older object, and without
        ended = subprocess.run([sys.executable, "-c", KILLED, f"{bucket}/{name}"], timeout=100)
        assert ended.returncode == -signal.SIGKILL
    left = cloud.uploads(bucket[5:])
    assert left == (["d/a.ckpt", "e/b.ckpt"] if cloud.scheme == "gs" else [])
    assert np.array_equal(ms.load_checkpoint(f"{bucket}/d/a.ckpt")["w"], ROWS)
    assert [path.name for path in paths.path_of(f"{bucket}/d").iterdir()] == ["a.ckpt"]
    assert not paths.path_of(f"{bucket}/e").exists()
    ms.save_checkpoint({"w": ROWS + 1}, f"{bucket}/d/a")
    ms.save_checkpoint({"w": ROWS + 1}, f"{bucket}/e/b")
    assert cloud.keys(bucket[5:]) == ["d/a.ckpt", "e/b.ckpt"]
    assert np.array_equal(ms.load_checkpoint(f"{bucket}/e/b.ckpt")["w"], ROWS + 1)


def test_another_save_of_the_name_is_told(cloud: Cloud, bucket: str) -> None:
    store, key = key_in(bucket, "a")
    begun = store.upload(key)
    tags = [begun.put(1, b"old")]
    getattr(store, "live", set()).clear()  # as if another process had begun it
    upload = store.upload(key)
    upload.complete([upload.put(1, b"new")])
    with pytest.raises(ms.CheckpointError, match="the parts of this save are gone"):
        begun.complete(tags)
    assert store.read(key, 0, 9) == b"new"


def test_an_open_file_that_is_replaced_is_no_mixture(cloud: Cloud, bucket: str) -> None:
    """Also by another process, of which a listing that fsspec keeps tells nothing."""
    path = f"{bucket}/d/a.ckpt"
    trees = [{"w": np.full(1 << 20, x), "v": np.full(1 << 20, x)} for x in (0.0, 1.0)]
    ms.save_checkpoint(trees[1], f"{bucket}/new.ckpt")
    new = paths.path_of(f"{bucket}/new.ckpt").read_bytes()
    ms.save_checkpoint(trees[0], path)
    store, key = key_in(bucket, "d/a.ckpt")
    store.system.ls(store.place(f"{bucket[5:]}/d"), detail=True)
    file = ms.open_checkpoint(path)
    assert file["w"].sum() == 0
    store.system.ls(store.place(f"{bucket[5:]}/d"), detail=True)
    other = type(store.system)(skip_instance_cache=True)
    other.pipe_file(store.place(key), new)
    with pytest.raises(ms.CheckpointError, match="another object replaced it while it was open"):
        file["v"]


def test_a_missing_bucket(cloud: Cloud) -> None:
    for tree in ({"w": ROWS}, {"v": ROWS[0]}):  # of parts, and whole
        with pytest.raises(ms.StoreError) as caught:
            ms.save_checkpoint(tree, f"{cloud.scheme}://no-such-bucket/a.ckpt")
        text = f"{cloud.scheme}://no-such-bucket/a.ckpt: there is no such bucket: create it"
        assert str(caught.value).startswith(text)
    with pytest.raises(ms.StoreError, match="no such bucket"):
        ms.ModelCheckpoint("net", f"{cloud.scheme}://no-such-bucket/run")


def test_memory_is_some_parts(cloud: Cloud, bucket: str) -> None:
    assert memory.peak_of_save(bucket, 56) < 5 * (8 << 20)


def test_a_run_is_resumed(cloud: Cloud, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr(uploads, "aborted_on_error", _noting(begun))
    config = ms.CheckpointConfig(1, keep_checkpoint_max=2, async_save=True)
    with ms.ModelCheckpoint("net", f"{bucket}/run", config) as checkpoint:
        for number in range(4):
            checkpoint.step({"w": ROWS + number})
    found = ms.resume(f"{bucket}/run", {"w": ROWS})
    assert found is not None
    assert found.step == 4
    assert np.array_equal(found.state["w"], ROWS + 3)
    assert len(cloud.keys(bucket[5:])) == 2
    assert len(begun) == 4


def _noting(begun: list[str]) -> Any:
    original = uploads.aborted_on_error

    def noting(upload: Any) -> Any:
        begun.append(upload.id)
        return original(upload)

    return noting

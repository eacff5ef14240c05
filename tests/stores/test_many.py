"""Several processes of jax.distributed save one object, or several, to a server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import paths
from tests.stores.clouds import Cloud

SHAPE = (1036, 1028)
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp
EVERY = ["server", "google", "azurite"]
#: The servers of tests that stores pass alike: each of them takes long.
FEW = EVERY if os.environ.get("MSCKPT_CLOUDS") else EVERY[:1]


@pytest.fixture
def bucket(cloud: Cloud) -> str:
    """The URL of a new bucket."""
    return f"{cloud.scheme}://{cloud.bucket()}"


def name_of(bucket: str) -> str:
    return bucket.partition("://")[2]


def run(what: str, bucket: str, count: int = 2) -> list[tuple[int, str]]:
    """The status and the output of each process of process.py."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = str(Path(__file__).with_name("process.py"))
    started = [
        subprocess.Popen(
            [sys.executable, script, str(count), str(number), port, bucket, what],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(count)
    ]
    outputs = [process.communicate(timeout=200)[0] for process in started]
    return [(p.returncode, out) for p, out in zip(started, outputs, strict=True)]


def whole(version: float) -> dict[str, np.ndarray]:
    """The tree of process.py."""
    size = SHAPE[0] * SHAPE[1]
    names = ("rows", "columns", "both", "replicated", "half")
    large = {name: np.arange(size, dtype=np.float32).reshape(SHAPE) + version for name in names}
    return large | {"numpy": np.arange(1 << 17) * 3.0 + version, "step": np.array(version)}


@pytest.mark.parametrize("cloud", EVERY, indirect=True)
def test_the_bytes_are_those_of_a_local_save(cloud: Cloud, bucket: str, tmp_path: Path) -> None:
    for status, output in run("save", bucket):
        assert status == 0, output
        assert "done" in output
    tree = whole(0)
    for name, kwargs in {
        "plain.ckpt": {},
        "summed.ckpt": {"crc_check": True, "slice_bytes": 1 << 20},
        "safe.safetensors": {"format": "safetensors"},
        "folder": {"format": "safetensors", "max_shard_size": "9MB"},
    }.items():
        ms.save_checkpoint(tree, tmp_path / name, **kwargs)
    mesh = jax.make_mesh((2, 2), ("x", "y"), devices=jax.devices()[:4])
    rows = jax.device_put(tree["rows"], jax.NamedSharding(mesh, jax.P(("x", "y"))))
    (tmp_path / "ranks").mkdir()
    ms.save_checkpoint({"w": rows}, tmp_path / "ranks/a", integrated_save=False)
    ms.save_checkpoint({"w": tree["rows"][:8, 0]}, tmp_path / "small")
    files = {str(f.relative_to(tmp_path)): f for f in tmp_path.rglob("*") if f.is_file()}
    keys = cloud.keys(name_of(bucket))
    assert set(keys) == {*files}
    for key, file in files.items():
        stored = paths.path_of(f"{bucket}/{key}").read_bytes()
        assert stored == file.read_bytes() or key.startswith("ranks/"), key
    found = ms.load_checkpoint(f"{bucket}/ranks", strategy=f"{bucket}/ranks/strategy.ckpt")
    assert np.array_equal(found["w"], tree["rows"])
    assert not cloud.uploads(name_of(bucket))


@pytest.mark.parametrize("cloud", FEW, indirect=True)
@pytest.mark.parametrize(("victim", "moment"), [("1", "put"), ("0", "complete")])
def test_a_killed_process_leaves_the_old_object(
    cloud: Cloud, bucket: str, victim: str, moment: str
) -> None:
    ended = run(f"die:{victim}:{moment}", bucket)
    name = name_of(bucket)
    assert ended[int(victim)][0] != 0, ended[int(victim)][1]
    if victim == "1":  # without process 0 JAX ends the others, or they are told: who is first
        assert ended[0][0] == 0, ended[0][1]
        assert "told: " in ended[0][1]
        assert not cloud.uploads(name)  # process 0 gave it up
    assert np.array_equal(ms.load_checkpoint(f"{bucket}/a.ckpt")["rows"], whole(1)["rows"])
    ms.save_checkpoint(whole(3), f"{bucket}/a")
    assert not cloud.uploads(name)
    assert ms.load_checkpoint(f"{bucket}/a.ckpt")["step"] == 3


@pytest.mark.parametrize("cloud", FEW, indirect=True)
def test_a_killed_process_leaves_no_mixture_of_rank_files(cloud: Cloud, bucket: str) -> None:
    """One of two completes its files, the other is gone: nobody reads these with older ones."""
    ended = run("die:1:complete:ranks", bucket)
    assert ended[1][0] != 0, ended[1][1]
    assert "told: " in ended[0][1], ended[0][1]
    strategy = f"{bucket}/strategy.ckpt"
    with pytest.raises(ms.CheckpointError, match="a save is giving its files their names"):
        ms.load_checkpoint(bucket, strategy=strategy)
    mesh = jax.make_mesh((2, 2), ("x", "y"), devices=jax.devices()[:4])
    rows = jax.device_put(whole(3)["rows"], jax.NamedSharding(mesh, jax.P(("x", "y"))))
    ms.save_checkpoint({"rows": rows}, f"{bucket}/a", integrated_save=False)
    assert np.array_equal(ms.load_checkpoint(bucket, strategy=strategy)["rows"], whole(3)["rows"])


@pytest.mark.parametrize("cloud", FEW, indirect=True)
def test_a_refused_part_is_told_to_all(cloud: Cloud, bucket: str) -> None:
    for status, output in run("fails", bucket):
        assert status == 0, output
    assert ms.load_checkpoint(f"{bucket}/a.ckpt")["step"] == 1
    assert ms.load_checkpoint(f"{bucket}/f")["step"] == 1
    assert not cloud.uploads(name_of(bucket))


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("cloud", FEW, indirect=True)
def test_training_goes_on_while_parts_are_uploaded(cloud: Cloud, bucket: str, count: int) -> None:
    """What the processes lack of their parts is sent before an asynchronous save returns."""
    for status, output in run("trains", bucket, count):
        assert status == 0, output
    for name in ("a.ckpt", "f"):
        found = ms.load_checkpoint(f"{bucket}/{name}")
        for part, array in whole(1).items():
            assert np.array_equal(found[part], array), (name, part)
    assert not cloud.uploads(name_of(bucket))

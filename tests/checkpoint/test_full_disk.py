"""A disk that fills up in the midst of a save: its error names the file, and old files stay."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import msckpt_jax as ms

MOST = 1 << 20
#: The free bytes with which a save begins: it fails at once, in a file, or in a later file.
FREE = (0, 40 << 10, 200 << 10, 500 << 10)
PARTS = {"format": "safetensors", "max_shard_size": 100_000}
SAVES: dict[str, dict[str, Any]] = {
    "one": {},
    "summed": {"crc_check": True},
    "encrypted": {"enc_key": b"k" * 16},
    "thread": {"async_save": True},
    "process": {"async_save": "process"},
    "ranks": {"integrated_save": False},
    "ranks thread": {"integrated_save": False, "async_save": True},
    "parts": PARTS,
}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: Any) -> Iterator[Path]:
    """A file system of one MiB."""
    path = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={MOST}", "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def filled(path: Path, free: int) -> None:
    stat = os.statvfs(path.parent)
    path.write_bytes(bytes(stat.f_bavail * stat.f_frsize - free))


def tree(value: int, side: int) -> dict[str, jax.Array]:
    mesh = jax.make_mesh((4,), ("x",), devices=jax.devices()[:4])
    sharding = jax.NamedSharding(mesh, jax.P("x"))
    return {name: jax.device_put(np.full((side, 100), value, np.float32), sharding)
            for name in "abcd"}  # fmt: skip


def save(state: Any, target: Path, kwargs: dict[str, Any]) -> None:
    handle = ms.save_checkpoint(state, target, **kwargs)
    if handle is not None:
        handle.result()


@pytest.mark.parametrize("how", SAVES)
def test_a_disk_fills_up(disk: Path, how: str) -> None:
    folder, kwargs = disk / how, SAVES[how]
    folder.mkdir()
    target = folder / ("out" if how == "parts" else "net.ckpt")
    save(tree(1, 20), target, kwargs)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for free in FREE if how != "process" else FREE[:2]:
        filled(disk / "rest", free)
        with pytest.raises((OSError, ms.CheckpointError), match="No space left") as caught:
            save(tree(2, 400), target, kwargs)
        if isinstance(caught.value, OSError):
            assert caught.value.errno == errno.ENOSPC
            assert str(caught.value.filename).startswith(str(folder))
        assert str(folder) in str(caught.value)
        (disk / "rest").unlink()
        after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert after == before
        assert all(any(path.iterdir()) for path in folder.rglob("*") if path.is_dir())
    save(tree(2, 20), target, kwargs)
    assert len([path for path in folder.rglob("*") if path.is_file()]) == len(before)

"""Asynchronous saves: snapshots, order, errors that reach the caller."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.api import background
from msckpt_jax.checkpoint import writer

HOWS = ["thread", "process"]


@pytest.fixture(autouse=True)
def _settled() -> Any:
    yield
    background.settle()


@pytest.mark.parametrize("how", HOWS)
def test_mutation_does_not_change_the_file(tmp_path: Path, how: str) -> None:
    path = str(tmp_path / "a.ckpt")
    arrays = {
        "large": np.arange(3_000_000.0),
        "small": np.ones(3, ml_dtypes.bfloat16),
        "strided": np.arange(20).reshape(4, 5).T,
        "scalar": np.array(7),
    }
    wanted = {name: array.copy() for name, array in arrays.items()}
    save = ms.save_checkpoint(arrays, path, async_save=how)
    for array in arrays.values():
        array[...] = 0
    assert save is not None
    save.result()
    found = ms.load_checkpoint(path)
    assert all(np.array_equal(found[name], array) for name, array in wanted.items())


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("spec", [None, jax.P("x", "y"), jax.P()])
def test_donation_does_not_change_the_file(tmp_path: Path, mesh: Any, how: str, spec: Any) -> None:
    path = str(tmp_path / "a.ckpt")
    whole = np.arange(1 << 20, dtype=np.float32).reshape(1024, 1024)
    sharding = None if spec is None else jax.NamedSharding(mesh, spec)
    tree = {"f": jax.device_put(whole, sharding) + 0}
    tree["h"] = tree["f"].astype(jnp.bfloat16)
    step = jax.jit(lambda t: jax.tree.map(lambda x: x * 0 - 1, t), donate_argnums=0)
    save = ms.save_checkpoint(tree, path, async_save=how)
    for _ in range(5):
        tree = jax.block_until_ready(step(tree))
    assert save is not None
    save.result()
    found = ms.load_checkpoint(path)
    assert np.array_equal(found["f"], whole)
    assert np.array_equal(found["h"], whole.astype(ml_dtypes.bfloat16))


@pytest.mark.parametrize("how", HOWS)
def test_saves_to_one_target_are_ordered(tmp_path: Path, how: str) -> None:
    path = str(tmp_path / "a.ckpt")
    for version in range(4):
        ms.save_checkpoint({"version": version, "w": np.ones(10_000)}, path, async_save=how)
    ms.save_checkpoint({"version": 99}, path)  # a synchronous save waits, too
    assert ms.load_checkpoint(path)["version"] == 99
    assert os.listdir(tmp_path) == ["a.ckpt"]


def test_an_error_comes_from_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "write", _fail)
    save = ms.save_checkpoint({"w": np.ones(1)}, str(tmp_path / "a.ckpt"), async_save=True)
    assert save is not None
    with pytest.raises(OSError, match="disk on fire"):
        save.result()
    assert save.done()
    assert "failed" in repr(save)
    background.settle()  # it was seen, so it does not come again


def test_an_error_comes_from_the_next_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "a.ckpt")
    with monkeypatch.context() as broken:
        broken.setattr(writer, "write", _fail)
        save = ms.save_checkpoint({"w": np.ones(1)}, path, async_save=True)
        assert save is not None
        with pytest.raises(ms.AsyncSaveError, match="disk on fire") as caught:
            ms.save_checkpoint({"w": np.ones(1)}, path)
    assert isinstance(caught.value.__cause__, OSError)
    assert not list(tmp_path.iterdir())
    ms.save_checkpoint({"w": np.ones(1)}, path)
    assert list(tmp_path.iterdir())


def _fail(*_: Any) -> None:
    raise OSError("disk on fire")


def test_an_error_of_the_saving_process(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    save = ms.save_checkpoint({"w": np.ones(1)}, str(folder / "a.ckpt"), async_save="process")
    folder.rmdir()
    assert save is not None
    with pytest.raises(ms.CheckpointError, match=r"FileNotFoundError"):
        save.result(60)


@pytest.mark.parametrize("how", HOWS)
def test_the_interpreter_waits_at_exit(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.ckpt"
    program = f"""
import numpy as np, msckpt_jax as ms
ms.save_checkpoint({{"w": np.ones((64, 100_000))}}, {str(path)!r}, async_save={how!r})
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)
    assert ms.load_checkpoint(str(path))["w"].shape == (64, 100_000)


def test_a_save_that_starts_when_the_program_ends(tmp_path: Path) -> None:
    """From Python 3.12 on the threads of its own that it wants do not start any more."""
    path = tmp_path / "a.ckpt"
    program = f"""
import threading
import numpy as np, msckpt_jax as ms
from msckpt_jax.checkpoint import writer
write, ending = writer.write, threading.Event()
def late(*args):
    ending.wait()
    write(*args)
writer.write = late
ms.save_checkpoint({{"w": np.ones((64, 400_000))}}, {str(path)!r}, async_save=True)
threading._register_atexit(ending.set)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)
    assert np.asarray(ms.load_checkpoint(str(path))["w"]).sum() == 64 * 400_000


@pytest.mark.parametrize("seen", [False, True])
def test_an_error_shows_at_exit(tmp_path: Path, seen: bool) -> None:
    """All exit handlers run, and the status tells of an error that nobody has seen."""
    program = f"""
import atexit; atexit.register(print, "last handler")
import numpy as np, msckpt_jax as ms
from msckpt_jax.checkpoint import writer
def fail(*args): raise OSError("disk on fire")
writer.write = fail
save = ms.save_checkpoint({{"w": np.ones(3)}}, {str(tmp_path / "a.ckpt")!r}, async_save=True)
try:
    if {seen}: save.result()
except OSError: pass
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "last handler" in out.stdout
    assert (out.returncode == 0) == seen
    assert ("AsyncSaveError" in out.stderr) != seen
    assert ("disk on fire" in out.stderr) != seen
    assert "flush" not in out.stderr


def test_an_open_file_cannot_go_to_another_process(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file, pytest.raises(TypeError, match="needs a path"):
        ms.save_checkpoint({"w": np.ones(1)}, file, async_save="process")


def test_progress_counts_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    for kwargs in ({}, {"async_save": True}, {"enc_key": bytes(16)}):
        seen: list[int] = []
        tree = {"w": np.ones(3_000_000), "v": np.ones(5)}
        save = ms.save_checkpoint(tree, str(path), progress=seen.append, **kwargs)
        if save is not None:
            save.result()
        overhead = 48 + 83 if "enc_key" in kwargs else 0  # the block's head, and the seal
        assert sum(seen) == pytest.approx(path.stat().st_size, abs=overhead)

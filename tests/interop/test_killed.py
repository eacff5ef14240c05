"""Conversions to Orbax directories and rank folders that are killed go on where they were."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import msckpt_jax as ms

LAYOUTS = "x=4; w$=x"
ALL = 8 * 100 * 16 * 4


@pytest.fixture
def source(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    tree = {
        f"layer{i}": {"w": random.standard_normal((100, 16)).astype(np.float32)} for i in range(8)
    }
    ms.save_checkpoint(tree, tmp_path / "a.safetensors", format="safetensors")
    return tmp_path / "a.safetensors"


def convert(source: Path, target: Path, to: str, at: int = 0) -> tuple[int, int] | None:
    """The bytes that were told as done, and those that were written; None of a kill."""
    command = [sys.executable, "-m", "tests.interop.killed", source, target, to, str(at)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr[-2000:]
    told, written = map(int, done.stdout.split())
    return told, written


def contents(target: Path, to: str) -> dict[str, bytes]:
    strategy = target / "strategy.ckpt" if to else None
    params = ms.load_checkpoint(target, strategy=strategy)
    return {name: np.asarray(value).tobytes() for name, value in params.items()}


@pytest.mark.parametrize("to", ["", LAYOUTS], ids=["orbax", "ranks"])
def test_killed_twice(source: Path, tmp_path: Path, to: str) -> None:
    target = tmp_path / "out" / "new"
    target.parent.mkdir()
    assert convert(source, target, to, ALL // 3) is None
    assert not target.exists()
    assert convert(source, target, to, ALL * 3 // 4) is None
    assert not target.exists()
    done = convert(source, target, to)
    assert done is not None
    told, written = done
    assert told >= ALL
    assert 0 < written < ALL / 2
    assert os.listdir(target.parent) == ["new"]  # and nothing else
    wanted = {
        name: np.asarray(value).tobytes() for name, value in ms.load_checkpoint(source).items()
    }
    assert contents(target, to) == wanted


@pytest.mark.parametrize("to", ["", LAYOUTS], ids=["orbax", "ranks"])
def test_another_source_begins_anew(source: Path, tmp_path: Path, to: str) -> None:
    target = tmp_path / "out" / "new"
    target.parent.mkdir()
    assert convert(source, target, to, ALL // 2) is None
    os.utime(source, (1, 1))
    done = convert(source, target, to)
    assert done is not None
    assert done[1] >= ALL
    assert os.listdir(target.parent) == ["new"]

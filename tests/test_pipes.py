"""Pipes in a folder that came from someone: nobody waits for what they never give."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import msckpt_jax as ms
from msckpt_jax import cli
from msckpt_jax.errors import FileError
from msckpt_jax.parallel import strategy
from tests.fuzz import targets

pytestmark = pytest.mark.timeout(60)


def piped(path: Path) -> Path:
    """Put a pipe in place of a file."""
    path.unlink()
    os.mkfifo(path)
    return path


FOLDERS = [(kind, seed, name) for kind in ("orbax", "sharded")
           for seed in range(len(targets.seeds_of(kind)))
           for name in targets.seeds_of(kind)[seed]]  # fmt: skip


@pytest.mark.parametrize(("kind", "seed", "name"), FOLDERS)
def test_folders(tmp_path: Path, kind: str, seed: int, name: str) -> None:
    folder = targets._put(targets.seeds_of(kind)[seed], tmp_path)
    pipe = piped(tmp_path / name)
    with pytest.raises(ms.CheckpointError, match="no regular file") as error:
        ms.open_checkpoint(folder)
    assert error.value.file == str(pipe)


def test_pipes_elsewhere(tmp_path: Path) -> None:
    tree = {"w": np.ones((2, 3), np.float32)}
    for folder in ("rank_0", "rank_1", "parts", "stages"):
        (tmp_path / folder).mkdir()
    for name in ("rank_0/a.ckpt", "rank_1/a.ckpt", "parts/a.ckpt"):
        ms.save_checkpoint(tree, tmp_path / name)
    file = tmp_path / "s.ckpt"
    layouts = {"w": ms.Layout((2,), ((0,), ()))}
    strategy.write(file, layouts)
    strategy.write(tmp_path / "stages" / "s.ckpt", layouts)
    for name in ("rank_1/a.ckpt", "parts/a.ckpt", "stages/s.ckpt"):
        piped(tmp_path / name)
    uses: list[Callable[[], Any]] = [
        lambda: ms.load_checkpoint(tmp_path, strategy=file),
        lambda: ms.transform_checkpoints(tmp_path, tmp_path / "out", "t", file, None),
        lambda: ms.load_segmented_checkpoints(tmp_path / "parts"),
        lambda: ms.ckpt_to_safetensors(tmp_path, tmp_path / "safe"),
        lambda: ms.merge_pipeline_strategys(tmp_path / "stages", tmp_path / "all.ckpt"),
    ]
    for use in uses:
        with pytest.raises(ms.CheckpointError, match="no regular file"):
            use()


@pytest.mark.parametrize("kind", ["mindir", "air"])
def test_weights_beside_a_model(tmp_path: Path, kind: str) -> None:
    seed = next(s for s in targets.seeds_of(kind) if len(s) > 1)
    model = targets._put(seed, tmp_path) / f"a.{kind}"
    for name in seed:
        if not name.endswith(f".{kind}"):
            piped(tmp_path / name)
    with pytest.raises(FileError):
        ms.load(model)


def test_weights_beside_an_onnx_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = targets._put(targets.seeds_of("onnx")[1], tmp_path)
    os.mkfifo(tmp_path / "data")
    assert onnx.load(path, load_external_data=False).graph.initializer
    assert cli.main(["verify", str(path)]) == 1
    assert cli.main(["inspect", str(path)]) in (0, 2)


def test_a_run_whose_strategy_is_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "rank_0").mkdir()
    ms.save_checkpoint({"w": np.ones(2)}, tmp_path / "rank_0" / "net-1_1.ckpt")
    os.mkfifo(tmp_path / "net_strategy.ckpt")
    with pytest.raises(ms.CheckpointError, match="no regular file"):
        ms.resume(tmp_path, like={"w": np.ones(2)}, prefix="net")

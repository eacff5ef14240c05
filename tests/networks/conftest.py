"""The cases that MindSpore and we run both, and MindSpore's answers to them."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax import names
from msckpt_jax.networks import bert, resnet, yolov3, yolov4
from tests.networks import values
from tests.real import need_mindspore


class Case(NamedTuple):
    """A network of ours, MindSpore's of the same kind, and what goes in (as MindSpore has it)."""

    make: Callable[..., nnx.Module]
    net: str
    args: list[Any]
    inputs: list[np.ndarray]
    convention: Any = "mindspore"


def image(count: int, height: int, width: int) -> np.ndarray:
    """Small: MindSpore's convolutions are slow on a CPU."""
    return np.random.default_rng(0).standard_normal((count, 3, height, width), np.float32)


def tokens() -> list[np.ndarray]:
    ids = np.arange(16, dtype=np.int32).reshape(2, 8)
    return [ids, ids % 2, (np.arange(8) < [[8], [5]]).astype(np.int32)]


CASES = {
    "vision-50": Case(
        functools.partial(resnet.resnet50, 7), "VisionResNet", [50, 7], [image(2, 32, 32)]
    ),
    "vision-50-symmetric": Case(
        functools.partial(resnet.resnet50, 7, max_pool="symmetric"),
        "VisionResNet", [50, 7, True], [image(2, 32, 32)],
    ),
    "mindcv-18": Case(
        functools.partial(resnet.resnet18, 7), "CvResNet", [18, 7], [image(2, 32, 32)],
        resnet.MINDCV,
    ),
    "yolov3": Case(
        functools.partial(yolov3.yolov3, 4), "yolov3", [4, yolov3.ANCHORS], [image(1, 32, 64)]
    ),
    "yolov4": Case(
        functools.partial(yolov4.yolov4, 4),
        "yolov4", [4, yolov4.ANCHORS, yolov4.SCALES], [image(1, 32, 64)],
    ),
    "bert": Case(
        functools.partial(bert.Bert, 100, 32, 2, 4, 64, max_position_embeddings=16),
        "Bert", [100, 32, 2, 4, 64, 16], tokens(),
    ),
}  # fmt: skip


@functools.cache
def abstract(make: Callable[..., Any]) -> Any:
    """The network with shapes instead of arrays, made once."""
    return nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))


def filled(make: Callable[..., Any]) -> Any:
    """The network with random values; faster than Flax's initialisation."""
    flat = names.flatten(nnx.clone(abstract(make)))
    arrays = [values.parameter(leaf.name, leaf.value.shape, seed=0) for leaf in flat.leaves]
    return flat.rebuild([jax.device_put(array) for array in arrays])


def request(case: Case, folder: Path, ours: Path) -> dict[str, Any]:
    """What MindSpore is asked; its own file and outputs will lie in the folder."""
    np.savez(folder / "inputs.npz", *case.inputs)
    files = {"inputs": "inputs.npz", "theirs": "theirs.ckpt", "outputs": "outputs.npz"}
    paths = {key: str(folder / name) for key, name in files.items()}
    return {"net": case.net, "args": case.args, "ours": str(ours), **paths}


def ask(requests: dict[str, Any], folder: Path) -> dict[str, Any]:
    """MindSpore's answers, from one process."""
    need_mindspore()
    (folder / "requests.json").write_text(json.dumps(requests))
    worker = Path(__file__).with_name("worker.py")
    command = [sys.executable, worker, folder / "requests.json", folder / "answers.json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"GLOG_v": "4"})
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "answers.json").read_text())


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Half a gigabyte a YOLO: removed after these tests, not after all."""
    found = tmp_path_factory.mktemp("networks")
    yield found
    shutil.rmtree(found)


@pytest.fixture(scope="package")
def answers(folder: Path) -> dict[str, Any]:
    """What MindSpore says to all cases, with our files of ``filled`` networks."""
    requests: dict[str, Any] = {
        f"names-{depth}": {"net": "VisionResNet", "args": [depth, 1000]}
        for depth in (18, 34, 50, 101, 152)
    }
    requests["names-mindcv-50"] = {"net": "CvResNet", "args": [50, 1000]}
    requests["names-bert"] = {"net": "Bert", "args": [21128, 768, 12, 12, 3072, 512]}
    for name, case in CASES.items():
        (folder / name).mkdir()
        ours = folder / name / "ours.ckpt"
        ms.save_checkpoint(filled(case.make), ours, convention=case.convention)
        requests[name] = request(case, folder / name, ours)
    return ask(requests, folder)

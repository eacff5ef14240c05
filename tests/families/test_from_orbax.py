"""Orbax checkpoints become Hugging Face's folders, and each chunk is decoded once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax import boxes
from msckpt_jax.checkpoint import plan
from msckpt_jax.checkpoint.formats import orbax
from msckpt_jax.parallel import cells, ordered
from tests.families import models, orbaxes

LIMIT = 20_000


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells, windows and runs of few bytes, so that these models have many of each."""
    monkeypatch.setattr(cells, "CELL_BYTES", 1024)
    monkeypatch.setattr(cells, "RUN_BYTES", 16)
    monkeypatch.setattr(plan, "CHUNK_BYTES", 2048)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, boxes.Box]]:
    """The boxes that were decoded, each with its array."""
    seen: list[tuple[Any, boxes.Box]] = []
    hold, of_held = orbax._Array.hold, orbax._Array._of_held

    def noted(self: Any, box: boxes.Box) -> None:
        seen.append((self, box))
        hold(self, box)

    def looked(self: Any, box: boxes.Box) -> np.ndarray | None:
        part = of_held(self, box)
        if part is None:
            seen.append((self, box))
        return part

    monkeypatch.setattr(orbax._Array, "hold", noted)
    monkeypatch.setattr(orbax._Array, "_of_held", looked)
    return seen


def check_once(decoded: list[tuple[Any, boxes.Box]]) -> None:
    """Each array is decoded in boxes of whole chunks that make it up without overlap."""
    by_array: dict[Any, list[boxes.Box]] = {}
    for array, box in decoded:
        by_array.setdefault(array, []).append(box)
    for array, held in by_array.items():
        assert sum(map(boxes.size_of, held)) == math.prod(array.shape), array._name
        for number, box in enumerate(held):
            assert all(boxes.intersect(box, other) is None for other in held[:number])
            for (start, stop), chunk, n in zip(box, array.chunk, array.shape, strict=True):
                assert start % chunk == 0
                assert stop % chunk == 0 or stop == n


class Case(NamedTuple):
    model: str = "llama"
    scanned: bool = True
    axis: int = 1
    #: The axes of leaves that are cut first, and what cuts them.
    cut: tuple[int, ...] = (0, 2)
    mesh: str = "mesh"
    #: The most bytes of a chunk; None makes each shard one.
    chunk_bytes: int | None = None
    kwargs: Mapping[str, bool] = MappingProxyType({})


ZARR3, FOLDERS = {"use_zarr3": True}, {"use_ocdbt": False}
CASES = {
    "axis 1": Case(),
    "axis 1, columns": Case(cut=(2, 0), mesh="other_mesh"),
    "axis 1, layers on devices": Case(cut=(1, 0)),
    "axis 0": Case(axis=0, cut=(1, 2)),
    "axis 0, layers on devices": Case(axis=0, cut=(0, 1), mesh="other_mesh"),
    "unscanned": Case(scanned=False, cut=(0, 1), mesh="other_mesh"),
    "tied": Case("qwen3"),
    "experts": Case("qwen3_moe", cut=(0, 3)),
    "experts, axis 0": Case("qwen3_moe", axis=0, cut=(1, 2)),
    "fused": Case("gpt_oss"),
    "zarr3": Case(kwargs=ZARR3),
    "folders": Case(mesh="other_mesh", kwargs=FOLDERS),
    "zarr3 folders": Case(kwargs=ZARR3 | FOLDERS),
    "small chunks": Case(chunk_bytes=128, kwargs=ZARR3),
    "small chunks of experts": Case("mixtral", chunk_bytes=256, kwargs=ZARR3),
}


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.usefixtures("small")
def test_the_same_bytes(
    tmp_path: Path, decoded: list[Any], request: Any, monkeypatch: Any, case: str
) -> None:
    """Those of a save of the live arrays, and of the order of the files."""
    wanted = CASES[case]
    config = models.config(wanted.model) | {"num_hidden_layers": 4}
    how = ms.Family(config, jax="maxtext", scan_axis=wanted.axis)
    mesh = request.getfixturevalue(wanted.mesh)
    tree = orbaxes.tree(how, wanted.scanned, mesh, wanted.cut)
    orbaxes.save(tmp_path / "orbax", tree, wanted.chunk_bytes, **wanted.kwargs)
    ms.save_checkpoint(tree, tmp_path / "live", format="safetensors", max_shard_size=LIMIT,
                       convention=how)  # fmt: skip
    orbaxes.convert(tmp_path / "orbax", tmp_path / "ordered", how, LIMIT)
    check_once(decoded)
    files = orbaxes.contents(tmp_path / "live")
    assert len(files) > 2
    assert orbaxes.contents(tmp_path / "ordered") == files
    monkeypatch.setattr(ordered, "pays", lambda plans: False)
    orbaxes.convert(tmp_path / "orbax", tmp_path / "by_files", how, LIMIT)
    assert orbaxes.contents(tmp_path / "by_files") == files

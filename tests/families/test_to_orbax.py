"""Hugging Face's folders become Orbax checkpoints of stacked layers, in small chunks."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

import msckpt_jax as ms
from msckpt_jax import boxes, dtypes, names
from msckpt_jax.api import orbax_directory
from msckpt_jax.checkpoint.parameters import Parameters
from msckpt_jax.checkpoint.records import Record
from msckpt_jax.conventions.loading import Translated
from tests.families import models


@pytest.mark.parametrize("model", ["llama", "qwen3_moe"])
@pytest.mark.parametrize("axis", [0, 1])
def test_orbax_restores_it(
    tmp_path: Path, model: str, axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orbax_directory, "_CHUNK_BYTES", 600)
    config = models.config(model)
    how = ms.Family(config, jax="maxtext", scan_axis=axis)
    flat = models.stack_of(config, "maxtext", scanned=True, axis=axis)
    ms.save_checkpoint(models.nested(flat), tmp_path / "hf", format="safetensors",
                       max_shard_size=20_000, convention=how)  # fmt: skip
    like = how.abstract(scanned=True)
    leaves = names.named_leaves(like)
    file = ms.open_checkpoint(tmp_path / "hf")
    tensors = Translated(how.targets(like), leaves, Parameters(file, file.names), how)
    records = []
    for name, *_ in leaves:
        content = tensors[name]
        kind = dtypes.for_saving(content.stored).name
        records.append(Record(name, kind, content.shape, content))
    orbax_directory.write(tmp_path / "orbax", records, {})
    with ocp.PyTreeCheckpointer() as checkpointer, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the shardings come from the directory
        restored = checkpointer.restore(tmp_path / "orbax")
    found = {leaf.name: np.asarray(leaf.value) for leaf in names.named_leaves(restored)}
    wanted = ms.load_checkpoint(tmp_path / "hf", like=like, convention=how)
    for leaf in names.named_leaves(wanted):
        assert np.array_equal(found.pop(leaf.name), leaf.value), leaf.name
    assert not found
    stored = ms.open_checkpoint(tmp_path / "orbax")
    for name, shape in {record.tag: record.dims for record in records}.items():
        ((_, array),) = stored.pieces(name)
        assert boxes.size_of(boxes.whole(array.chunk)) * 4 <= 600
        assert array.shape == shape
        if "layers" in name and math.prod(shape) // shape[axis] * 4 > 600:
            assert array.chunk[axis] == 1, name

"""Every family in every stack: the files that NumPy makes, step by step, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax import names
from msckpt_jax.conventions.families import table
from msckpt_jax.conventions.families.matching import normal
from tests.families import models

FAMILIES = list(models.CONFIGS)


def pairs() -> list[Any]:
    out = []
    for model_type in FAMILIES:
        sections = table.known()[model_type].sections
        for jax in table.JAX:
            for files in table.FILES:
                if jax in sections and files in sections:
                    for scanned in {False, bool(sections[jax].scanned)}:
                        out.append(pytest.param(model_type, jax, files, scanned,
                            id=f"{model_type}-{jax}-{files}{'-scanned' * scanned}"))  # fmt: skip
    return out


@pytest.mark.parametrize(("model_type", "jax", "files", "scanned"), pairs())
def test_there_and_back(
    tmp_path: Path, model_type: str, jax: str, files: str, scanned: bool
) -> None:
    content = models.config(model_type)
    how = ms.Family(content, jax=jax, files=files)
    flat = models.stack_of(content, jax, scanned)
    tree = flat if jax == "huggingface" else models.nested(flat)
    if model_type not in ("gemma2", "gemma3_text"):  # where models pads the vocabulary
        abstract = names.named_leaves(how.abstract(scanned))
        shapes = {normal(leaf.name): leaf.value.shape for leaf in abstract}
        own = names.named_leaves(tree)
        assert shapes == {normal(leaf.name): leaf.value.shape for leaf in own}
    expected = models.stack_of(content, files, scanned=False)
    ms.save_checkpoint(tree, tmp_path / "a.safetensors", format="safetensors", convention=how)
    found = ms.load_checkpoint(tmp_path / "a.safetensors")
    assert found.keys() == expected.keys()
    assert set(how.names) == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=3e-7, atol=3e-7, err_msg=name)
    back = ms.load_checkpoint(tmp_path / "a.safetensors", like=tree, convention=how)
    again = {leaf.name: np.asarray(leaf.value) for leaf in names.named_leaves(back)}
    for leaf in names.named_leaves(tree):
        value = leaf.value
        if "embedding" in leaf.name and len(value) == 24:
            value = value.copy()
            assert not value[22:].any()
        np.testing.assert_allclose(again[leaf.name], value, rtol=4e-7, atol=4e-7, err_msg=leaf.name)


def test_a_folder_with_its_config(tmp_path: Path) -> None:
    """The config stands beside the weights, and what else the folder had that it came from."""
    content = models.config("llama")
    tree = models.nested(models.stack_of(content, "maxtext", scanned=True))
    how = ms.Family(content, jax="maxtext")
    ms.save_checkpoint(tree, tmp_path / "out", format="safetensors", max_shard_size=4000,
                       convention=how)  # fmt: skip
    assert json.loads((tmp_path / "out/config.json").read_text()) == content
    (tmp_path / "out/tokenizer.json").write_text("{}")
    (tmp_path / "out/secret.txt").write_text("not of the model")
    again = ms.Family(tmp_path / "out", jax="maxtext")
    back = ms.load_checkpoint(tmp_path / "out", like=again.abstract(scanned=True), convention=again)
    ms.save_checkpoint(back, tmp_path / "two", format="safetensors", max_shard_size="1GB",
                       convention=again)  # fmt: skip
    assert {file.name for file in (tmp_path / "two").iterdir()} == {
        "config.json", "tokenizer.json", "model.safetensors",
    }  # fmt: skip
    first, second = (ms.load_checkpoint(tmp_path / name) for name in ("out", "two"))
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=3e-7, atol=0, err_msg=name)


@pytest.mark.parametrize(("files", "framework"), [("huggingface", "pt"), ("mindformers", "ms")])
def test_a_single_file_is_for_its_readers(tmp_path: Path, files: str, framework: str) -> None:
    """transformers 4 refuses a file whose metadata name another framework."""
    content = models.config("llama")
    tree = models.nested(models.stack_of(content, "maxtext", scanned=True))
    how = ms.Family(content, jax="maxtext", files=files)
    ms.save_checkpoint(tree, tmp_path / "a.safetensors", format="safetensors", convention=how)
    data = (tmp_path / "a.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"]["format"] == framework

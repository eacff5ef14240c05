"""Models that transformers made, in each JAX stack: the same logits, and the same file again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.conventions.families import table
from msckpt_jax.conventions.mapping import View
from tests.families import decoder
from tests.families.decoder import Decoder

DATA = Path(__file__).parent / "data"
TOKENS = np.load(DATA / "tokens.npy")
FOLDERS = sorted(path.parent.name for path in DATA.glob("*/config.json"))
STACKS = ("maxtext", "tunix", "levanter")


def config_of(folder: str) -> dict[str, Any]:
    return json.loads((DATA / folder / "config.json").read_text())


def cases() -> list[Any]:
    out = []
    for folder in FOLDERS:
        sections = table.known()[config_of(folder)["model_type"]].sections
        for stack in STACKS:
            if stack in sections:
                for scanned in {False, bool(sections[stack].scanned)}:
                    names = ["llama3.1-8b", "llama3.3-70b"] if (folder, stack) == (
                        "llama3", "maxtext") else [None]  # fmt: skip
                    for name in names:
                        label = f"{folder}-{name or stack}{'-scanned' * scanned}"
                        out.append(pytest.param(folder, stack, scanned, name, id=label))
    return out


@pytest.mark.parametrize(("folder", "stack", "scanned", "name"), cases())
def test_logits_and_back(
    tmp_path: Path, folder: str, stack: str, scanned: bool, name: str | None
) -> None:
    how = ms.Family(DATA / folder, jax=stack, maxtext_model=name)
    like = how.abstract(scanned)
    tree = ms.load_checkpoint(DATA / folder, like=like, convention=how)
    changed = {
        t.name
        for t in how.targets(like)
        if any(isinstance(p, View) and p.how.steps for p in t.parts)
    }
    wide = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, "float32"), like)
    wide = ms.load_checkpoint(DATA / folder, like=wide, convention=how)
    assert_logits(wide, folder, stack, interleaved=name == "llama3.1-8b")
    ms.save_checkpoint(tree, tmp_path / "a.safetensors", format="safetensors", convention=how)
    theirs, ours = ms.load_checkpoint(DATA / folder), ms.load_checkpoint(tmp_path / "a.safetensors")
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key].dtype == value.dtype
        if key in changed:
            assert_near(ours[key], value, key)
        else:
            assert ours[key].tobytes() == value.tobytes(), key


def assert_logits(tree: Any, folder: str, stack: str, interleaved: bool = False) -> None:
    """Assert the logits of transformers, which computes in float32, whatever the file's dtype."""
    expected = np.load(DATA / folder / "logits.npy")
    logits = logits_of(tree, folder, stack, interleaved)
    np.testing.assert_allclose(logits, expected, 0, 1e-4 * np.abs(expected).max())


def logits_of(tree: Any, folder: str, stack: str, interleaved: bool = False) -> np.ndarray:
    config = config_of(folder)
    if config["model_type"] == "gpt2":
        return decoder.gpt2(tree, TOKENS, config)
    if (folder, stack) == ("gemma3_bfloat16", "maxtext"):
        # MaxText multiplies by a rounded root, and divides by the root.
        root = np.sqrt(config["hidden_size"])
        rounded = root.astype(ml_dtypes.bfloat16).astype(np.float64)
        embedding = tree["token_embedder"]["embedding"] * (root / rounded)
        tree = tree | {"token_embedder": {"embedding": embedding}}
    return Decoder(stack, config, interleaved)(tree, TOKENS)


def assert_near(ours: np.ndarray, theirs: np.ndarray, name: str) -> None:
    """Assert two units in the last place (of 1 + w for norms): factors and products round."""
    at = np.abs(theirs.astype(np.float64)) + (1.0 if "norm" in name else 0.0)
    unit = np.float64(ml_dtypes.finfo(theirs.dtype).eps) * 2 ** np.floor(np.log2(at))
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    assert (difference <= 2 * unit).all(), (name, difference.max())

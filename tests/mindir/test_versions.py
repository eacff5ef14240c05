"""Files that MindSpore 2.0.0 and 2.7 to 2.10 exported give the numbers that it computed.

The archives are made by ``versions/make.py``, which says how.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.api import targets

SAMPLES = Path(__file__).with_name("versions")
VERSIONS = ("2.0.0", "2.7.0", "2.7.2", "2.8.0", "2.9.0", "2.10.0")
NETWORKS = ("mlp", "cnn", "flow", "lstm", "block")


@pytest.mark.parametrize("version", VERSIONS)
def test_numbers(tmp_path: Path, version: str) -> None:
    with zipfile.ZipFile(SAMPLES / f"{version}.zip") as archive:
        archive.extractall(tmp_path)
    with np.load(tmp_path / "numbers.npz") as numbers:
        for network in NETWORKS:
            function = ms.load(tmp_path / f"{network}.mindir")
            inputs, wanted = (
                [numbers[name] for name in numbers if name.startswith(f"{network}.{kind}")]
                for kind in ("input", "output")
            )
            found = jax.tree.leaves(function(*inputs))
            for got, want in zip(found, wanted, strict=True):
                assert got.dtype == want.dtype
                np.testing.assert_allclose(got, want, 2e-6, 2e-6, err_msg=network)


@pytest.mark.parametrize("version", VERSIONS)
def test_producer(tmp_path: Path, version: str) -> None:
    with zipfile.ZipFile(SAMPLES / f"{version}.zip") as archive:
        file = archive.extract("mlp.mindir", tmp_path)
    content, _ = targets.named("MINDIR").inspect(
        Path(file), lambda name: True, dec_key=None, dec_mode="AES-GCM"
    )
    assert content["producer"] == f"MindSpore {version}"
    found = {row["name"] for row in content["parameters"]}
    assert found == {"first.weight", "first.bias", "second.weight", "second.bias"}

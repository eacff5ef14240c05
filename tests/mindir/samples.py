"""The models of MindSpore 2.10 in ``versions/models.zip``, with the numbers that it computed."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

import msckpt_jax as ms

_FOLDER = Path(__file__).with_name("versions")


def unpacked(archive: str, folder: Path) -> Path:
    """The folder, with the files of an archive."""
    with zipfile.ZipFile(_FOLDER / f"{archive}.zip") as packed:
        packed.extractall(folder)
    return folder


def numbers(folder: Path, model: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The inputs of a model and MindSpore's results, flat."""
    with np.load(folder / "numbers.npz") as saved:
        return tuple(  # type: ignore[return-value]
            [saved[name] for name in saved if name.startswith(f"{model}.{kind}")]
            for kind in ("input", "output")
        )


def sample(folder: Path, model: str) -> tuple[Any, list[np.ndarray], list[np.ndarray]]:
    """A model of ``models.zip`` as a function, its inputs and MindSpore's results, flat."""
    unpacked("models", folder)
    return ms.load(folder / f"{model}.mindir"), *numbers(folder, model)


def check(found: Any, wanted: list[np.ndarray]) -> None:
    """Check that results are MindSpore's, in dtype as well."""
    for got, want in zip(jax.tree.leaves(found), wanted, strict=True):
        assert got.dtype == want.dtype
        tolerance = 4 * np.finfo(want.dtype).eps if want.dtype.kind in "fc" else 0
        np.testing.assert_allclose(got, want, tolerance, tolerance)

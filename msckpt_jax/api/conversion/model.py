"""The weights of a model file, as a CheckPoint that they are converted from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from msckpt_jax import dtypes
from msckpt_jax.checkpoint import entries, paths
from msckpt_jax.checkpoint.file import CheckpointFile
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.errors import CheckpointError
from msckpt_jax.visible import visible

if TYPE_CHECKING:
    from msckpt_jax.lowering.target import Target


class ModelWeights(CheckpointFile):
    """The weights of a model, by name: views of its file, which is mapped where that can be."""

    def __init__(self, path: PathLike, format: str, weights: Mapping[str, np.ndarray]):
        self.path, self.format = str(path), format.lower()
        self.problems, self.cipher, self.sealed, self.save = [], None, None, None
        self.entries = {name: _entry(self.path, name, array) for name, array in weights.items()}
        self.metadata, self.custom_metadata = {}, {}
        self.check_sums, self.shardings = (), None
        self._data, self.size = memoryview(b""), paths.size(paths.path_of(path))
        if not self.entries:
            self._problem(CheckpointError("the model has no weights"))


def opened(path: PathLike, target: Target, **secrets: Any) -> CheckpointFile:
    """The weights of a model file.

    Raises:
        FileError: the file is damaged, or encrypted otherwise.
        ValueError: weights of this format are not taken out.
    """
    if target.weights is None:
        text = f"{path}: the weights of an {target.name} file are in what it was exported from"
        raise ValueError(visible(text))
    return ModelWeights(path, target.name, target.weights(path, **secrets)).sound()


def _entry(path: str, name: str, array: np.ndarray) -> entries.Entry:
    row = dtypes.of_array(array.dtype.newbyteorder("="))
    if row is None:
        raise CheckpointError("unknown dtype", file=path, name=name, found=str(array.dtype))
    stored = entries.Stored(row.name, array.shape, ((0, array.nbytes),), array)
    return entries.named(name, 0, (stored,))

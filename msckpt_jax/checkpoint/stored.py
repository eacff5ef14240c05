"""A parameter of a file or dict: its shape, dtype and pieces, read no further than is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint.records import Tensor
from msckpt_jax.errors import CheckpointError


def in_file(key: str, parameters: Mapping[str, Any]) -> bool:
    """Tell whether the value still lies in the file that the parameters come from."""
    asked = getattr(parameters, "in_file", None)
    return asked is not None and asked(key)


def pieces(
    key: str, parameters: Mapping[str, Any], shape: tuple[int, ...] | None = None
) -> tuple[tuple[int, ...], Sequence[boxes.Piece]]:
    """The shape and the pieces of an array; ``shape`` may lack its trailing ones."""
    if in_file(key, parameters):
        file = parameters.file  # type: ignore[attr-defined]
        if file.entries[key].type == "Int4":
            file[key]  # refuses packed bytes
        full, parts = file.entries[key].shape, file.pieces(key)
    elif isinstance(value := parameters[key], Tensor):
        full, parts = value.shape, value.pieces
    else:
        array = np.asarray(value)
        full, parts = array.shape, [(boxes.whole(array.shape), array)]
    if shape is not None and shape != full:  # it lacks trailing ones
        return shape, [(box[: len(shape)], _Reshaped(s, len(shape), len(full))) for box, s in parts]
    return full, parts


def shape_and_dtype(key: str, parameters: Mapping[str, Any]) -> tuple[tuple[int, ...], Any]:
    """The shape and dtype of a parameter, which is not read; dtype None stands for a str."""
    if in_file(key, parameters):
        entry = parameters.file.entries[key]  # type: ignore[attr-defined]
        if entry.is_array:
            return entry.shape, entry.row.array
        if entry.is_map:
            raise CheckpointError("a MapTensor cannot be loaded into an array", name=key)
    value = parameters[key]
    if isinstance(value, Tensor):
        return value.shape, value.stored
    if isinstance(value, str):
        return (), None
    if not hasattr(value, "dtype"):
        value = np.asarray(value)
    if getattr(value.dtype, "kind", "") == "O":
        raise TypeError(f"parameter_dict[{key!r}] is a {type(parameters[key]).__name__}")
    return tuple(value.shape), value.dtype


def trailing_ones(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Tell whether ``shape`` is ``target`` with ones after it, which MindSpore ignores."""
    count = len(target)
    return shape[:count] == target and all(n == 1 for n in shape[count:])


def file_of(parameters: Mapping[str, Any]) -> str | None:
    file = getattr(parameters, "file", None)
    return None if file is None else file.path


class _Reshaped:
    """A piece without its trailing dimensions of size one."""

    def __init__(self, source: Any, ndim: int, source_ndim: int):
        self.source, self.ndim, self.extra = source, ndim, source_ndim - ndim

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        part = self.source[(*index, *(slice(0, 1),) * self.extra)]
        return part.reshape(part.shape[: self.ndim])

    def origins(self, box: boxes.Box) -> Iterator[boxes.Piece]:
        return boxes.origins(self.source, (*box, *((0, 1),) * self.extra))

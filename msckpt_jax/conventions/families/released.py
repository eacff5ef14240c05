"""A file as it was released, under the names of the model alone, with nothing quantised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint import collector, stored
from msckpt_jax.checkpoint.records import Tensor
from msckpt_jax.conventions.families import quantised
from msckpt_jax.errors import CheckpointError
from msckpt_jax.visible import log


class Released(Mapping[str, Any]):
    """The parameters of a file by the names of the model.

    Attributes:
        file: the open file, or None.
        computed: the names of those whose values are computed, in float32, when they are read.
    """

    def __init__(
        self, parameters: Mapping[str, Any], keys: Mapping[str, str],
        made: Mapping[str, Tensor | None], computed: Iterable[str] = (),
    ):  # fmt: skip
        self.file = getattr(parameters, "file", None)
        self.computed = frozenset(computed)
        self._parameters, self._made = parameters, made
        self._keys = {name: key for name, key in keys.items() if name not in made}
        self._keys |= {name: name for name, tensor in made.items() if tensor is not None}

    def __getitem__(self, name: str) -> Any:
        if self._made.get(name) is not None:
            return self._made[name]
        key = self._keys[name]
        if key == name or not stored.in_file(key, self._parameters):
            return self._parameters[key]
        shape, dtype = stored.shape_and_dtype(key, self._parameters)
        if not isinstance(dtype, np.dtype):
            return self._parameters[key]
        return Tensor(shape, dtype, stored.pieces(key, self._parameters)[1])

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, name: object) -> bool:
        return name in self._keys

    def in_file(self, name: str) -> bool:
        """Tell whether the value lies in the file as it is, and under this name."""
        own = name not in self._made and self._keys[name] == name
        return own and stored.in_file(name, self._parameters)


@collector.paused()
def opened(
    parameters: Mapping[str, Any],
    wrapped: Mapping[str, str],
    config: Mapping[str, Any],
    leaves_out: Callable[[str], bool],
    rows: Mapping[str, int],
) -> Mapping[str, Any]:
    """The parameters of a file of Hugging Face by the names of the model.

    Args:
        parameters: those of the file.
        wrapped: beginnings of names in models around this one, and what the model has instead.
        config: Hugging Face's with its ``quantization_config``, and the ``dtype`` of the tensors.
        leaves_out: tells the names without which the model does.
        rows: the number of rows that the model has of parameters with more; that is logged.

    Raises:
        CheckpointError: two parameters get one name, or those of :func:`quantised.plain`.
    """
    keys: dict[str, str] = {}
    for key in parameters:
        name = next((to + key[len(at) :] for at, to in wrapped.items() if key.startswith(at)), key)
        if name in keys:
            raise CheckpointError(f"{keys[name]} and {key} are one parameter of the model",
                                  name=name, file=stored.file_of(parameters))  # fmt: skip
        keys[name] = key
    renamed = Released(parameters, keys, {})
    made = quantised.plain(renamed, config, leaves_out)
    computed = [name for name, tensor in made.items() if tensor is not None]
    return Released(parameters, keys, made | dict(_cut(renamed, rows)), computed)


def _cut(parameters: Mapping[str, Any], rows: Mapping[str, int]) -> Iterator[tuple[str, Tensor]]:
    for name in rows.keys() & parameters.keys():
        shape, dtype = stored.shape_and_dtype(name, parameters)
        if isinstance(dtype, np.dtype) and shape and shape[0] > rows[name]:
            log.warning("%s: %s rows are left out", name, f"{shape[0] - rows[name]:,}")
            kept = (rows[name], *shape[1:])
            pieces = stored.pieces(name, parameters)[1]
            yield name, Tensor(kept, dtype, tuple(boxes.restrict(pieces, boxes.whole(kept))))

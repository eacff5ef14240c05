"""``load_checkpoint(sharding=...)``: all arrays of a file on devices."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import numpy as np

from msckpt_jax.api.leaf import request
from msckpt_jax.checkpoint import placement
from msckpt_jax.checkpoint.parameters import Parameters
from msckpt_jax.errors import CheckpointError

#: A sharding for all arrays, or a function of name and shape.
Sharding: TypeAlias = (
    jax.sharding.Sharding | Callable[[str, tuple[int, ...]], jax.sharding.Sharding | None]
)


def on_devices(parameters: Parameters, sharding: Sharding) -> dict[str, Any]:
    """All arrays on devices; strings, PRNG keys and MapTensors as the file gives them."""
    entries = {n: parameters.file.entries[n] for n in parameters}
    arrays = [name for name, entry in entries.items() if entry.is_array]
    requests = []
    for name in arrays:
        entry = entries[name]
        wanted = sharding(name, entry.shape) if callable(sharding) else sharding
        if not (wanted is None or isinstance(wanted, jax.sharding.Sharding)):
            raise TypeError(f"sharding({name!r}, {entry.shape}) gave a {type(wanted).__name__}")
        dtype = _without_x64(name, entry.tensors[0].row.array, parameters)
        requests.append(request(name, parameters, dtype, wanted))
    placed = dict(zip(arrays, placement.place(requests), strict=True))
    return {name: placed[name] if name in placed else parameters[name] for name in entries}


def _without_x64(name: str, dtype: np.dtype, parameters: Parameters) -> np.dtype:
    """The dtype that JAX can hold now: floats lose precision with a warning, ints must fit."""
    canonical = np.dtype(jax.dtypes.canonicalize_dtype(dtype))
    if canonical == dtype:
        return dtype
    if dtype.kind in "iu":
        values, limits = parameters[name], np.iinfo(canonical)
        if values.size and (values.min() < limits.min or values.max() > limits.max):
            raise CheckpointError(
                f"the {dtype} values do not fit {canonical}: set jax_enable_x64",
                file=parameters.file.path,
                name=name,
            )
    else:
        warnings.warn(
            f"{name} is {dtype} and becomes {canonical}: set jax_enable_x64 to keep it",
            stacklevel=4,
        )
    return canonical

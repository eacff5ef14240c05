"""``load_checkpoint(sharding=...)``: all arrays of a file on devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax

from msckpt_jax.api.leaf import request, without_x64
from msckpt_jax.checkpoint import placement
from msckpt_jax.checkpoint.parameters import Parameters
from msckpt_jax.progress import Progress

#: A sharding for all arrays, or a function of name and shape.
Sharding: TypeAlias = (
    jax.sharding.Sharding | Callable[[str, tuple[int, ...]], jax.sharding.Sharding | None]
)


def on_devices(
    parameters: Parameters, sharding: Sharding, progress: Progress | bool | None
) -> dict[str, Any]:
    """All arrays on devices; strings, PRNG keys and MapTensors as the file gives them."""
    entries = {n: parameters.file.entries[n] for n in parameters}
    arrays = [name for name, entry in entries.items() if entry.is_array]
    requests = []
    for name in arrays:
        entry = entries[name]
        wanted = sharding(name, entry.shape) if callable(sharding) else sharding
        if not (wanted is None or isinstance(wanted, jax.sharding.Sharding)):
            raise TypeError(f"sharding({name!r}, {entry.shape}) gave a {type(wanted).__name__}")
        dtype = without_x64(name, entry.row.array)
        requests.append(request(name, parameters, dtype, wanted))
    values = placement.place(requests, f"load {parameters.file.path}", progress)
    placed = dict(zip(arrays, values, strict=True))
    return {name: placed[name] if name in placed else parameters[name] for name in entries}

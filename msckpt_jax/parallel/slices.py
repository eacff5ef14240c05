"""The slices of a parameter joined by hand: MindSpore's ``merge_sliced_parameter``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import soundness
from msckpt_jax.parallel.layout import Layout


def merge_sliced_parameter(
    sliced_parameters: Sequence[Any], strategy: Mapping[str, Layout] | None = None
) -> Any:
    """Join the slices of one parameter, in the order of ranks.

    Args:
        sliced_parameters: arrays, or ``{"name", "data"}`` dicts of one name.
        strategy: layouts by name, as :func:`build_searched_strategy` gives; None joins along
            axis 0.

    Returns:
        An array, or a ``{"name", "data"}`` dict when the slices were such dicts.

    Raises:
        ValueError: the number, the shapes or the dtypes of the slices do not fit, or the layout
            contradicts itself.
        KeyError: the strategy lacks the name.
        TypeError: the slices are of other types.

    Example:
        >>> slices = [{"name": "w", "data": np.full((1, 2), rank)} for rank in range(2)]
        >>> ms.merge_sliced_parameter(slices, {"w": ms.Layout((2,), ((0,), ()))})["data"]
        array([[0, 0],
               [1, 1]])
    """
    if not isinstance(sliced_parameters, Sequence) or isinstance(sliced_parameters, str):
        raise TypeError(f"sliced_parameters must be a list, not {type(sliced_parameters).__name__}")
    if not sliced_parameters:
        raise ValueError("sliced_parameters is empty")
    named = isinstance(sliced_parameters[0], Mapping)
    if any(isinstance(s, Mapping) != named for s in sliced_parameters):
        raise TypeError("sliced_parameters must be all arrays, or all dicts of name and data")
    if named and not all({"name", "data"} <= s.keys() for s in sliced_parameters):
        raise TypeError("a dict of sliced_parameters must have the keys name and data")
    names = {s["name"] for s in sliced_parameters} if named else set()
    parts = [np.asarray(s["data"] if named else s) for s in sliced_parameters]
    if any(not part.shape for part in parts):
        raise TypeError("sliced_parameters must be arrays with axes, which are joined on the first")
    if len(names) > 1 or len({(p.dtype, p.shape[1:]) for p in parts}) > 1:
        raise ValueError("the slices differ in name, in dtype, or in shape beyond axis 0")
    if strategy is None:
        out = np.concatenate(parts)
    else:
        if not named:
            raise TypeError("with a strategy the slices must be dicts of name and data")
        name = sliced_parameters[0]["name"]
        if not isinstance(strategy, Mapping):
            raise TypeError(f"strategy must be a dict of layouts, not {type(strategy).__name__}")
        soundness.check({name: strategy[name]})
        soundness.check_merge(name, strategy[name])
        out = _joined(parts, strategy[name])
    return {"name": sliced_parameters[0]["name"], "data": out} if named else out


def _joined(parts: Sequence[np.ndarray], layout: Layout) -> np.ndarray:
    if len(parts) != layout.ranks:
        raise CheckpointError(
            "there must be a slice for each rank", expected=layout.ranks, found=len(parts)
        )
    out = np.empty(layout.full_shape(parts[0].shape), parts[0].dtype)
    for rank, part in enumerate(parts):
        box = layout.box(rank, out.shape)
        if part.shape != boxes.shape_of(box):
            raise CheckpointError(
                f"the slice of rank {rank} does not fit",
                expected=list(boxes.shape_of(box)),
                found=list(part.shape),
            )
        out[boxes.slices(box, boxes.whole(out.shape))] = part
    return out

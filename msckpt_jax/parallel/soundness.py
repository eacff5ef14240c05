"""Layouts are checked where they enter, from a file or from Python.

A layout that passes cuts a tensor by a grid: the parts of its ranks are equal or apart, and all of
them together are the tensor. The functions that merge and cut rely on that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel.layout import Layout

#: The largest number of ranks: a file of some bytes could ask for any.
MOST_RANKS = 1 << 20


def check(layouts: Mapping[str, Any], file: Any = None) -> None:
    """Refuse layouts that do not say exactly which part of the tensor each rank holds.

    Raises:
        CheckpointError: with the parameter, and what is wrong in its layout.
        TypeError: a value is no :class:`Layout`.
    """
    for name, layout in layouts.items():
        if not isinstance(layout, Layout):
            raise TypeError(f"the strategy of {name!r} is a {type(layout).__name__}, no Layout")
        for test in (_matrix, _map, _optimizer, _rows):
            if (problem := test(layout)) is not None:
                raise CheckpointError(problem, file=file, name=name, found=layout)


def check_merge(name: str, layout: Layout, file: Any = None) -> None:
    """Refuse a split that deals the rows of each field out to all ranks: it is not interpreted."""
    if layout.field and max(layout.splits, default=1) > 1:
        raise CheckpointError(
            "MindSpore's split by fields is not known here; merge these files with MindSpore",
            file=file,
            name=name,
            expected="field 0",
            found=f"field {layout.field}",
        )


def _numbers(values: Any) -> bool:
    return isinstance(values, tuple) and all(type(n) is int for n in values)


def _matrix(layout: Layout) -> str | None:
    if not _numbers(layout.dev_matrix) or not layout.dev_matrix or min(layout.dev_matrix) < 1:
        return "dev_matrix must be a tuple of positive numbers"
    if layout.ranks > MOST_RANKS:
        return f"dev_matrix has {layout.ranks} ranks, and {MOST_RANKS} are the most"
    return None


def _map(layout: Layout) -> str | None:
    if not isinstance(layout.tensor_map, tuple) or not all(map(_numbers, layout.tensor_map)):
        return "tensor_map must be a tuple with a tuple of mesh axes for each dimension"
    axes = [axis for dim in layout.tensor_map for axis in dim]
    if -1 in axes:
        return "tensor_map holds MindSpore's -1; write () for a dimension that is not split"
    if outside := [axis for axis in axes if not 0 <= axis < len(layout.dev_matrix)]:
        return f"tensor_map names axis {outside[0]} of {len(layout.dev_matrix)}"
    if twice := [axis for axis in axes if axes.count(axis) > 1]:
        return f"tensor_map splits by axis {twice[0]} twice"
    return None


def _optimizer(layout: Layout) -> str | None:
    size, step = layout.opt_shard_size, layout.opt_shard_step
    if not _numbers((size, step, layout.field)) or size < -1 or step < 0 or layout.field < 0:
        return "opt_shard_size must be -1 or more, opt_shard_step and field 0 or more"
    try:
        layout.flattened()
    except CheckpointError as error:
        return error.problem
    return None


def _rows(layout: Layout) -> str | None:
    rows = layout.split_shape
    if not _numbers(rows) or (rows and min(rows) < 0):
        return "split_shape must be a tuple of numbers of rows"
    if rows and (not layout.tensor_map or len(rows) != layout.splits[0]):
        parts = layout.splits[0] if layout.tensor_map else "no"
        return f"split_shape has {len(rows)} numbers, and dimension 0 {parts} parts"
    return None

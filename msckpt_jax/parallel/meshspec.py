"""Mesh specifications: a layout for each parameter, in one line of text."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msckpt_jax.checkpoint.entries import Entry
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel.layout import Layout, named

DESCRIPTION = """\
  'AXIS=SIZE,...; REGEX=DIM,DIM,...; ...'

The first part gives the axes of the mesh; the last axis varies fastest over the ranks. Each
further part splits the parameters in whose names its regular expression is found; the first such
part counts. A DIM names the axis that splits this dimension, several axes joined by '+', or
nothing. All other parameters are replicated.
"""


def parse(text: str, entries: Mapping[str, Entry]) -> dict[str, Layout]:
    """The layout of each entry by a mesh specification."""
    head, *rules = (part.strip() for part in text.split(";") if part.strip())
    axes: dict[str, int] = {}
    for item in head.split(","):
        name, _, count = item.strip().partition("=")
        if not name or not count.isdigit() or not int(count):
            raise ValueError(f"--to: {item.strip()!r} must be AXIS=SIZE")
        axes[name] = int(count)
    compiled = []
    for rule in rules:
        pattern, equals, dims = rule.rpartition("=")
        if not equals:
            raise ValueError(f"--to: {rule!r} must be REGEX=DIM,DIM,...")
        try:
            compiled.append((re.compile(pattern), _tensor_map(dims, axes)))
        except re.error as error:
            raise ValueError(f"--to: {pattern!r}: {error}") from None
    for pattern, _ in compiled:
        if not any(pattern.search(name) for name in entries):
            raise ValueError(f"--to: no parameter has a name in which {pattern.pattern!r} is found")
    out = {}
    for name, entry in entries.items():
        if entry.is_array and entry.shape:
            splits = next((dims for pattern, dims in compiled if pattern.search(name)), ())
            if len(splits) > len(entry.shape):
                raise CheckpointError("--to splits more dimensions than it has", name=name,
                                      found=list(entry.shape))  # fmt: skip
            splits += ((),) * (len(entry.shape) - len(splits))
            out[name] = named(name, tuple(axes.values()), splits)
    return out


def _tensor_map(dims: str, axes: Mapping[str, int]) -> tuple[tuple[int, ...], ...]:
    order = list(axes)
    out = []
    for dim in dims.split(","):
        names = [name.strip() for name in dim.split("+") if name.strip()]
        unknown = [name for name in names if name not in axes]
        if unknown:
            raise ValueError(f"--to: {unknown[0]!r} is no axis of the mesh {dict(axes)}")
        out.append(tuple(len(order) - 1 - order.index(name) for name in names))
    used = [axis for dim in out for axis in dim]
    if len(set(used)) < len(used):
        raise ValueError(f"--to: {dims!r} uses an axis twice")
    return tuple(out)

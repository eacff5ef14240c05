"""Checks of layouts beyond what each is by itself: that it is one, and that it can be merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel.layout import Layout


def check(layouts: Mapping[str, Any]) -> None:
    """Refuse what is no layout.

    Raises:
        TypeError: with the parameter.
    """
    for name, layout in layouts.items():
        if not isinstance(layout, Layout):
            raise TypeError(f"the strategy of {name!r} is a {type(layout).__name__}, no Layout")


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

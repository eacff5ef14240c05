"""The meanings of gradient operators, which graphs of training hold: a row for each of them.

Most follow from the forward operator's meaning by differentiating it; a row tells how the arguments
of the two correspond. Where a file of MindSpore has only the result of the forward operator, or
MindSpore takes one side of a kink, the row has the derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msckpt_jax.graph.meaning.gradients import blocks, elements, layers, places, windows
from msckpt_jax.graph.meaning.gradients.rule import meaning

ROWS = blocks.ROWS | elements.ROWS | layers.ROWS | places.ROWS | windows.ROWS


def table(forward: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """The meaning of each gradient operator, by the meanings of the forward operators."""
    return {op: meaning(row, forward) for op, row in ROWS.items()}

"""Loops: Scan where the number of steps is known, as tract takes no Loop, else Loop.

Scan runs once for each element of an array: here of the numbers of the steps. What a loop carries
is its state, and it has no condition to compute.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import Const

#: Steps up to which a file holds their numbers.
_MOST = 1 << 16


class Counter(NamedTuple):
    """The place of a counter among what a loop carries, and the numbers that it counts."""

    place: int
    numbers: np.ndarray


def counter(node: Node) -> Counter | None:
    """The counter of a While that ends when a number is reached; None where none is known."""
    test, step = node.bodies
    (answer,) = test.outputs
    if len(test.nodes) != 1 or test.nodes[0].op != "Less" or answer is not test.nodes[0].outputs[0]:
        return None
    count, end = test.nodes[0].inputs
    if count not in test.inputs or not isinstance(end, Const):
        return None
    place = test.inputs.index(count)
    start, dtype = node.inputs[place], test.inputs[place].type.dtype
    if dtype.kind not in "iu":
        return None
    adding = [each for each in step.nodes if step.outputs[place] in each.outputs]
    if not isinstance(start, Const) or [each.op for each in adding] != ["Add"]:
        return None
    operand, by = adding[0].inputs
    if operand is not step.inputs[place] or not isinstance(by, Const) or by.value != 1:
        return None
    first, last = int(start.array), int(end.array)
    if not 0 < last - first <= _MOST:
        return None
    return Counter(place, np.arange(first, last, dtype=dtype))

"""Loops whose number of rounds is known before they run: they differentiate backwards, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import Const, Operand, Value


def count(loop: Node, args: Sequence[Any], known: Callable[[Any], bool]) -> int | None:
    """The number of rounds of a ``While`` that counts up to a limit; None for other loops.

    Args:
        loop: the node.
        args: the values with which its carry begins.
        known: tells whether a value is a number while tracing.
    """
    condition, step = loop.bodies
    if len(condition.nodes) != 1 or condition.nodes[0].op != "Less":
        return None
    test = condition.nodes[0]
    counter, limit = test.inputs
    if condition.outputs != list(test.outputs) or counter not in condition.inputs:
        return None
    at = condition.inputs.index(counter)  # type: ignore[arg-type]
    stop, by = _fixed(limit, condition, step, args), increment(step, at)
    if by is None or stop is None or not known(stop) or not known(args[at]):
        return None
    numbers = [np.asarray(value) for value in (args[at], stop, by)]
    if any(number.size != 1 or number.dtype.kind not in "iu" for number in numbers):
        return None
    first, last, stride = (int(number.reshape(())) for number in numbers)
    rounds = max(0, -((first - last) // stride)) if stride > 0 else None
    # A counter that overflows begins again below the limit.
    most = np.iinfo(numbers[0].dtype).max
    return rounds if rounds is not None and first + rounds * stride <= most else None


def _fixed(limit: Operand, condition: Graph, step: Graph, args: Sequence[Any]) -> Any:
    """The limit; None if a round may change it."""
    if isinstance(limit, Const):
        return limit.value
    if limit not in condition.inputs:
        return None
    at = condition.inputs.index(limit)  # type: ignore[arg-type]
    return args[at] if step.outputs[at] is step.inputs[at] else None


def increment(step: Graph, at: int) -> Any:
    """The constant that each round adds to entry ``at`` of the carry, or None."""
    after = step.outputs[at]
    made = next((node for node in step.nodes if after in node.outputs), None)
    if made is None or made.op != "Add" or not isinstance(after, Value):
        return None
    constants = [operand.value for operand in made.inputs if isinstance(operand, Const)]
    return constants[0] if step.inputs[at] in made.inputs and len(constants) == 1 else None

"""Does a file give JAX's numbers: run it and compare.

In real MindSpore where it is installed, else by the meaning that ``load`` gives its operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from msckpt_jax.errors import ExportError
from msckpt_jax.lowering.trials import largest, trials
from msckpt_jax.mindir import function, runner

if TYPE_CHECKING:
    from msckpt_jax.lowering.trace import Traced


def difference(file: Path, traced: Traced, load: Mapping[str, Any]) -> float:
    """The largest difference between the results of the file and of the function.

    Raises:
        ExportError: MindSpore fails on the file, or the results differ.
    """
    tried = trials(traced)
    if not runner.available():
        function_ = function.load(file, **load)
        return largest(file, tried, lambda *x: jax.tree.leaves(function_(*x)), "the file")
    # Each in a cell of its own: MindSpore compiles anew for each size, and loops only once.
    with runner.MindSpore() as mindspore:
        outcomes = mindspore.run([runner.Case(file, [inputs], load) for inputs, _ in tried])
    for outcome in outcomes:
        if outcome.error:
            raise ExportError(f"{file}: MindSpore fails on it: {outcome.error}")
    results = iter([outcome.results[0] for outcome in outcomes])
    return largest(file, tried, lambda *_: next(results), "MindSpore")

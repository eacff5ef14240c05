"""The meanings of MindSpore's operators, in JAX.

Each module has one ``TABLE``: operator name to a function of its arguments, in the order of
MindSpore's definition; attributes come by keyword. Numbers agree with MindSpore 2.10.0's kernels
except where those are less exact than their definition (its CPU Tanh errs by 1e-4), and on NaN,
which JAX propagates where MindSpore's Maximum, ReduceMax and ReLU do not.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any


@functools.cache
def table() -> dict[str, Callable[..., Any]]:
    """The meaning of each operator, by the operator's name."""
    from msckpt_jax.graph.meaning import gradients

    modules = (importlib.import_module(f"{__name__}.{name}") for name in _ROOMS.split())
    meanings: dict[str, Callable[..., Any]] = {}
    for module in modules:
        meanings |= module.TABLE
    return meanings | gradients.table(meanings)


#: The modules with a table, but that of gradients, which stands on the others.
_ROOMS = """
activations arrays attention boxes colors convolution ctc elementwise experts fused indexing inplace
linear losses matrices normalization optimizers patches pooling quantised random recurrent
reductions resizing row_optimizers sampling segments sequences sized sparse special spectral
"""

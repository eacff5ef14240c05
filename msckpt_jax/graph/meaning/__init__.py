"""The meanings of MindSpore's operators, in JAX.

Each module has one ``TABLE``: operator name to a function of its arguments, in the order of
MindSpore's definition; attributes come by keyword. Numbers agree with MindSpore 2.10.0's kernels
except where those are less exact than their definition (its CPU Tanh errs by 1e-4), and on NaN,
which JAX propagates where MindSpore's Maximum, ReduceMax and ReLU do not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


@functools.cache
def table() -> dict[str, Callable[..., Any]]:
    """The meaning of each operator, by the operator's name."""
    from msckpt_jax.graph.meaning import (
        activations,
        arrays,
        attention,
        boxes,
        colors,
        convolution,
        ctc,
        elementwise,
        experts,
        fused,
        gradients,
        indexing,
        inplace,
        linear,
        losses,
        matrices,
        normalization,
        optimizers,
        patches,
        pooling,
        quantised,
        random,
        recurrent,
        reductions,
        resizing,
        sampling,
        segments,
        sequences,
        sized,
        sparse,
        special,
        spectral,
    )

    meanings: dict[str, Callable[..., Any]] = {}
    for module in (
        activations, arrays, attention, boxes, colors, convolution, ctc, elementwise,
        experts, fused, indexing, inplace, linear, losses, matrices, normalization,
        optimizers, patches, pooling, quantised, random, recurrent, reductions, resizing,
        sampling, segments, sequences, sized, sparse, special, spectral,
    ):  # fmt: skip
        meanings |= module.TABLE
    return meanings | gradients.table(meanings)

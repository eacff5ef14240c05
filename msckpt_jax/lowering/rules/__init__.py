"""The rules: JAX primitive to MindSpore operators, a flat table.

:mod:`msckpt_jax.lowering.rule` defines a rule, and :mod:`msckpt_jax.lowering.context` the context
into which it emits nodes. The facts about MindSpore that rules rely on were measured with MindSpore
2.10.0 on its CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msckpt_jax.lowering.rule import Rule
from msckpt_jax.lowering.rules import (
    bits,
    control,
    division,
    elementwise,
    extremes,
    index,
    linalg,
    nn,
    reduce,
    shape,
    tails,
)

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **elementwise.RULES,
        **extremes.RULES,
        **tails.RULES,
        **division.RULES,
        **bits.RULES,
        **shape.RULES,
        **reduce.RULES,
        **index.RULES,
        **linalg.RULES,
        **nn.RULES,
        **control.RULES,
    }
)

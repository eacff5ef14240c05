"""The rules: JAX primitive to MindSpore operators, a flat table.

What a rule is says :mod:`msckpt_jax.lowering.rule`, what it emits with
:mod:`msckpt_jax.lowering.context`. What rules rely on in MindSpore was measured with MindSpore
2.10.0 on its CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msckpt_jax.lowering.rule import Rule
from msckpt_jax.lowering.rules import (
    bits,
    control,
    elementwise,
    index,
    linalg,
    nn,
    reduce,
    shape,
)

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **elementwise.RULES,
        **bits.RULES,
        **shape.RULES,
        **reduce.RULES,
        **index.RULES,
        **linalg.RULES,
        **nn.RULES,
        **control.RULES,
    }
)

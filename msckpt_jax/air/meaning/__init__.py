"""The meanings of GE's operators, in JAX: the judge of AIR files, and the way to run them.

Written from the operators' definitions in CANN's headers, not from the rows that we export by.
Each module has one ``TABLE``: operator name to a function of its inputs, in the order of the
prototype; an optional input that is not given is None, a dynamic input is a tuple.
Attributes come by keyword, the prototype's defaults filled in; a meaning names those that it uses.
A result that the definition leaves open is None; operands for which it does are a ValueError.
Operands that must be constant (a shape, axes, paddings) are read with :func:`operands.ints`.
"""

from __future__ import annotations

from collections.abc import Mapping

from msckpt_jax.air.meaning import (
    arrays,
    elementwise,
    indexing,
    linear,
    networks,
    pooling,
    reductions,
)
from msckpt_jax.air.meaning.operands import Meaning

#: GE's operator -> the number of its result whose dtype (int32 or int64) no attribute says, only
#: the file; the meaning takes that dtype as one more attribute, ``index_dtype``.
POSITIONS: Mapping[str, int] = {"Cummax": 1, "Cummin": 1}

#: GE's operator -> its meaning.
MEANINGS: Mapping[str, Meaning] = (
    elementwise.TABLE
    | arrays.TABLE
    | indexing.TABLE
    | reductions.TABLE
    | networks.TABLE
    | pooling.TABLE
    | linear.TABLE
)

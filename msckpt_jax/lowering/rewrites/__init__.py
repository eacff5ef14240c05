"""General primitives explained as plain ``lax`` code, one file for each family.

A rewrite takes the operands and parameters of an equation and returns what the equation computes.
It is called only for equations that are in no canonical form (``forms``), it is traced, and what
it consists of is made canonical in turn. Operands known at this time are NumPy arrays. PRNG keys
are key arrays. Index arithmetic states its dtypes: ``jnp``'s defaults depend on the process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from msckpt_jax.lowering.rewrites import (
    control,
    conv,
    dot,
    index,
    numeric,
    random,
    shape,
    sort,
    window,
)

Rewrite: TypeAlias = Callable[..., Any]

REWRITES: dict[str, Rewrite] = {
    **control.REWRITES,
    **conv.REWRITES,
    **dot.REWRITES,
    **index.REWRITES,
    **numeric.REWRITES,
    **random.REWRITES,
    **shape.REWRITES,
    **sort.REWRITES,
    **window.REWRITES,
}

#: Rewritten even where they look canonical, but not those that their own rewrite consists of:
#: indices come in bounds, and a sort carries nothing along but the order.
ALWAYS = frozenset({"sort", *index.REWRITES})


class Declined(Exception):  # noqa: N818 (no error: the equation is left as it is)
    """Raised by a rewrite that does not cover these operands or parameters."""

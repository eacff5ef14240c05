"""General primitives explained as plain ``lax`` code, one file for each family.

A rewrite takes the operands and parameters of an equation and returns what the equation computes.
It is called only for equations that are in no canonical form (``forms``), it is traced, and what
it consists of is made canonical in turn. Operands known at this time are NumPy arrays. PRNG keys
are key arrays. Index arithmetic states its dtypes: ``jnp``'s defaults depend on the process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from msckpt_jax.lowering.rewrites import dot

Rewrite: TypeAlias = Callable[..., Any]

REWRITES: dict[str, Rewrite] = {**dot.REWRITES}

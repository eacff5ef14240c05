"""General primitives explained as plain ``lax`` code, one file for each family.

A rewrite takes the operands of an equation and the parameters that it names, and returns what the
equation computes; an equation with a parameter that it neither names nor ignores is refused.
It is called only for equations that have no canonical form (``forms``), it is traced, and its
equations are made canonical in turn. Operands known at this time are NumPy arrays, though
annotations say ``Array``. PRNG keys are key arrays. Index arithmetic states its dtypes: ``jnp``'s
defaults depend on the process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from msckpt_jax.lowering.rewrites import (
    bit_generator,
    bits,
    control,
    conv,
    dot,
    effects,
    equinox,
    gamma,
    high,
    index,
    linalg,
    mesh,
    numeric,
    order,
    pallas,
    random,
    shape,
    sort,
    sparse,
    values_of_refs,
    window,
)
from msckpt_jax.lowering.rewrites.declined import Declined as Declined
from msckpt_jax.lowering.rewrites.ignoring import Ignoring
from msckpt_jax.lowering.rewrites.peephole import Peephole

Rewrite: TypeAlias = Callable[..., Any] | Ignoring

REWRITES: dict[str, Rewrite] = {
    **bit_generator.REWRITES,
    **bits.REWRITES,
    **control.REWRITES,
    **conv.REWRITES,
    **dot.REWRITES,
    **effects.REWRITES,
    **equinox.REWRITES,
    **gamma.REWRITES,
    **high.REWRITES,
    **index.REWRITES,
    **linalg.REWRITES,
    **mesh.REWRITES,
    **numeric.REWRITES,
    **order.REWRITES,
    **pallas.REWRITES,
    **random.REWRITES,
    **shape.REWRITES,
    **sort.REWRITES,
    **sparse.REWRITES,
    **values_of_refs.REWRITES,
    **window.REWRITES,
}

#: Primitives whose rewrites only say why they are refused, and what to do.
REFUSED = frozenset({*effects.REFUSED, *sparse.REFUSED, *values_of_refs.REFUSED})

#: Primitives that are rewritten even where they look canonical, but not inside their own rewrite:
#: indices come in bounds, and a sort carries nothing along but the order.
ALWAYS = frozenset({"sort", *index.REWRITES})

#: Shorter rewrites, where the equations that made the operands allow them.
PEEPHOLES: dict[str, Peephole] = {
    "bitcast_convert_type": bits.mantissa_of_one,
    "concatenate": shape.of_some,
    "cond": control.known_branch,
    "reshape": shape.of_reshape,
    "select_n": numeric.known_case,
    "shift_left": numeric.known_shift,
    "shift_right_logical": numeric.known_shift,
}

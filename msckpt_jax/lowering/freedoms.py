"""Notes about results that no definition fixes: libraries choose them, each in its way."""

from __future__ import annotations

from typing import Any

from msckpt_jax import _compat
from msckpt_jax.lowering.training import equations

_CHOSEN = {
    "eig": "eig: the eigenvalues come in another order than JAX's, their vectors with other signs "
    "or phases; results that depend on these differ",
    "schur": "schur: the eigenvalues stand on the diagonal in another order than JAX's, "
    "vectors have other signs or phases; results that depend on these differ",
}


def notes(jaxpr: Any) -> list[str]:
    """Return a note for each line of the user's that asks for such results."""
    living, _ = _compat.needed(jaxpr, [True] * len(jaxpr.out_avals))
    out = [
        ": ".join(filter(None, (_compat.user_line(source), _CHOSEN[eqn.primitive.name])))
        for eqn, source in equations(living, None)
        if eqn.primitive.name in _CHOSEN and _is_free(eqn)
    ]
    return list(dict.fromkeys(out))


def _is_free(eqn: Any) -> bool:
    """Tell whether there is a choice; two eigenvalues without vectors come in LAPACK's order."""
    return eqn.invars[0].aval.shape[-1] > (1 if len(eqn.outvars) > 1 else 2)

"""Notes about side effects: a file has none, so what is printed or checked is left out."""

from __future__ import annotations

from typing import Any

from msckpt_jax import _compat
from msckpt_jax.lowering.rewrites import effects
from msckpt_jax.lowering.training import equations

_REASON = "a file has no side effects"
_MUTABLE = (
    "mutable arrays that the function closes over are in the file as they are now: what it writes "
    "to them is not kept"
)


def notes(jaxpr: Any) -> list[str]:
    """Return a note for each side effect, with the user's line."""
    out = [
        ": ".join(filter(None, (_compat.user_line(source), f"{what} is left out: {_REASON}")))
        for eqn, source in equations(jaxpr, None)
        if (what := _effect(eqn)) is not None
    ]
    if any(_compat.is_ref(v.aval) for v in _compat.opened(jaxpr)[0].constvars):
        out.append(_MUTABLE)
    return list(dict.fromkeys(out))


def _effect(eqn: Any) -> str | None:
    if effects.checked(eqn):
        return "the check of error_if"
    return None if eqn.outvars else effects.DROPPED.get(eqn.primitive.name)

"""Side effects, which no file has, and results that only Python code computes."""

from __future__ import annotations

from typing import Any

from msckpt_jax._compat import Equation, opened
from msckpt_jax.errors import UnsupportedError

_CALLBACK = "the call of a Python function"
#: Primitives that, without results, are left out, and what they do in JAX.
DROPPED = {
    "check": "the check of checkify",
    "debug_callback": _CALLBACK,
    "debug_print": "the print",
    "inspect_sharding": "the call with the sharding",
    "io_callback": _CALLBACK,
}


def raises(jaxpr: Any) -> bool:
    """Tell whether a jaxpr is the branch in which Equinox's ``error_if`` raises."""
    callbacks = [eqn for eqn in opened(jaxpr)[0].eqns if eqn.primitive.name == "pure_callback"]
    functions = (getattr(eqn.params["callback"], "callback_func", None) for eqn in callbacks)
    return any(getattr(f, "__module__", "") == "equinox._errors" for f in functions)


def checked(eqn: Equation) -> bool:
    """Tell whether an equation is a check by Equinox: one of its branches raises."""
    return eqn.primitive.name == "cond" and any(map(raises, eqn.params["branches"]))


def of_python(
    *operands: Any, callback: Any, result_avals: Any, sharding: Any, vmap_method: Any = None,
    ordered: bool = False,
) -> Any:  # fmt: skip
    """Refuse results of a Python function."""
    raise UnsupportedError(
        "Python code computes its results, which a file cannot hold: write that part with "
        "jax.numpy, or export the parts before and after it"
    )


REWRITES = {"io_callback": of_python, "pure_callback": of_python}

"""Side effects, which no file has, and results that only Python code computes."""

from __future__ import annotations

from typing import Any

from jax.extend import core

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


def foreign(jaxpr: Any) -> bool:
    """Tell whether a jaxpr calls compiled code that no file has."""
    return any(
        eqn.primitive.name == "ffi_call" or any(map(foreign, core.jaxprs_in_params(eqn.params)))
        for eqn in opened(jaxpr)[0].eqns
    )


def of_compiled_code(*operands: Any, target_name: str, **_: Any) -> Any:
    """Refuse results of compiled code."""
    raise UnsupportedError(
        f"compiled code of yours, {target_name!r}, computes its results, which a file cannot hold: "
        "say in plain JAX what it does, jax.lax.platform_dependent(..., cuda=it, default=plain), "
        "or give a rule that emits operators for it, export(..., rules={'ffi_call': rule})"
    )


REWRITES = REFUSED = {
    "ffi_call": of_compiled_code,
    "io_callback": of_python,
    "pure_callback": of_python,
}

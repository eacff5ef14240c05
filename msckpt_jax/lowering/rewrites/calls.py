"""Equations that stand for a jaxpr, and equations that change nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.extend import core

from msckpt_jax._compat import ClosedJaxpr, Equation, opened
from msckpt_jax.lowering.rewrites import effects

#: Primitive -> the parameter that holds the jaxpr it stands for.
CALLEE: dict[str, str] = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "eval_jaxpr": "call_jaxpr",  # JAX 0.12
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_lin": "call_jaxpr",
    "custom_vmap_call": "call",
    "custom_partitioning": "call",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "composite": "call_jaxpr",
    "linear_call": "callee",
    "xla_metadata_call": "jaxpr",
    "shard_map": "jaxpr",  # of one device
    "call_of_user": "jaxpr",
}
#: The call by which rewrites run jaxprs of the user: the source lines inside are the user's.
call_of_user_p = core.Primitive("call_of_user")
call_of_user_p.multiple_results = True
call_of_user_p.def_abstract_eval(
    lambda *_, jaxpr, surely=False: [v.aval for v in opened(jaxpr)[0].outvars]
)


def call_of_user(jaxpr: ClosedJaxpr, *operands: Array, surely: bool = False) -> list[Array]:
    """The results of a jaxpr of the user. For rewrites only: the call is inlined at once.

    ``surely``: it is the user's also where the loop around it is a rewrite's.
    """
    return call_of_user_p.bind(*operands, jaxpr=jaxpr, surely=surely)


#: Primitives that never change anything.
NEVER = frozenset({
    "stop_gradient", "copy", "copy_p", "optimization_barrier", "sharding_constraint",
    "layout_constraint", "name", "pvary", "device_put", "reshard", "mesh_cast", "pcast",
    "random_wrap", "random_unwrap", "random_clone", "tie_in",
})  # fmt: skip
#: Collectives over named axes occur in a shard_map of one device only; vmap numbers its own axis.
_ALONE = "psum psum_invariant pmax pmin"
#: Primitives that change nothing only where the result has the operand's type.
_WHERE_EQUAL = """
bitcast_convert_type convert_element_type reshape broadcast_in_dim squeeze slice dynamic_slice
concatenate split reduce_sum reduce_prod reduce_max reduce_min reduce_and reduce_or reduce_xor
"""
_CHANGES_NOTHING: dict[str, Callable[[Equation], bool]] = {
    **dict.fromkeys(NEVER, lambda eqn: True),
    **dict.fromkeys(effects.DROPPED, lambda eqn: not eqn.outvars),
    **dict.fromkeys(_ALONE.split(), lambda eqn: not any(map(is_position, eqn.params["axes"]))),
    **dict.fromkeys(_WHERE_EQUAL.split(), lambda eqn: _same_type(eqn)),
    "transpose": lambda eqn: _in_order(eqn.params["permutation"]),
    "pad": lambda eqn: all(n == 0 for sides in eqn.params["padding_config"] for n in sides),
    "rev": lambda eqn: not eqn.params["dimensions"],
    "tile": lambda eqn: all(n == 1 for n in eqn.params["reps"]),
    "reduce_precision": lambda eqn: _keeps_precision(eqn),
}


def is_position(axis: Any) -> bool:
    """Tell whether the axis of a collective is an axis of its operand, not of a mesh."""
    return isinstance(axis, int)


def changes_nothing(eqn: Equation) -> bool:
    """Tell whether the results are the operands."""
    test = _CHANGES_NOTHING.get(eqn.primitive.name)
    return test is not None and test(eqn)


def callee(eqn: Equation) -> tuple[Any, Sequence[Any]] | None:
    """The jaxpr (and its constants) that an equation only calls, with its last operands."""
    if eqn.primitive.name == "shard_map" and eqn.params["mesh"].size > 1:
        return None
    param = CALLEE.get(eqn.primitive.name)
    # JAX 0.10 calls the one of composite "jaxpr", too.
    jaxpr = eqn.params.get(param, eqn.params.get("jaxpr")) if param else None
    return None if jaxpr is None else opened(jaxpr)


def _same_type(eqn: Equation) -> bool:
    if len(eqn.outvars) != 1 or (len(eqn.invars) != 1 and eqn.primitive.name != "dynamic_slice"):
        return False
    before, after = eqn.invars[0].aval, eqn.outvars[0].aval
    reordered = eqn.primitive.name == "reshape" and eqn.params["dimensions"] is not None
    return before.shape == after.shape and before.dtype == after.dtype and not reordered


def _in_order(axes: Sequence[int]) -> bool:
    return list(axes) == list(range(len(axes)))


def _keeps_precision(eqn: Equation) -> bool:
    info = jnp.finfo(eqn.invars[0].aval.dtype)
    return (eqn.params["exponent_bits"], eqn.params["mantissa_bits"]) == (info.nexp, info.nmant)

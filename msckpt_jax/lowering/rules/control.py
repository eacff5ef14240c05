"""Control flow: nodes that own the graphs of their bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msckpt_jax.graph.graph import Graph
from msckpt_jax.graph.values import Const, Parameter
from msckpt_jax.lowering.context import Array, Context, Rule


def _cond(ctx: Context, eqn: Any, index: Array, *operands: Array) -> list[Array]:
    otherwise, then = eqn.params["branches"]
    given = _computed(operands)
    types, inputs = ctx.results, [ctx.type(x) for x in given]
    arguments = _arguments(operands, given)
    bodies = (
        ctx.body("then", then, inputs, arguments),
        ctx.body("else", otherwise, inputs, arguments),
    )
    return list(ctx.control("If", [ctx.cast(index, bool), *given], types, bodies))


def _while(ctx: Context, eqn: Any, *operands: Array) -> list[Array]:
    """Constants of the loop that are computed are carried along, before the carry."""
    params = eqn.params
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    fixed, carry = _computed(operands[:second]), operands[second:]
    types = [ctx.type(x) for x in (*fixed, *carry)]
    places = list(range(len(fixed), len(types)))

    def body(name: str, jaxpr: Any, consts: Sequence[Array]) -> Graph:
        return ctx.body(name, jaxpr, types, [*_arguments(consts, fixed), *places])

    condition = body("condition", params["cond_jaxpr"], operands[:first])
    step = body("step", params["body_jaxpr"], operands[first:second])
    step.outputs = [*step.inputs[: len(fixed)], *step.outputs]
    return list(ctx.control("While", [*fixed, *carry], types, (condition, step))[len(fixed) :])


def _computed(operands: Sequence[Array]) -> list[Array]:
    """Those that a body must be given. It may refer to constants and weights as they are."""
    return list(dict.fromkeys(x for x in operands if not isinstance(x, Const | Parameter)))


def _arguments(operands: Sequence[Array], given: list[Array]) -> list[Array | int]:
    return [x if isinstance(x, Const | Parameter) else given.index(x) for x in operands]


RULES: dict[str, Rule] = {"cond": _cond, "while": _while}

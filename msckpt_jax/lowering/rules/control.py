"""Control flow: nodes that own the graphs of their bodies."""

from __future__ import annotations

from collections.abc import Sequence

from msckpt_jax._compat import ClosedJaxpr
from msckpt_jax.graph.graph import Graph
from msckpt_jax.graph.values import Const, Parameter
from msckpt_jax.lowering.context import Array, Context
from msckpt_jax.lowering.rule import Rule, rule
from msckpt_jax.lowering.symbols import names_of


def _cond(
    ctx: Context, index: Array, *operands: Array, branches: Sequence[ClosedJaxpr]
) -> list[Array]:
    otherwise, then = branches
    given = _computed(ctx, branches, operands)
    types, inputs = ctx.results, [ctx.type(x) for x in given]
    arguments = _arguments(operands, given)
    bodies = (
        ctx.body("then", then, inputs, arguments),
        ctx.body("else", otherwise, inputs, arguments),
    )
    return list(ctx.control("If", [ctx.cast(index, bool), *given], types, bodies))


def _while(
    ctx: Context,
    *operands: Array,
    cond_jaxpr: ClosedJaxpr,
    cond_nconsts: int,
    body_jaxpr: ClosedJaxpr,
    body_nconsts: int,
) -> list[Array]:
    """Constants of the loop that are computed are carried along, before the carry."""
    first, second = cond_nconsts, cond_nconsts + body_nconsts
    carry = operands[second:]
    fixed = _computed(ctx, (cond_jaxpr, body_jaxpr), operands[:second], carry)
    types = [ctx.type(x) for x in (*fixed, *carry)]
    places = list(range(len(fixed), len(types)))

    def body(name: str, jaxpr: ClosedJaxpr, consts: Sequence[Array]) -> Graph:
        return ctx.body(name, jaxpr, types, [*_arguments(consts, fixed), *places])

    condition = body("condition", cond_jaxpr, operands[:first])
    step = body("step", body_jaxpr, operands[first:second])
    step.outputs = [*step.inputs[: len(fixed)], *step.outputs]
    return list(ctx.control("While", [*fixed, *carry], types, (condition, step))[len(fixed) :])


def _computed(
    ctx: Context,
    bodies: Sequence[ClosedJaxpr],
    operands: Sequence[Array],
    more: Sequence[Array] = (),
) -> list[Array]:
    """The operands that bodies must be given beside ``more``, and values that tell them sizes.

    A body may refer to constants and weights itself.
    """
    given = dict.fromkeys(x for x in operands if not isinstance(x, Const | Parameter))
    names = dict.fromkeys(name for body in bodies for name in names_of(body))
    return [*given, *ctx.holders(names, [*given, *more])]


def _arguments(operands: Sequence[Array], given: list[Array]) -> list[Array | int]:
    return [x if isinstance(x, Const | Parameter) else given.index(x) for x in operands]


RULES: dict[str, Rule] = {"cond": rule(_cond, "If"), "while": rule(_while, "While")}

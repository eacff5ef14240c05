"""A Graph run by JAX: each node is its operator's meaning, control flow is ``lax``'s."""

from __future__ import annotations

import functools
import inspect
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph import meaning, trips
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import Const, Operand, Parameter, Size, Value

#: The meaning of an operator: a function of its inputs; attributes come by keyword.
Rule: TypeAlias = Callable[..., Any]
_CONTROL = {"If", "While"}
_SMALL = 1024


def rules_for(graph: Graph, rules: Mapping[str, Rule] | None = None) -> dict[str, Rule]:
    """The meaning of each operator of a graph.

    Raises:
        MindIRError: operators without one; names all of them.
    """
    known = meaning.table() | dict(rules or {})
    ops = Counter(node.op for node in graph.walk() if node.op not in _CONTROL)
    missing = [f"{op} ({count})" for op, count in sorted(ops.items()) if op not in known]
    if missing:
        raise MindIRError(
            f"no meaning in JAX for the operators {', '.join(missing)}; give one each: "
            "load(..., rules={'Op': lambda *inputs, **attributes: ...})"
        )
    return {op: known[op] for op in ops}


def evaluate(
    graph: Graph, rules: Mapping[str, Rule], parameters: Mapping[str, Any], inputs: Sequence[Any]
) -> list[Any]:
    """The outputs of a graph."""
    return _Run(rules, parameters).graph(graph, inputs, {})


class _Run:
    def __init__(self, rules: Mapping[str, Rule], parameters: Mapping[str, Any]):
        self.rules, self.parameters = rules, parameters

    def graph(self, graph: Graph, inputs: Sequence[Any], env: dict[Value, Any]) -> list[Any]:
        env = dict(zip(graph.inputs, inputs, strict=True))
        for node in graph.nodes:
            results = self.node(node, env)
            for value, result in zip(node.outputs, results, strict=False):
                env[value] = result
        return [self.operand(out, env) for out in graph.outputs]

    def operand(self, operand: Operand, env: dict[Value, Any]) -> Any:
        if isinstance(operand, Parameter):
            return self.parameters[operand.name]
        if isinstance(operand, Value):
            return env[operand]
        if isinstance(operand, Const):
            value = operand.value
            return jax.dtypes.canonicalize_dtype(value) if isinstance(value, np.dtype) else value
        if isinstance(operand, Size):
            return jnp.shape(env[operand.of])[operand.axis]
        return tuple(self.operand(part, env) for part in operand)

    def node(self, node: Node, env: dict[Value, Any]) -> Sequence[Any]:
        args = [self.operand(operand, env) for operand in node.inputs]
        if node.op == "If":
            return self.branch(node, args)
        if node.op == "While":
            return self.loop(node, args)
        rule = self.rules[node.op]
        attrs = _accepted(rule, node.attrs, len(args))
        if all(map(_static, args)) and all(map(_is_small, node.outputs)):
            with jax.ensure_compile_time_eval():
                result = jax.tree.map(_concrete, rule(*args, **attrs))
        else:
            result = rule(*args, **attrs)
        return result if isinstance(result, tuple) and len(node.outputs) != 1 else (result,)

    def branch(self, node: Node, args: list[Any]) -> Sequence[Any]:
        condition, *operands = args
        sides = [lambda body=body: self.arrays(body, operands) for body in node.bodies]
        if _static(condition):
            return sides[0 if np.all(condition) else 1]()
        condition = jnp.reshape(condition, ()).astype(bool)
        return lax.cond(condition, sides[0], sides[1])

    def arrays(self, body: Graph, operands: Sequence[Any]) -> list[Any]:
        return [jnp.asarray(out) for out in self.graph(body, operands, {})]

    def loop(self, node: Node, args: list[Any]) -> Sequence[Any]:
        condition, step = node.bodies
        # What comes back unchanged stays outside, where sizes keep being known.
        moving = [k for k, v in enumerate(step.inputs) if step.outputs[k] is not v]

        def full(carry: Sequence[Any]) -> list[Any]:
            out = list(args)
            for k, value in zip(moving, carry, strict=True):
                out[k] = value
            return out

        def go_on(carry: Sequence[Any]) -> Any:
            (test,) = self.graph(condition, full(carry), {})
            return jnp.reshape(test, ()).astype(bool)

        def once(carry: Sequence[Any]) -> list[Any]:
            new = self.graph(step, full(carry), {})
            return [jnp.asarray(new[k], c.dtype) for k, c in zip(moving, carry, strict=True)]

        start = [jnp.asarray(args[k]) for k in moving]
        rounds = trips.count(node, args, _static)
        if rounds is not None:
            return full(lax.scan(lambda carry, _: (once(carry), None), start, length=rounds)[0])
        return full(lax.while_loop(go_on, once, start))


def _static(value: Any) -> bool:
    """Whether a value is known while tracing."""
    if isinstance(value, tuple):
        return all(map(_static, value))
    return value is None or isinstance(
        value, np.ndarray | np.generic | np.dtype | int | float | str
    )


def _is_small(value: Value) -> bool:
    """Whether a result may be computed while tracing: shapes and the like."""
    shape = value.type.shape
    return all(isinstance(dim, int) for dim in shape) and math.prod(shape) <= _SMALL  # type: ignore[arg-type]


def _concrete(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, jax.Array) else value


def _accepted(rule: Rule, attrs: Mapping[str, Any], given: int) -> Mapping[str, Any]:
    """The attributes that a rule names; what else is there serves MindSpore's compiler."""
    if not attrs:
        return attrs
    positional, by_name = arguments_of(rule)
    if by_name is None:
        return attrs
    return {name: v for name, v in attrs.items() if name in by_name or name in positional[given:]}


@functools.lru_cache(maxsize=4096)
def arguments_of(rule: Rule) -> tuple[tuple[str, ...], frozenset[str] | None]:
    """A rule's arguments: those by position, and those by name only (None: any)."""
    try:
        found = inspect.signature(rule).parameters.values()
    except (ValueError, TypeError):  # a ufunc, which takes no attributes of MindSpore's
        return (), frozenset()
    kinds = inspect.Parameter
    positional = tuple(p.name for p in found if p.kind is kinds.POSITIONAL_OR_KEYWORD)
    if any(p.kind is kinds.VAR_KEYWORD for p in found):
        return positional, None
    return positional, frozenset(p.name for p in found if p.kind is kinds.KEYWORD_ONLY)

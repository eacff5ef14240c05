"""Run a Graph in JAX: each node calls its operator's meaning, control flow is ``lax``'s."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax.graph import trips
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import ABSENT, UNKNOWN, Const, Operand, Parameter, Size, Value
from msckpt_jax.visible import visible

#: The meaning of an operator: a function of its inputs; attributes come by keyword.
Meaning: TypeAlias = Callable[..., Any]
#: A function of each node and its results, which refuses results that differ from the file.
Check: TypeAlias = Callable[[Node, Sequence[Any]], None]
_SMALL = 1024
#: The beginning of the note by which an error tells the operator in which it arose.
IN = "in the operator "
#: The attribute of a node whose last input is no operand, but the number of a random draw.
DRAWS = "draws_random_numbers"


def evaluate(
    graph: Graph,
    meanings: Mapping[str, Meaning],
    parameters: Mapping[str, Any],
    inputs: Sequence[Any],
    checks: Sequence[Check] = (),
    rng: Any = None,
) -> list[Any]:
    """Compute the outputs of a graph.

    Args:
        graph: a graph of the operators that ``meanings`` has, and control flow.
        meanings: a function for each operator.
        parameters: the weights by name.
        inputs: arrays for the graph's inputs.
        checks: each is called with each node and its results.
        rng: a ``jax.random.key``, if operators draw random numbers.
    """
    return _Run(meanings, parameters, checks, rng).graph(graph, inputs)


class _Run:
    def __init__(
        self, meanings: Mapping[str, Meaning], parameters: Mapping[str, Any],
        checks: Sequence[Check], rng: Any,
    ):  # fmt: skip
        self.meanings, self.parameters, self.checks = meanings, parameters, checks
        self.rng = rng

    def graph(self, graph: Graph, inputs: Sequence[Any]) -> list[Any]:
        env: dict[Value, Any] = dict(zip(graph.inputs, inputs, strict=True))
        for node in graph.nodes:
            args = [self.operand(operand, env) for operand in node.inputs]
            try:
                results = _FLOW.get(node.op, _Run.operator)(self, node, args)
                for check in self.checks:
                    check(node, results)
            except Exception as error:
                error.add_note(visible(f"{IN}{node.op}{place(node)}"))
                raise
            for value, result in zip(node.outputs, results, strict=False):
                env[value] = result
        return [self.operand(out, env) for out in graph.outputs]

    def operand(self, operand: Operand, env: dict[Value, Any]) -> Any:
        if isinstance(operand, Parameter):
            return self.parameters[operand.name]
        if isinstance(operand, Value):
            return env[operand]
        if operand is ABSENT:
            return operand
        if isinstance(operand, Const):
            value = operand.value
            return jax.dtypes.canonicalize_dtype(value) if isinstance(value, np.dtype) else value
        if isinstance(operand, Size):
            return jnp.shape(env[operand.of])[operand.axis]
        return tuple(self.operand(part, env) for part in operand)

    def operator(self, node: Node, args: list[Any]) -> Sequence[Any]:
        """Call the meaning of an operator; while tracing, if the results are sizes and the like."""
        meaning = self.meanings[node.op]
        number = args.pop() if DRAWS in node.attrs else 0
        attrs = _accepted(meaning, node.attrs, len(args))
        if draws(node, meaning):
            result = meaning(*args, **attrs, rng=jax.random.fold_in(self.rng, number))
        elif all(map(_static, args)) and all(map(_is_small, node.outputs)):
            with jax.ensure_compile_time_eval():
                result = jax.tree.map(_concrete, meaning(*args, **attrs))
        else:
            result = meaning(*args, **attrs)
        results = _flat(result, node) if _is_results(result, node) else (result,)
        wider = any(map(_is_wider, node.inputs, args))
        return [_as_wide(r, v, wider) for r, v in zip(results, node.outputs, strict=False)]

    def branch(self, node: Node, args: list[Any]) -> Sequence[Any]:
        condition, *operands = args
        sides = [self.body(body, operands) for body in node.bodies]
        if _static(condition):
            return sides[0 if np.all(condition) else 1]()
        condition = jnp.reshape(condition, ()).astype(bool)
        if any(out is ABSENT for body in node.bodies for out in body.outputs):
            sides = [_completed(side, other) for side, other in (sides, sides[::-1])]
        return lax.cond(condition, *sides)

    def case(self, node: Node, args: list[Any]) -> Sequence[Any]:
        index, *operands = args
        return lax.switch(
            jnp.reshape(index, ()), [self.body(body, operands) for body in node.bodies]
        )

    def call(self, node: Node, args: list[Any]) -> Sequence[Any]:
        return self.graph(node.bodies[0], args)

    def body(self, body: Graph, operands: Sequence[Any]) -> Callable[[], list[Any]]:
        def run() -> list[Any]:
            return [
                None if out is ABSENT else jnp.asarray(out) for out in self.graph(body, operands)
            ]

        return run

    def loop(self, node: Node, args: list[Any]) -> Sequence[Any]:
        condition, step = node.bodies
        # Operands that come back unchanged stay outside, where sizes keep being known.
        moving = [k for k, v in enumerate(step.inputs) if step.outputs[k] is not v]

        def full(carry: Sequence[Any]) -> list[Any]:
            out = list(args)
            for k, value in zip(moving, carry, strict=True):
                out[k] = value
            return out

        def go_on(carry: Sequence[Any]) -> Any:
            (test,) = self.graph(condition, full(carry))
            return jnp.reshape(test, ()).astype(bool)

        def once(carry: Sequence[Any]) -> list[Any]:
            new = self.graph(step, full(carry))
            return [jnp.asarray(new[k], c.dtype) for k, c in zip(moving, carry, strict=True)]

        start = [jnp.asarray(args[k]) for k in moving]
        rounds = trips.count(node, args, _static)
        if rounds is not None:
            return full(lax.scan(lambda carry, _: (once(carry), None), start, length=rounds)[0])
        return full(lax.while_loop(go_on, once, start))


#: Control flow, which owns the graphs of its bodies.
_FLOW: Mapping[str, Callable[[_Run, Node, list[Any]], Sequence[Any]]] = {
    "Case": _Run.case,
    "If": _Run.branch,
    "PartitionedCall": _Run.call,
    "While": _Run.loop,
}
FLOW = frozenset(_FLOW)


def _completed(side: Callable[[], list[Any]], other: Callable[[], list[Any]]) -> Any:
    """The side of a branch, with zeros for the results that only the other side has."""

    def run() -> list[Any]:
        types = jax.eval_shape(other)
        return [
            jnp.zeros(type.shape, type.dtype) if out is None else out
            for out, type in zip(side(), types, strict=True)
        ]

    return run


def _is_results(result: Any, node: Node) -> bool:
    """Tell whether a tuple holds a node's results: a tuple of unknown length is a single result."""
    several = len(node.outputs) != 1
    return isinstance(result, tuple) and (several or node.outputs[0].type is not UNKNOWN)


def _flat(results: tuple[Any, ...], node: Node) -> Sequence[Any]:
    """The results of a node, one for each output: those of tuples of known length are apart."""
    nested = any(isinstance(result, tuple) for result in results)
    return jax.tree.leaves(results) if nested and len(results) < len(node.outputs) else results


def _as_wide(result: Any, value: Value, wider: bool) -> Any:
    """The result, not wider than the file tells where the operands are not.

    Of whole numbers and Python's fractions JAX makes float64 where it has 64 bits, of int32 and a
    scalar of 64 bits int64.
    """
    if wider or value.type is UNKNOWN or not hasattr(result, "dtype"):
        return result
    told = value.type.dtype
    if told.kind not in "iufc" or result.dtype.kind != told.kind:
        return result
    return result.astype(told) if result.dtype.itemsize > told.itemsize else result


def _is_wider(operand: Operand, arg: Any) -> bool:
    """Tell whether the file has an operand in another dtype: of widened weights, or of an input."""
    if isinstance(operand, tuple) and not isinstance(operand, Const | Size):
        return any(map(_is_wider, operand, arg))
    if not isinstance(operand, Value) or operand.type is UNKNOWN or not hasattr(arg, "dtype"):
        return False
    return arg.dtype != operand.type.dtype


def place(node: Node) -> str:
    """The place of an operator in the network, or the name of its first result, as text."""
    name = node.outputs[0].name if node.outputs else ""
    return f" at {node.source}" if node.source else f" {name!r}" if name else ""


def _static(value: Any) -> bool:
    """Tell whether a value is known while tracing."""
    if isinstance(value, tuple):
        return all(map(_static, value))
    return value is None or isinstance(
        value, np.ndarray | np.generic | np.dtype | int | float | str
    )


def _is_small(value: Value) -> bool:
    """Tell whether a result may be computed while tracing, as shapes and the like are."""
    shape = value.type.shape
    return all(isinstance(dim, int) for dim in shape) and math.prod(shape) <= _SMALL  # type: ignore[arg-type]


def _concrete(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, jax.Array) else value


def _accepted(meaning: Meaning, attrs: Mapping[str, Any], given: int) -> Mapping[str, Any]:
    """The attributes that a meaning names; all others serve the compiler of MindSpore or GE."""
    if not attrs:
        return attrs
    positional, by_name = arguments_of(meaning)
    if by_name is None:
        return {name: v for name, v in attrs.items() if name != DRAWS}
    return {name: v for name, v in attrs.items() if name in by_name or name in positional[given:]}


def draws(node: Node, meaning: Meaning) -> bool:
    """Tell whether an operator draws random numbers, and its meaning takes a key for it."""
    return DRAWS in node.attrs and "rng" in (arguments_of(meaning)[1] or ())


@functools.lru_cache(maxsize=4096)
def arguments_of(meaning: Meaning) -> tuple[tuple[str, ...], frozenset[str] | None]:
    """The arguments that a meaning takes by position, and those by name only (None: any name)."""
    try:
        arguments = inspect.signature(meaning).parameters.values()
    except (ValueError, TypeError):  # a ufunc takes no attributes of MindSpore's
        return (), frozenset()
    kinds = inspect.Parameter
    positional = tuple(p.name for p in arguments if p.kind is kinds.POSITIONAL_OR_KEYWORD)
    if any(p.kind is kinds.VAR_KEYWORD for p in arguments):
        return positional, None
    return positional, frozenset(p.name for p in arguments if p.kind is kinds.KEYWORD_ONLY)

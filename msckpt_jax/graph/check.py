"""Check that MindSpore's loader takes a Graph, before it is written.

A MindIR that is wrong crashes MindSpore, or gives wrong numbers without a word (measured with
MindSpore 2.10.0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from msckpt_jax import display
from msckpt_jax.errors import ExportError, UnsupportedError
from msckpt_jax.graph import operators
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.kernels import tensor_dtypes, wider
from msckpt_jax.graph.values import Const, Operand, Scalar, Size, Tensor, Value, values_of


def check(graph: Graph, *, kernels: bool = True) -> None:
    """Check arguments, kinds, dtypes and the order of all nodes.

    Args:
        graph: a graph of MindSpore's operators.
        kernels: True if MindSpore's CPU must have kernels, too; other formats run elsewhere.

    Raises:
        ExportError: it lists all that is wrong, each with the line of the user's code.
    """
    problems = tuple(_problems(graph, set(graph.parameters.values()), kernels))
    if problems:
        raise ExportError("MindSpore does not take the graph:", problems=problems)


def _problems(graph: Graph, everywhere: set[Value], kernels: bool) -> Iterator[str]:
    known = everywhere | set(graph.inputs)
    for node in graph.nodes:
        early = any(value not in known for part in node.inputs for value in values_of(part))
        problems = list(_body_problems(node) if node.bodies else _operator_problems(node))
        problems += [] if node.bodies or not kernels else _kernel_problems(node)
        problems += ["uses a value before it is computed"] if early else []
        yield from (f"{node.source}: {node.op} {problem}" for problem in problems)
        for body in node.bodies:
            yield from _problems(body, everywhere, kernels)
        known.update(node.outputs)
    if any(isinstance(value, Value) and value not in known for value in graph.outputs):
        yield f"a result of the graph {graph.name} is never computed"


def _operator_problems(node: Node) -> Iterator[str]:
    definition = operators.definition(node.op)
    if definition is None:
        if not operators.known(node.op):
            yield "is no operator of MindSpore"
        if any(_kind(operand) not in ("TENSOR", "T_TENSOR") for operand in node.inputs):
            yield "takes tensors only; its other arguments are attributes"
    else:
        yield from _argument_problems(node, definition)


def _kernel_problems(node: Node) -> Iterator[str]:
    try:
        if wider(node.op, tensor_dtypes(node.inputs),
                         [value.type.dtype for value in node.outputs]):  # fmt: skip
            yield "has no CPU kernel for these dtypes"
    except UnsupportedError as error:
        yield f"cannot run: {error}"


def _argument_problems(node: Node, definition: operators.Definition) -> Iterator[str]:
    wanted = definition.arguments
    if len(node.inputs) != len(wanted):
        yield f"takes {display.counted(len(wanted), 'argument')}, not {len(node.inputs)}"
    if node.attrs:
        yield "takes all arguments as inputs, no attributes"
    for argument, operand in zip(wanted, node.inputs, strict=False):
        kind = _kind(operand)
        if not _fits(kind, argument):
            yield f"takes {argument.kind} for {argument.name}, not {kind}"


def _fits(kind: str, argument: operators.Argument) -> bool:
    if kind == "NONE":  # MindSpore's own files have it for any optional argument
        return True
    if kind == "T_":  # an empty tuple
        return argument.kind.startswith("T_")
    if (kind, argument.kind) == ("FLOAT", "NUMBER"):
        return True
    wanted = argument.kind.replace("NUMBER", "INT")
    return kind == wanted or (kind, wanted) in {("TENSOR", "INT"), ("TENSOR", "T_INT")}


def _kind(operand: Operand) -> str:
    """MindSpore's name of the kind of an operand."""
    if isinstance(operand, Size | Scalar):
        return "INT"
    if isinstance(operand, Value):
        return "TENSOR"
    if isinstance(operand, Const):
        return _kind_of_value(operand.value)
    kinds = {_kind(part) for part in operand}
    return f"T_{kinds.pop() if len(kinds) == 1 else '|'.join(sorted(kinds))}"


def _kind_of_value(value: object) -> str:
    if isinstance(value, tuple):
        kinds = {_kind_of_value(part) for part in value}
        return f"T_{kinds.pop() if len(kinds) == 1 else '|'.join(sorted(kinds))}"
    return _KINDS.get(type(value), "INT" if isinstance(value, np.dtype) else "?")


_KINDS = {
    type(None): "NONE", bool: "BOOL", int: "INT", float: "FLOAT", str: "STR", np.ndarray: "TENSOR",
}  # fmt: skip


def _body_problems(node: Node) -> Iterator[str]:
    types = [_type(operand) for operand in node.inputs]
    results = [value.type for value in node.outputs]
    yield from _CONTROL[node.op](node, types, results)


def _if_problems(node: Node, types: list, results: list[Tensor]) -> Iterator[str]:
    if types[0] != Tensor(np.dtype(bool), ()):
        yield "takes a bool of rank 0"
    for body in node.bodies:
        if [value.type for value in body.inputs] != types[1:]:
            yield "gives a branch other operands than it takes"
        if [_type(value) for value in body.outputs] != results:
            yield "has a branch with other results"


def _while_problems(node: Node, types: list, results: list[Tensor]) -> Iterator[str]:
    condition, step = node.bodies
    if types != results:
        yield "begins with another carry than it ends with"
    for body in node.bodies:
        if [value.type for value in body.inputs] != types:
            yield "gives a body another carry than it takes"
    if [_type(value) for value in step.outputs] != types:
        yield "has a step that changes the type of the carry"
    if [_type(value) for value in condition.outputs] != [Tensor(np.dtype(bool), ())]:
        yield "has a condition that is no bool of rank 0"


_CONTROL: dict[str, Callable[[Node, list, list[Tensor]], Iterator[str]]] = {
    "If": _if_problems,
    "While": _while_problems,
}


def _type(operand: Operand) -> Tensor | None:
    if isinstance(operand, Value):
        return operand.type
    if isinstance(operand, Const) and isinstance(operand.value, np.ndarray):
        return Tensor(operand.value.dtype, operand.value.shape)
    return None

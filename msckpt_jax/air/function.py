"""An AIR file as a JAX function: ``msckpt_jax.load("model.air")``."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from msckpt_jax import display
from msckpt_jax.air import check
from msckpt_jax.air.file import read
from msckpt_jax.air.graph import graph_of
from msckpt_jax.air.meaning import MEANINGS, POSITIONS, Meaning
from msckpt_jax.air.prototypes import Prototype, prototypes
from msckpt_jax.air.wiring import DATA, arguments, end, ports, results, sources
from msckpt_jax.dtypes import BY_GE
from msckpt_jax.errors import AirError
from msckpt_jax.graph import listing
from msckpt_jax.graph.graph import Graph

FLOW = frozenset({"If", "StatelessIf", "Case", "StatelessCase", "While", "StatelessWhile"})
FLOW |= {"PartitionedCall"}


class AirFunction:
    """The model of an AIR file, called with its arguments in the order of their indices.

    It works under ``jax.jit``, ``jax.grad`` and ``jax.vmap``. Results are a tuple, or the one
    result there is.

    Attributes:
        inputs: name, shape and dtype of each argument.
        parameters: the constants of the main graph by name, as numpy arrays; weights among them.
    """

    def __init__(self, model: Any, file: Any, rules: Mapping[str, Meaning], strict: bool = False):
        self.file = os.fspath(file)
        self._meanings = {**MEANINGS, **rules}
        self._strict = strict
        self._graphs = {graph.name: graph for graph in model.graph}
        self._main = model.graph[0]
        self._refuse_unknown()
        self._refuse_unsound(model)
        self._orders = {name: _order(graph, file) for name, graph in self._graphs.items()}
        self.inputs = [
            (
                op.name,
                jax.ShapeDtypeStruct(_shape(op.input_desc[0]), _dtype(op.input_desc[0], file)),
            )
            for op in arguments(self._main)
        ]
        self.parameters = {
            op.name: _constant(op, file) for op in self._main.op if op.type in ("Const", "Constant")
        }

    def __call__(self, *inputs: Any) -> Any:
        return self.apply(self.parameters, *inputs)

    def apply(self, parameters: Mapping[str, Any], *inputs: Any) -> Any:
        """The results with other values of some constants: ``parameters`` by name."""
        if len(inputs) != len(self.inputs):
            names = [name for name, _ in self.inputs]
            raise TypeError(f"{self.file} takes {len(names)} arguments {names}, not {len(inputs)}")
        found = self._run(self._main, inputs, {**self.parameters, **parameters})
        return found[0] if len(found) == 1 else found

    @functools.cached_property
    def graph(self) -> Graph:
        """What is computed, as GE's operators."""
        return graph_of(
            self._main,
            lambda graph: self._orders[graph.name],
            self._graphs,
            lambda op: _constant(op, self.file),
            _written,
        )

    def __repr__(self) -> str:
        return listing.text(f"AirFunction of {self.file}", self.graph)

    def _repr_html_(self) -> str:
        return display.page(f"AirFunction of {self.file}", *listing.html(self.graph))

    def _refuse_unknown(self) -> None:
        known = self._meanings.keys() | FLOW | DATA | {"Const", "Constant", "NetOutput"}
        missing = Counter(
            op.type for graph in self._graphs.values() for op in graph.op if op.type not in known
        )
        if missing:
            counts = ", ".join(f"{name} ({count})" for name, count in sorted(missing.items()))
            raise AirError(
                f"no meaning in JAX for the operators {counts}; "
                "pass rules={'Name': function of (attributes, *inputs)}",
                file=self.file,
            )

    def _refuse_unsound(self, model: Any) -> None:
        if found := check.references(model):
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            where, problem = found[0].where, found[0].problem
            raise AirError(f"{where}: {problem}{more}; msckpt verify lists all", file=self.file)

    def _run(
        self, graph: Any, inputs: Sequence[Any], parameters: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        values: dict[str, tuple[Any, ...]] = {}
        for op, value in zip(arguments(graph), inputs, strict=True):
            values[op.name] = (jnp.asarray(value),)
        for op in self._orders[graph.name]:
            if op.type in DATA or op.type == "NetOutput":
                continue
            if op.type in ("Const", "Constant"):
                known = parameters.get(op.name)
                values[op.name] = (_constant(op, self.file) if known is None else known,)
                continue
            operands = [
                None if source is None else values[source.name][source.index]
                for source in sources(op)
            ]
            try:
                values[op.name] = _tuple(self._known_or_traced(op, operands))
            except Exception as error:
                error.add_note(f"in the operator {op.name!r} ({op.type}) of {self.file}")
                raise
            if op.type in POSITIONS:
                values[op.name] = self._positions(op, values[op.name])
            if self._strict:
                _as_described(op, values[op.name], self.file)
        return tuple(values[source.name][source.index] for source in results(graph))

    def _known_or_traced(self, op: Any, operands: list[Any]) -> Any:
        """Sizes and the like are computed while JAX traces: in a loop they may be a shape."""
        known = all(x is None or isinstance(x, np.ndarray) for x in operands)
        if not known or op.type in FLOW or not all(map(_is_small, op.output_desc)):
            return self._compute(op, operands)
        with jax.ensure_compile_time_eval():
            return jax.tree.map(np.asarray, self._compute(op, operands))

    def _compute(self, op: Any, operands: list[Any]) -> Any:
        if op.type in FLOW:
            return self._flow(op, operands)
        prototype = prototypes()[op.type]
        where = ports(op, prototype)
        inputs = []
        for port in prototype.inputs:
            if port.dynamic:
                named = [name for name in where if name.rstrip("0123456789") == port.name]
                inputs.append(tuple(operands[where[name]] for name in named))
            else:
                at = where.get(port.name, len(operands))
                inputs.append(operands[at] if at < len(operands) else None)
        while inputs and inputs[-1] is None:
            inputs.pop()
        return self._meanings[op.type](_attributes(op, prototype), *inputs)

    def _positions(self, op: Any, found: tuple[Any, ...]) -> tuple[Any, ...]:
        at = POSITIONS[op.type]
        dtype = jax.dtypes.canonicalize_dtype(_dtype(op.output_desc[at], self.file))
        return *found[:at], found[at].astype(dtype), *found[at + 1 :]

    def _flow(self, op: Any, operands: list[Any]) -> Any:
        def body(name: str) -> Any:
            return lambda *inputs: self._run(self._graphs[name], inputs, {})

        first, *rest = map(jnp.asarray, operands)
        bodies = [body(name) for name in op.subgraph_name]
        if op.type == "PartitionedCall":
            return bodies[0](*operands)
        if op.type.endswith("If"):
            return lax.cond(first.reshape(()).astype(bool), *bodies, *rest)
        if op.type.endswith("Case"):
            return lax.switch(first.reshape(()), bodies, *rest)
        test, step = bodies
        return lax.while_loop(
            lambda carry: test(*carry)[0].reshape(()).astype(bool),
            lambda carry: step(*carry),
            (first, *rest),
        )


def load(
    file_name: str | os.PathLike[str],
    *,
    rules: Mapping[str, Meaning] | None = None,
    strict: bool = False,
) -> AirFunction:
    """The model of an AIR file as a JAX function.

    Args:
        file_name: the ``.air`` file.
        rules: meanings of more operators: GE's name -> ``function(attributes, *inputs)``.
        strict: each operator must give the dtypes and shapes that the file says; MindSpore's own
            files have tuples that do not.

    Raises:
        AirError: no AIR file, damaged, or with operators that have no meaning here (all named).
    """
    return AirFunction(read(file_name), file_name, rules or {}, strict)


_SMALL = 1024


def _is_small(described: Any) -> bool:
    shape = _shape(described)
    return all(dim >= 0 for dim in shape) and prod(shape) <= _SMALL


def _tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def _order(graph: Any, file: Any) -> list[Any]:
    """Operators such that each comes after its sources."""
    by_name = {op.name: op for op in graph.op}
    edges = {op.name: [found.name for found in map(end, op.input) if found] for op in graph.op}
    try:
        return [by_name[name] for name in TopologicalSorter(edges).static_order()]
    except CycleError as error:
        cycle = " -> ".join(error.args[1])
        raise AirError(f"graph {graph.name!r} has a cycle: {cycle}", file=file) from None


def _shape(described: Any) -> tuple[int, ...]:
    return tuple(described.shape.dim)


def _as_described(op: Any, results: tuple[Any, ...], file: Any) -> None:
    for index, (described, result) in enumerate(zip(op.output_desc, results, strict=False)):
        if result is None:
            continue
        dtype = jax.dtypes.canonicalize_dtype(_dtype(described, file))
        have = jnp.result_type(result), np.shape(result)
        if have[0] != dtype or not _fits(_shape(described), have[1]):
            raise AirError(
                f"output {index} of {op.name!r} ({op.type}) is not what the file says",
                file=file,
                expected=f"{dtype}{list(_shape(described))}",
                found=f"{have[0]}{list(have[1])}",
            )


def _fits(described: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """-1 stands for any size, -2 for any shape."""
    if -2 in described:
        return True
    return len(described) == len(shape) and all(
        dim in (-1, size) for dim, size in zip(described, shape, strict=True)
    )


def _dtype(described: Any, file: Any) -> np.dtype:
    row = BY_GE.get(described.dtype)
    if row is None:
        raise AirError("a dtype that JAX does not have", file=file, found=described.dtype)
    return row.array


def _described(tensor: Any, file: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(_shape(tensor), _dtype(tensor, file))


def _constant(op: Any, file: Any) -> np.ndarray:
    """The value of a Const, a view of the message's bytes."""
    tensor = op.attr["value"].t
    shape, dtype = _shape(tensor.desc), _dtype(tensor.desc, file)
    wanted = prod(shape) * dtype.itemsize
    if any(dim < 0 for dim in shape) or len(tensor.data) != wanted:
        raise AirError(
            f"the constant {op.name!r} of shape {shape} does not fit its bytes",
            file=file,
            expected=wanted,
            found=len(tensor.data),
        )
    return np.frombuffer(tensor.data, dtype).reshape(shape)


_PLAIN = {"s": lambda a: a.s.decode("utf-8", "replace"), "i": lambda a: a.i, "f": lambda a: a.f}
_PLAIN |= {"b": lambda a: a.b, "dt": lambda a: a.dt}
_LISTS = {1: "s", 2: "i", 3: "f", 4: "b", 10: "dt"}


def _attributes(op: Any, prototype: Prototype) -> dict[str, Any]:
    found = {
        name: attribute.value
        for name, attribute in prototype.attributes.items()
        if attribute.default is not None
    }
    return found | _written(op)


def _written(op: Any) -> dict[str, Any]:
    """The attributes that the file has, but for GE's own, of plain kinds."""
    found = {}
    for name, attribute in op.attr.items():
        kind = attribute.WhichOneof("value")
        if name.startswith("_") or name == "is_input_const":
            continue
        if kind in _PLAIN:
            found[name] = _PLAIN[kind](attribute)
        elif kind == "list" and attribute.list.val_type in _LISTS:
            found[name] = list(getattr(attribute.list, _LISTS[attribute.list.val_type]))
    return found

"""A graph under construction, into which rules emit nodes.

The function of a rule, ``function(context, *inputs, **params)``, gets the operands of an equation
and its parameters, emits nodes by calling the context, and returns what the equation computes: one
value, or several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from msckpt_jax import _compat
from msckpt_jax.errors import ExportError, UnsupportedError
from msckpt_jax.graph import kernels
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import Const, Dim, Operand, Parameter, Scalar, Size, Tensor, Value
from msckpt_jax.lowering import sizes
from msckpt_jax.lowering.made import Made
from msckpt_jax.lowering.problems import PASSING, Problems
from msckpt_jax.lowering.rule import Rule, rule_of
from msckpt_jax.lowering.sizes import Number
from msckpt_jax.names import Unique

#: An operand or result of an equation: a tensor that is computed, or a known tensor.
Array: TypeAlias = Value | Const

#: Larger known tensors become parameters: MindSpore keeps constants in each graph.
LITERAL_BYTES = 1024
LARGE_BYTES = 1 << 20


@dataclass(frozen=True)
class Options:
    """The settings of an export, which all its graphs share.

    Attributes:
        rules: primitive name to rule, or to a plain function of the user's.
        exact: guard operators whose result differs from JAX's on special values.
        guarded: guard those whose runtime is known to differ: casts of floats to integers, which
            saturate in JAX, what JAX defines and processors do not (divisions of integers by 0,
            shifts past the width), and what loses NaN.
        target: None, or ``"cpu"`` for the operators that are fastest there.
        kernels: keep to the dtypes that MindSpore's CPU has kernels for, by casts.
    """

    rules: Mapping[str, Rule | Callable[..., Any]]
    exact: bool = False
    target: str | None = None
    kernels: bool = True
    guarded: bool = True


@dataclass
class Root:
    """The state that the graphs of an export share while they are built."""

    options: Options
    graph: Graph
    problems: Problems = field(default_factory=Problems)
    constants: dict[Any, Parameter] = field(default_factory=dict)
    unique: Unique = field(default_factory=Unique)  # names of inputs, weights and constants


class Context:
    """A graph under construction; calling it emits a node.

    Attributes:
        options: the settings of the export.
        result: the type of the first result of the equation whose rule runs.
        results: the types of all its results.
        avals: JAX's types of its operands, with whose dynamic sizes JAX can compute.
        made: the nodes that made the values.
    """

    def __init__(self, root: Root, graph: Graph):
        self.root = root
        self.graph = graph
        self.options = root.options
        self.results: tuple[Tensor, ...] = ()
        self.avals: tuple[_compat.Aval, ...] = ()
        self.made = Made()
        self._source = ""
        self._axes: dict[str, Size] = {}  # where a size can be read, by its text
        self._sizes: dict[str, Number] = {}  # those that were computed
        self._waiting: list[str] = []  # those that are computed of others just now

    @property
    def result(self) -> Tensor:
        return self.results[0]

    def __call__(
        self,
        op: str,
        *inputs: Operand,
        type: Tensor | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Array:
        """Emit an operator with one result, by default of the type of the equation's first result.

        Where MindSpore's CPU has no kernel for the dtypes, the operands are cast to wider dtypes
        and the result back.
        """
        return self.several(op, *inputs, types=[type or self.result], attrs=attrs)[0]

    def several(
        self,
        op: str,
        *inputs: Operand,
        types: Sequence[Tensor],
        attrs: Mapping[str, Any] | None = None,
    ) -> list[Array]:
        """Emit an operator with several results; results without elements need no operator."""
        if all(0 in t.shape and all(isinstance(d, int) for d in t.shape) for t in types):
            return [Const(np.zeros(t.shape, t.dtype)) for t in types]  # type: ignore[arg-type]
        wider: Mapping[np.dtype, np.dtype] = {}
        if self.options.kernels:
            wider = kernels.wider(op, kernels.tensor_dtypes(inputs), [t.dtype for t in types])
        if not wider:
            return [*self._emit(op, inputs, types, attrs)]
        widened = tuple(self._widen(operand, wider) for operand in inputs)
        inner = [Tensor(wider.get(t.dtype, t.dtype), t.shape) for t in types]
        values = self._emit(op, widened, inner, attrs)
        return [
            v if v.type == t else self.cast(v, t.dtype) for v, t in zip(values, types, strict=True)
        ]

    def can(self, op: str, inputs: Sequence[Operand], results: Sequence[Tensor]) -> bool:
        """Tell whether the operator has a kernel for these dtypes, or for wider dtypes."""
        try:
            kernels.wider(op, kernels.tensor_dtypes(inputs), [t.dtype for t in results])
        except UnsupportedError:
            return not self.options.kernels
        return True

    def cast(self, x: Array, dtype: Any) -> Array:
        """``x`` in another dtype, by MindSpore's Cast; known values are cast at once."""
        dtype = np.dtype(dtype)
        type = self.type(x)
        if type.dtype == dtype:
            return x
        if isinstance(x, Const):
            with np.errstate(all="ignore"):
                return Const(x.value.astype(dtype))
        return self._emit("Cast", (x, Const(dtype)), [Tensor(dtype, type.shape)], None)[0]

    def like(self, value: Any, x: Array) -> Const:
        """A rank-0 constant of the dtype of ``x``."""
        return Const(np.array(value, self.type(x).dtype))

    def constant(self, array: Any) -> Array:
        """A known tensor as a constant, or as a parameter, made once, if it is large."""
        array = np.asarray(array)
        if array.nbytes <= LITERAL_BYTES:
            return Const(array)
        known = self.root.constants
        # Large arrays go by their place in memory: they are closed over, and long to compare.
        content = array.ctypes.data if array.nbytes > LARGE_BYTES else array.tobytes()
        key = array.dtype, array.shape, content
        if key not in known:
            name = self.root.unique(f"constant_{len(known)}")
            known[key] = Parameter(Tensor(array.dtype, array.shape), name, array)
        return known[key]

    def type(self, x: Array) -> Tensor:
        return Tensor(x.value.dtype, x.value.shape) if isinstance(x, Const) else x.type

    def size(self, dim: Dim) -> Number:
        """A size as an argument; if no tensor here has it, computed of the sizes that some have.

        Raises:
            UnsupportedError: a dynamic size does not follow from those of the tensors here.
        """
        if isinstance(dim, int):
            return Const(dim)
        if dim in self._axes:
            return self._axes[dim]
        if dim not in self._sizes:
            self._sizes[dim] = self._solved(dim) if dim.isidentifier() else self._of(dim, {})
        return self._sizes[dim]

    def _solved(self, name: str) -> Number:
        text, formula = self._solution(name)
        self._waiting.append(name)
        try:
            return self._of(formula, {"_": self._axes[text]})
        finally:
            self._waiting.pop()

    def _solution(self, name: str) -> sizes.Solution:
        solution = sizes.solution(name, self._axes, tuple(self._waiting))
        if solution is None:
            raise UnsupportedError(
                f"the size {name} does not follow from the sizes of the inputs; give the function "
                f"an input with an axis of size {name}"
            )
        return solution

    def _of(self, text: str, known: Mapping[str, Number]) -> Number:
        return sizes.computed(text, lambda n: known.get(n) or self.size(n), self._computed)

    def holders(self, names: Iterable[str], given: Sequence[Array]) -> list[Array]:
        """The values beside those given from whose sizes those of these names follow."""
        texts = dict.fromkeys(_texts(given))
        out: dict[Array, None] = {}
        waiting = [*dict.fromkeys(names)]
        for name in waiting:
            if (solution := sizes.solution(name, texts)) is None:
                solution = self._solution(name)
                holder = self._axes[solution.text].of
                texts |= dict.fromkeys(_texts([holder]))
                out[holder] = None
            waiting += [n for n in sizes.names_in(solution.text) if n not in waiting]
        return [*out]

    def _computed(self, op: str, x: Number, y: Number) -> Number:
        out = Scalar(sizes.SCALAR)
        self.graph.nodes.append(Node(op, (x, y), (out,), source=self._source))
        return out

    def sizes(self, shape: Sequence[Dim], infer: bool = True) -> tuple[Number, ...]:
        """A shape as an argument; with ``infer`` a single dynamic size is -1, but beside 0."""
        if infer and 0 not in shape and sum(isinstance(dim, str) for dim in shape) == 1:
            return tuple(Const(dim if isinstance(dim, int) else -1) for dim in shape)
        return tuple(map(self.size, shape))

    def body(
        self,
        name: str,
        jaxpr: _compat.ClosedJaxpr,
        inputs: Sequence[Tensor],
        arguments: Sequence[Array | int],
    ) -> Graph:
        """The graph of a body of control flow.

        Args:
            name: the name of the graph.
            jaxpr: the body.
            inputs: the types of the inputs of the graph.
            arguments: for each argument of the body the number of an input, or a constant or
                parameter, which are known everywhere.
        """
        graph = Graph(name, [Value(type) for type in inputs])
        inner = Context(self.root, graph)
        inner._source = self._source
        for value in graph.inputs:
            inner._note(value)
        given = [graph.inputs[a] if isinstance(a, int) else a for a in arguments]
        graph.outputs = list(inner.run(jaxpr, given))
        return graph

    def control(
        self, op: str, inputs: Sequence[Array], types: Sequence[Tensor], bodies: tuple[Graph, ...]
    ) -> list[Value]:
        """Emit an ``If`` or a ``While``."""
        outputs = tuple(self._note(Value(t)) for t in types)
        self.graph.nodes.append(Node(op, tuple(inputs), outputs, {}, bodies, self._source))
        return list(outputs)

    def run(self, jaxpr: _compat.ClosedJaxpr, arguments: Sequence[Array]) -> list[Array]:
        """Lower all equations; note those that cannot be lowered, and make up their results."""
        env: dict[_compat.Atom, Array] = {}
        opened, consts = _compat.opened(jaxpr)
        env.update(zip(opened.constvars, map(self.constant, consts), strict=True))
        env.update(zip(opened.invars, arguments, strict=True))
        for value in arguments:
            if isinstance(value, Value):
                self._note(value)
        for eqn in opened.eqns:
            operands = [self._read(env, atom) for atom in eqn.invars]
            env.update(zip(eqn.outvars, self._equation(eqn, operands), strict=True))
        return [self._read(env, atom) for atom in opened.outvars]

    def _read(self, env: Mapping[_compat.Atom, Array], atom: _compat.Atom) -> Array:
        if isinstance(atom, _compat.Literal):
            return self.constant(np.asarray(atom.val, atom.aval.dtype))
        return env[atom]

    def _equation(self, eqn: _compat.Equation, operands: list[Array]) -> Sequence[Array]:
        outer, name = self._source, eqn.primitive.name
        self._source = _compat.user_line(eqn.source_info) or outer
        self.results = tuple(tensor_of(v.aval) for v in eqn.outvars)
        self.avals = tuple(v.aval for v in eqn.invars)
        promised = self.results
        try:
            values = self._by_rule(name, operands, eqn.params)
            self._check(name, values, promised)
        except PASSING:
            raise
        except Exception as error:
            if isinstance(error, ExportError) and not isinstance(error, UnsupportedError):
                raise
            self.root.problems.note(self._source, name, "rule", error)
            values = [Value(t) for t in promised]
        finally:
            self._source = outer
        return values

    def _by_rule(
        self, name: str, operands: Sequence[Array], params: Mapping[str, Any]
    ) -> list[Array]:
        if name not in self.options.rules:
            raise UnsupportedError(
                f"no rule for it; add one: export(..., rules={{{name!r}: rule}})"
            )
        rule = rule_of(self.options.rules[name])
        result = rule.function(self, *operands, **rule.arguments(params))
        if isinstance(result, list | tuple) and not isinstance(result, Const):
            return list(result)
        return [result]

    def _check(self, name: str, values: Sequence[Array], promised: Sequence[Tensor]) -> None:
        """Check the types of values against the jaxpr: MindSpore would crash, not complain."""
        types = [self.type(x) for x in values]
        if types != list(promised):
            raise ExportError(
                f"{self._source}: the rule for {name} gives {types}, the function {list(promised)}"
            )

    def _emit(
        self,
        op: str,
        inputs: Sequence[Operand],
        types: Sequence[Tensor],
        attrs: Mapping[str, Any] | None,
    ) -> list[Value]:
        outputs = tuple(self._note(Value(t)) for t in types)
        node = Node(op, tuple(inputs), outputs, attrs or {}, (), self._source)
        self.made.note(outputs, node)
        self.graph.nodes.append(node)
        return list(outputs)

    def _widen(self, operand: Operand, wider: Mapping[np.dtype, np.dtype]) -> Operand:
        if isinstance(operand, tuple) and not isinstance(operand, Const | Size):
            return tuple(self._widen(part, wider) for part in operand)
        if isinstance(operand, Size) or not _is_tensor(operand):
            return operand
        dtype = self.type(operand).dtype  # type: ignore[arg-type]
        return self.cast(operand, wider.get(dtype, dtype))  # type: ignore[arg-type]

    def _note(self, value: Value) -> Value:
        """Remember where dynamic sizes can be read."""
        for axis, dim in enumerate(value.type.shape):
            if isinstance(dim, str):
                self._axes.setdefault(dim, Size(value, axis))
        return value


def tensor_of(aval: _compat.Aval) -> Tensor:
    """The type of a value of a jaxpr; symbolic sizes by their text."""
    return Tensor(np.dtype(aval.dtype), dims_of(aval.shape))


def dims_of(shape: Sequence[Any]) -> tuple[Dim, ...]:
    return tuple(int(d) if isinstance(d, int | np.integer) else str(d) for d in shape)


def _texts(values: Iterable[Array]) -> list[str]:
    """The dynamic sizes of values."""
    shapes = [value.type.shape for value in values if isinstance(value, Value)]
    return [dim for shape in shapes for dim in shape if isinstance(dim, str)]


def _is_tensor(operand: Operand) -> bool:
    return isinstance(operand, Value) or (
        isinstance(operand, Const) and isinstance(operand.value, np.ndarray)
    )

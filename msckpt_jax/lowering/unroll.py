"""Scanned layers written out, so that each has parameters of its own.

    scan over layers.kernel of (3, 8, 8)  ->  layers.0.kernel, layers.1.kernel, layers.2.kernel

Only scans whose inputs are weights are written out. The weights of a layer are windows of the
stacked array: their bytes are read when they are written, and no stack is copied.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from msckpt_jax import _compat, dtypes
from msckpt_jax._compat import Atom, Equation, Literal, ShapedArray, SourceInfo, Var
from msckpt_jax.checkpoint import leaves
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.lowering import settling
from msckpt_jax.lowering.rewrites import calls
from msckpt_jax.lowering.trace import Traced
from msckpt_jax.names import Unique

#: Primitives of one operand that work on each element, and so on each layer by itself.
_ELEMENTWISE = frozenset({"convert_element_type", "copy", "copy_p", "reduce_precision"})


def unrolled(traced: Traced) -> Traced:
    """The function without scans over stacked weights; a note says so if there is none."""
    walk = _Walk(traced)
    inner, consts = _compat.opened(traced.jaxpr)
    outputs = walk.inline(inner, consts, inner.invars, None)
    if not walk.scans:
        note = "unroll_layers: no scan has weights as its inputs, so that nothing is written out"
        return traced._replace(notes=[*traced.notes, note])
    count = len(traced.weights)
    layers = walk.layers.values()
    inputs = [*inner.invars[:count], *(layer.var for layer in layers), *inner.invars[count:]]
    eqns = settling.live(walk.eqns, outputs)
    head = [*walk.consts], [*walk.consts.values()], inputs
    weights = {**traced.weights, **{layer.name: layer.data for layer in layers}}
    given = len(traced.leaves)
    return traced._replace(
        jaxpr=_compat.closed(traced.jaxpr, *head, eqns, outputs),
        weights=weights,
        function=lambda values, *inputs: traced.function(values[:given], *inputs),
    )


def _layer(stack: Any, axis: int, index: int) -> Any:
    """An array less one axis, at an index of that axis: a view, or windows of shards."""
    at = (slice(None),) * axis + (index,)
    row = dtypes.of_array(stack.dtype)
    if isinstance(stack, np.ndarray) or row is None or not row.loads:
        return np.asarray(stack)[at]
    record = leaves.of_value("", stack)
    if isinstance(record.content, np.ndarray):
        return record.content[at]
    return _Sharded(stack, record, axis, index)


class _Sharded(leaves.Given):
    """A layer of an array in shards, whose bytes are read when it is written."""

    def __init__(self, stack: jax.Array, record: Record, axis: int, index: int):
        assert isinstance(record.content, Tensor)
        pieces = tuple(
            ((*box[:axis], *box[axis + 1 :]), _Window(source, axis, index - box[axis][0]))
            for box, source in record.content.pieces
            if box[axis][0] <= index < box[axis][1]
        )
        shape = (*stack.shape[:axis], *stack.shape[axis + 1 :])
        content = Tensor(shape, record.content.stored, pieces)
        super().__init__(record._replace(dims=shape, content=content, sharding=None))
        self._stack, self._at = stack, (slice(None),) * axis + (index,)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._stack[self._at], dtype or self.dtype)

    def astype(self, dtype: Any) -> np.ndarray:
        return np.asarray(self._stack[self._at].astype(dtype))


@dataclass(frozen=True)
class _Window:
    """A source of NumPy arrays, less one axis, at an index of that axis."""

    source: Any
    axis: int
    index: int

    def __getitem__(self, at: Any) -> np.ndarray:
        place = slice(self.index, self.index + 1)
        return self.source[(*at[: self.axis], place, *at[self.axis :])].squeeze(self.axis)


class _Own(NamedTuple):
    """A layer of a weight: a parameter of its own."""

    name: str
    var: Var
    data: Any


class _View(NamedTuple):
    """What a scan goes through: layers of a weight, or (None) layers that are put together."""

    weight: Var | None


class _Walk:
    """The equations of a function whose weights may be taken apart.

    Attributes:
        eqns: the equations so far.
        consts: the constants, and their values.
        layers: the layers of weights by variable, axis and index.
        scans: how many scans were written out.
    """

    def __init__(self, traced: Traced):
        jaxpr = _compat.opened(traced.jaxpr)[0]
        self.weights = dict(zip(jaxpr.invars, traced.weights.items(), strict=False))
        self.unique = Unique([*traced.weights, *traced.inputs])
        self.eqns: list[Equation] = []
        self.consts: dict[Var, Any] = {}
        self.layers: dict[tuple[Var, int, int], _Own] = {}
        self.made: dict[Var, Equation] = {}
        self.scans = 0

    def inline(
        self, jaxpr: Any, consts: Sequence[Any], operands: Sequence[Atom],
        source: SourceInfo | None,
    ) -> list[Atom]:  # fmt: skip
        """Emit the equations of a jaxpr; return its results."""
        env: dict[Var, Atom] = dict(zip(jaxpr.invars, operands, strict=True))
        for var, value in zip(jaxpr.constvars, consts, strict=True):
            env[var] = Var(var.aval)
            self.consts[env[var]] = value

        def read(atom: Atom) -> Atom:
            return atom if isinstance(atom, Literal) else env[atom]

        for eqn in jaxpr.eqns:
            place = _compat.within(source, eqn.source_info)
            results = self.equation(eqn, [read(atom) for atom in eqn.invars], place)
            env.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def equation(self, eqn: Equation, operands: list[Atom], source: SourceInfo) -> list[Atom]:
        if eqn.primitive.name == "scan":
            params = _compat.params_of(eqn)
            first = params["num_consts"] + params["num_carry"]
            views = [self.view(atom) for atom in operands[first:]]
            if any(views) and isinstance(params["length"], int):
                return self.written_out(params, operands, views, source)
        call = calls.callee(eqn)
        if call is not None and _scans(call[0]):
            return self.inline(*call, operands[len(operands) - len(call[0].invars) :], source)
        eqn = eqn.replace(source_info=source, effects=_compat.effects_on(eqn, operands))
        return self.emit(eqn, operands, [v.aval for v in eqn.outvars])

    def emit(self, eqn: Equation, operands: list[Atom], avals: Iterable[Any]) -> list[Atom]:
        results = [Var(aval) for aval in avals]
        eqn = eqn.replace(invars=operands, outvars=results)
        self.eqns.append(eqn)
        self.made.update(dict.fromkeys(results, eqn))
        return list(results)

    def view(self, atom: Atom, axis: int = 0) -> _View | None:
        """The weight of which an atom shows layers along an axis, or that it joins such layers."""
        if isinstance(atom, Literal) or leaves.is_key(atom.aval.dtype):
            return None
        if atom in self.weights:
            return _View(atom)
        eqn = self.made.get(atom)
        if eqn is None:
            return None
        if _joins_layers(eqn, axis):
            return _View(None)
        if eqn.primitive.name == "transpose":
            return self.view(eqn.invars[0], eqn.params["permutation"][axis])
        same = eqn.primitive.name in _ELEMENTWISE or calls.changes_nothing(eqn)
        return self.view(eqn.invars[0], axis) if same and len(eqn.invars) == 1 else None

    def written_out(
        self, params: Any, operands: list[Atom], views: Sequence[Any], source: SourceInfo
    ) -> list[Atom]:
        self.scans += 1
        first, length = params["num_consts"], params["length"]
        stop = first + params["num_carry"]
        consts, carry, xs = operands[:first], operands[first:stop], operands[stop:]
        paths = _paths([self.weights[view.weight][0] for view in views if view and view.weight])
        body, held = _compat.opened(params["jaxpr"])
        rows: list[list[Atom]] = [[]] * length
        for i in reversed(range(length)) if params["reverse"] else range(length):
            inputs = [
                self.layer(x, 0, i, paths) if view else self.row(x, i, source)
                for x, view in zip(xs, views, strict=True)
            ]
            out = self.inline(body, held, [*consts, *carry, *inputs], source)
            carry, rows[i] = out[: len(carry)], out[len(carry) :]
        stacks = [self.traced(_stacked, column, source) for column in zip(*rows, strict=True)]
        return [*carry, *stacks]

    def layer(self, atom: Atom, axis: int, index: int, paths: dict[str, str]) -> Atom:
        """A layer of what ``view`` takes for a view of a weight."""
        if atom in self.weights:
            return self.own(atom, axis, index, paths)
        eqn = self.made[atom]
        if _joins_layers(eqn, axis):
            layer = eqn.invars[index]
            return self.traced(lambda x: lax.squeeze(x, (axis,)), [layer], eqn.source_info)
        if eqn.primitive.name == "transpose":
            order = [*eqn.params["permutation"]]
            along = order.pop(axis)
            part = self.layer(eqn.invars[0], along, index, paths)
            order = [n - (n > along) for n in order]
            if order == sorted(order):
                return part
            return self.traced(lambda x: lax.transpose(x, order), [part], eqn.source_info)
        part = self.layer(eqn.invars[0], axis, index, paths)
        if eqn.primitive.name not in _ELEMENTWISE:
            return part
        params = {k: None if k == "sharding" else value for k, value in eqn.params.items()}
        whole: _compat.Aval = eqn.outvars[0].aval
        aval = ShapedArray(part.aval.shape, whole.dtype, weak_type=whole.weak_type)
        return self.emit(eqn.replace(params=params), [part], [aval])[0]

    def own(self, var: Var, axis: int, index: int, paths: dict[str, str]) -> Var:
        key = var, axis, index
        if key not in self.layers:
            name, data = self.weights[var]
            path = paths[name]
            unique = self.unique(f"{path}.{index}{name.removeprefix(path)}")
            layer = _layer(data, axis, index)
            whole: _compat.Aval = var.aval
            aval = ShapedArray(layer.shape, whole.dtype)
            self.layers[key] = _Own(unique, Var(aval), layer)
        return self.layers[key].var

    def row(self, atom: Atom, index: int, source: SourceInfo) -> Atom:
        return self.traced(lambda x: lax.index_in_dim(x, index, keepdims=False), [atom], source)

    def traced(
        self, function: Callable[..., Array], operands: Sequence[Atom], source: SourceInfo | None
    ) -> Atom:
        """Emit the equations of a function, as if they stood in the user's line."""
        types = [jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype) for a in operands]
        jaxpr, consts = _compat.opened(jax.make_jaxpr(function)(*types))
        start = len(self.eqns)
        (result,) = self.inline(jaxpr, consts, operands, None)
        self.eqns[start:] = [eqn.replace(source_info=source) for eqn in self.eqns[start:]]
        return result


def _stacked(*rows: Array) -> Array:
    return jnp.stack(rows)


def _joins_layers(eqn: Equation, axis: int) -> bool:
    """Tell whether an equation puts layers together along an axis, as of a convention's stack."""
    if eqn.primitive.name != "concatenate" or eqn.params["dimension"] != axis:
        return False
    return all(atom.aval.shape[axis] == 1 for atom in eqn.invars)


def _scans(jaxpr: Any) -> bool:
    """Tell whether a jaxpr has a scan, in the jaxprs that it calls, too."""
    return any(eqn.primitive.name == "scan" or any(map(_scans, _called(eqn))) for eqn in jaxpr.eqns)


def _called(eqn: Equation) -> list[Any]:
    call = calls.callee(eqn)
    return [] if call is None else [call[0]]


def _paths(names: Sequence[str]) -> dict[str, str]:
    """The path that the index of a layer follows, by the names of the weights of a scan.

    It is that of the subtree which has all of the weights that begin alike.
    """
    groups: dict[str, list[list[str]]] = {}
    for name in names:
        groups.setdefault(name.partition(".")[0], []).append(name.split("."))
    out = {}
    for parts in groups.values():
        alike = itertools.takewhile(lambda names: len({*names}) == 1, zip(*parts, strict=False))
        depth = min(len([*alike]), *(max(1, len(path) - 1) for path in parts))
        out |= {".".join(path): ".".join(path[:depth]) for path in parts}
    return out

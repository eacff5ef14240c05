"""Transposes move towards the end, where most of them meet their inverse.

JAX's networks have channels last, targets convolve with channels first. The equations between two
convolutions then work on channels first, too:

    b = transpose a; c = sub b m; d = max c 0.0; e = transpose d; f = conv e w
    c = sub a n; d = max c 0.0; f = conv d w
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend.core import Primitive, primitives

from msckpt_jax import _compat
from msckpt_jax._compat import Atom, ClosedJaxpr, Equation, Literal, ShapedArray, SourceInfo, Var
from msckpt_jax.lowering import forms, settling

_Order = tuple[int, ...]
_REDUCTIONS = ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_and", "reduce_or")


def sink(jaxpr: ClosedJaxpr) -> ClosedJaxpr:
    """The canonical jaxpr with fewer elements transposed, if there is a way; bodies too."""
    eqns = [eqn.replace(params=forms.with_bodies(eqn, sink)) for eqn in jaxpr.eqns]
    walk = _Walk()
    for eqn in eqns:
        walk.equation(eqn)
    results = [walk.plain(atom, None) for atom in jaxpr.jaxpr.outvars]
    moved = settling.live(walk.eqns, results)
    if _transposed(moved) >= _transposed(eqns):
        moved, results = eqns, jaxpr.jaxpr.outvars
    inner = jaxpr.jaxpr
    return _compat.closed(jaxpr, inner.constvars, jaxpr.consts, inner.invars, moved, results)


def _transposed(eqns: Sequence[Equation]) -> int:
    """The number of elements that are transposed, in arrays of static shape."""
    shapes = [e.outvars[0].aval.shape for e in eqns if e.primitive is primitives.transpose_p]
    return sum(math.prod(n for n in shape if isinstance(n, int)) for shape in shapes)


class _Walk:
    """Equations under construction, and the values that are known to be transposes of others."""

    def __init__(self) -> None:
        self.eqns: list[Equation] = []
        self.views: dict[Atom, tuple[Atom, _Order]] = {}
        self.made: dict[Atom, Equation] = {}
        self.done: dict[Any, Atom] = {}

    def equation(self, eqn: Equation) -> None:
        name = eqn.primitive.name
        views = [self.view(atom) for atom in eqn.invars]
        orders = {order for _, order in views if not _in_order(order)}
        if len(orders) > 1:  # that of whole arrays, which smaller arrays may follow
            shape = eqn.outvars[0].aval.shape
            whole = [v[1] for v, x in zip(views, eqn.invars, strict=True) if x.aval.shape == shape]
            orders = {order for order in whole if not _in_order(order)}
        if name == "transpose":
            source, order = views[0]
            self.views[eqn.outvars[0]] = source, tuple(order[i] for i in eqn.params["permutation"])
        elif name == "dot_general" and (product := self.product(eqn, views)):
            self.views[eqn.outvars[0]] = product
        elif len(orders) == 1 and (moved := self.moved(eqn, orders.pop())):
            self.views[eqn.outvars[0]] = moved
        else:
            operands = [self.plain(atom, eqn.source_info) for atom in eqn.invars]
            self.emit(
                eqn.replace(invars=list(map(self.root, operands)) if _reshapes(eqn) else operands)
            )

    def view(self, atom: Atom) -> tuple[Atom, _Order]:
        known = None if isinstance(atom, Literal) else self.views.get(atom)
        return known or (atom, tuple(range(getattr(atom.aval, "ndim", 0))))

    def plain(self, atom: Atom, source: SourceInfo | None) -> Atom:
        """The value itself; its transpose is emitted once."""
        seen, order = self.view(atom)
        return self.seen(seen, order, source)

    def seen(self, atom: Atom, order: _Order, source: SourceInfo | None) -> Atom:
        if _in_order(order):
            return atom
        key = "seen", atom, order
        if key not in self.done:
            self.done[key] = self.transposed(atom, order, source)
        return self.done[key]

    def product(self, eqn: Equation, views: Sequence[tuple]) -> tuple[Atom, _Order] | None:
        """The product of many matrices, as a transpose of the product of their transposes.

        None if that would not transpose fewer elements.
        """
        shape = eqn.outvars[0].aval.shape
        count = len(shape)
        swap = (*range(count - 2), count - 1, count - 2)
        swapped = [(seen, tuple(order[i] for i in swap)) for seen, order in views]
        if count < 3 or sum(map(_moved, swapped)) >= sum(map(_moved, views)):
            return None
        operands = [self.seen(*view, eqn.source_info) for view in swapped[::-1]]
        result = Var(ShapedArray(tuple(shape[i] for i in swap), eqn.outvars[0].aval.dtype))
        self.emit(eqn.replace(invars=operands, outvars=[result]))
        return result, swap

    def moved(self, eqn: Equation, order: _Order) -> tuple[Atom, _Order] | None:
        """The result as a transpose, computed from the operands before their transposition."""
        name, params = eqn.primitive.name, dict(eqn.params)
        out = eqn.outvars[0].aval
        left = order
        if name in _REDUCTIONS:
            params["axes"] = tuple(sorted(order[axis] for axis in params["axes"]))
            kept = [k for k in order if k not in params["axes"]]
            left = tuple(sorted(kept).index(k) for k in kept)
        elif name == "concatenate":
            params["dimension"] = order[params["dimension"]]
        elif name == "pad":
            params["padding_config"] = tuple(params["padding_config"][i] for i in np.argsort(order))
        elif name == "reshape":
            return self.squeezed(eqn, order)
        elif name not in forms.ELEMENTWISE:
            return None
        operands = [self.operand(eqn, atom, order) for atom in eqn.invars]
        if any(operand is None for operand in operands):
            return None
        shape = tuple(out.shape[i] for i in np.argsort(left))
        result = Var(ShapedArray(shape, out.dtype))
        self.emit(eqn.replace(invars=operands, outvars=[result], params=params))
        return result, left

    def squeezed(self, eqn: Equation, order: _Order) -> tuple[Atom, _Order] | None:
        """The result of a reshape that only adds or drops axes of size 1; new axes come first."""
        seen, out = self.view(eqn.invars[0])[0], eqn.outvars[0].aval.shape
        shape = seen.aval.shape
        long = [axis for axis in order if shape[axis] != 1]
        if [shape[axis] for axis in long] != _long(out):
            return None
        kept = sorted(long)
        count = len(out) - len(kept)
        new = [1] * count + [shape[axis] for axis in kept]
        rest, ones = iter(long), iter(range(count))
        left = tuple(next(ones) if n == 1 else count + kept.index(next(rest)) for n in out)
        view = self.reshaped(seen, tuple(new), eqn.source_info), left
        return view if _moved(view) else None

    def operand(self, eqn: Equation, atom: Atom, order: _Order) -> Atom | None:
        """The operand before its transposition by ``order``, or None."""
        seen, own = self.view(atom)
        if atom.aval.shape == () or (own == order and not _in_order(own)):
            return seen
        small = atom.aval.ndim == len(order) and atom.aval.shape != eqn.outvars[0].aval.shape
        if eqn.primitive.name not in forms.BROADCASTING or not small:
            return None
        if seen is atom:
            return self.turned(atom, order, eqn.source_info)
        back = tuple(own[axis] for axis in np.argsort(order))
        return None if _moved((seen, back)) else self.seen(seen, back, eqn.source_info)

    def turned(self, atom: Atom, order: _Order, source: SourceInfo | None) -> Atom:
        """A value whose transpose by ``order`` is the small ``atom``, computed as that is."""
        if (atom, order) in self.done:
            return self.done[atom, order]
        maker = self.made.get(atom)
        back = tuple(np.argsort(order).tolist())
        operands = [] if maker is None else maker.invars
        if maker is not None and _is_elementwise(maker):
            turned = [x if x.aval.shape == () else self.turned(x, order, source) for x in operands]
            shape = tuple(atom.aval.shape[axis] for axis in back)
            result = Var(ShapedArray(shape, atom.aval.dtype))
            self.emit(maker.replace(invars=turned, outvars=[result]))
        else:
            result = self.transposed(atom, back, source)
        self.done[atom, order] = result
        return result

    def transposed(self, atom: Atom, order: _Order, source: SourceInfo | None) -> Atom:
        shape = tuple(atom.aval.shape[axis] for axis in order)
        if not _moved((atom, order)):
            return self.reshaped(atom, shape, source)
        return self.new(primitives.transpose_p, [atom], shape, source, permutation=order)

    def reshaped(self, atom: Atom, shape: Sequence[Any], source: SourceInfo | None) -> Atom:
        params = {"new_sizes": shape, "dimensions": None, "sharding": None}
        return self.new(primitives.reshape_p, [self.root(atom)], shape, source, **params)

    def root(self, atom: Atom) -> Atom:
        """The array before it was reshaped."""
        maker = None if isinstance(atom, Literal) else self.made.get(atom)
        while maker is not None and _reshapes(maker):
            atom = maker.invars[0]
            maker = None if isinstance(atom, Literal) else self.made.get(atom)
        return atom

    def new(
        self,
        primitive: Primitive,
        operands: list[Atom],
        shape: Sequence[Any],
        source: SourceInfo | None,
        **params: Any,
    ) -> Atom:
        result = Var(ShapedArray(tuple(shape), operands[0].aval.dtype))
        self.emit(_compat.equation(primitive, operands, [result], params, source))
        return result

    def emit(self, eqn: Equation) -> None:
        self.eqns.append(eqn)
        self.made.update(dict.fromkeys(eqn.outvars, eqn))


def _moved(view: tuple[Atom, _Order]) -> int:
    """The number of elements that change their place when a view is computed."""
    shape, order = view[0].aval.shape, view[1]
    long = [axis for axis in order if shape[axis] != 1]
    if long == sorted(long):
        return 0
    return math.prod(n for n in shape if isinstance(n, int))


def _in_order(order: _Order) -> bool:
    return order == tuple(range(len(order)))


def _long(shape: Sequence[Any]) -> list[Any]:
    return [n for n in shape if n != 1]


def _reshapes(eqn: Equation) -> bool:
    return eqn.primitive is primitives.reshape_p and eqn.params["dimensions"] is None


def _is_elementwise(eqn: Equation) -> bool:
    """Tell whether an equation is elementwise, its operands scalars or of the result's shape."""
    shapes = {atom.aval.shape for atom in eqn.invars}
    return eqn.primitive.name in forms.ELEMENTWISE and shapes <= {(), eqn.outvars[0].aval.shape}

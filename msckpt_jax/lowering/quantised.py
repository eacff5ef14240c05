"""Weights of products in 8 or 4 bits: the pass over a graph that ``export(weights=)`` asks for.

    c = MatMul(x, w)                                         # w: f32[4096,1024]
    a = Cast(w, f32); b = Mul(a, w.scale); c = MatMul(x, b)  # w: i8[4096,1024]

What is multiplied is quantised: a weight that is an operand of matrix products, and of nothing
else. It is stored as the matrix that the product takes, under its own name.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from msckpt_jax import display
from msckpt_jax.errors import ExportError
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import Parameter
from msckpt_jax.lowering import late, quantising, weight_views
from msckpt_jax.lowering.quantising import Quantised, Sheets, Wish
from msckpt_jax.lowering.spelling import Emit, Product, Spell, Spelling, multiplied
from msckpt_jax.lowering.weight_views import View
from msckpt_jax.names import Unique

#: Smaller weights stay as they are: there is nothing to gain.
LEAST = 1024
#: Names of weights in a note.
_SHOWN = 5


class Quantiser:
    """The pass, and what there is to tell of it afterwards.

    Attributes:
        wish: how weights are quantised.
        options: those of the format, and the ``target`` of ``export``.
        notes: how many weights were quantised, which were not, and how far numbers moved.
    """

    def __init__(self, wish: Wish, options: Mapping[str, Any]):
        self.wish, self.options = wish, options
        self.notes: list[str] = []
        self._products: list[Product] = []

    def __call__(self, graph: Graph, spell: Spell, names: Container[str] | None = None) -> Graph:
        """Return the graph with quantised weights.

        Args:
            graph: a graph of MindSpore's operators; it stays as it is.
            spell: chooses the spelling of each product.
            names: the weights that may be quantised; None: all.

        Raises:
            ExportError: no weight can be quantised, or one has numbers that are not finite.
        """
        known = [v for v in weight_views.views(graph) if names is None or v.parameter.name in names]
        left = _left(graph, known, self.wish)
        left |= _no_operands(graph, known, names)
        chosen = [view for view in known if view.parameter not in left]
        if not chosen:
            raise ExportError(_nothing(self.wish, left))
        self._products = _products(chosen, graph, self.wish)
        spellings = _spellings(self._products, lambda product: spell(product, self.options))
        changed = _rewritten(graph, self._products, spellings)
        self.notes = _notes(graph, changed, self._products, left, self.wish)
        return changed

    def rounded(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """Return the weights of a function, with the numbers that the file's stand for."""
        names = {product.view.parameter.name for product in self._products}
        made = {name: np.array(late.array(name, weights[name])) for name in names}
        for product in self._products:
            _put(made[product.view.parameter.name], product)
        return {**weights, **{name: _placed(made[name], weights[name]) for name in names}}


def _placed(array: np.ndarray, like: Any) -> Any:
    return jax.device_put(array, like.sharding) if isinstance(like, jax.Array) else array


def _put(array: np.ndarray, product: Product) -> None:
    """Put the numbers of a product's matrix to their places in the weight."""
    view, data = product.view, product.data
    places, weight = np.arange(array.size).reshape(array.shape), data.weight()
    if view.layer is None:
        places, weight = places[None], weight[None]
    for place, matrix in zip(places, weight, strict=True):
        place = place if view.layer is None else place[None]
        array.reshape(-1)[view.matrix(place)] = matrix


def _left(graph: Graph, known: Sequence[View], wish: Wish) -> dict[Parameter, str]:
    """The weights that stay as they are, each with the reason."""
    left: dict[Parameter, str] = {}
    elsewhere = weight_views.others(graph, known)
    ways: dict[Parameter, set[Any]] = defaultdict(set)
    for view in known:
        ways[view.parameter].add(view.key)
    for view in known:
        reason = _reason(view, wish)
        if view.parameter in elsewhere:
            reason = "used not only in products"
        elif _covered(ways[view.parameter], view, known) > math.prod(_ints(view.parameter)):
            reason = "multiplied in several layouts"
        if reason:
            left.setdefault(view.parameter, reason)
    return left


def _no_operands(
    graph: Graph, known: Sequence[View], names: Container[str] | None
) -> dict[Parameter, str]:
    """The large weights that no product takes as they are."""
    seen = {view.parameter for view in known}
    rest = [p for p in graph.parameters.values() if names is None or p.name in names]
    large = [p for p in rest if len(p.type.shape) > 1 and math.prod(_ints(p)) >= LEAST]
    return {p: "no operand of matrix products" for p in large if p not in seen}


def _covered(keys: set[Any], view: View, known: Sequence[View]) -> int:
    """The number of elements of the different matrices that are made of a weight."""
    sizes = {v.key: v for v in known if v.parameter is view.parameter and v.key in keys}
    return sum(_size(each) for each in sizes.values())


def _size(view: View) -> int:
    count = 1 if view.layer is None else int(view.parameter.type.shape[0])
    return count * math.prod(int(n) for n in view.type.shape)


def _reason(view: View, wish: Wish) -> str:
    """Why a matrix stays as it is; empty if it need not."""
    if view.parameter.type.dtype not in quantising.FLOATS:
        return f"of {view.parameter.type.dtype.name}"
    if _size(view) < LEAST:
        return f"of fewer than {LEAST} numbers"
    length = int(view.type.shape[view.axis])
    if wish.block is not None and length % wish.block:
        return f"of {length} rows, no multiple of {wish.block}"
    return ""


def _ints(parameter: Parameter) -> list[int]:
    return [int(n) for n in parameter.type.shape]


def _nothing(wish: Wish, left: Mapping[Parameter, str]) -> str:
    text = f"weights='int{wish.bits}': no weight of a matrix product can be quantised"
    return "; ".join([text, *_reasons(left)])


def _reasons(left: Mapping[Parameter, str]) -> list[str]:
    """A text for each reason, with the names of weights."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for parameter, reason in left.items():
        by_reason[reason].append(parameter.name)
    texts = []
    for reason, names in by_reason.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        texts.append(f"{', '.join(names[:_SHOWN])}{more}: {reason}")
    return texts


def _products(chosen: Sequence[View], graph: Graph, wish: Wish) -> list[Product]:
    """Each product with its quantised matrix; equal matrices are quantised once."""
    keys: dict[Parameter, dict[Any, View]] = defaultdict(dict)
    for view in chosen:
        keys[view.parameter].setdefault(view.key, view)
    unique = Unique([*graph.parameters, *(v.name for v in graph.inputs)])
    made: dict[Any, tuple[Quantised, str, str]] = {}
    for parameter, views in keys.items():
        for number, (key, view) in enumerate(views.items()):
            name = parameter.name if len(views) == 1 else unique(f"{parameter.name}.{number}")
            made[key] = quantising.quantised(_sheets(view), wish), name, unique(f"{name}.scale")
    return [Product(view, *made[view.key]) for view in chosen]


def _sheets(view: View) -> Sheets:
    weight = view.parameter
    count = None if view.layer is None else int(weight.type.shape[0])

    def read(layer: int) -> np.ndarray:
        at = None if view.layer is None else layer
        return view.matrix(late.array(weight.name, weight.data, at))

    return Sheets(weight.name, read, count, view.type, view.axis)


def _spellings(
    products: Sequence[Product], spell: Callable[[Product], Spelling]
) -> dict[str, Spelling]:
    """The spelling of each matrix by its name: products of one matrix share how it is stored."""
    kinds: dict[str, set[Spelling]] = defaultdict(set)
    for product in products:
        kinds[product.name].add(spell(product))
    return {name: some.pop() if len(some) == 1 else multiplied for name, some in kinds.items()}


def _rewritten(
    graph: Graph, products: Sequence[Product], spellings: Mapping[str, Spelling]
) -> Graph:
    """The graph, with the products spelled anew and without the nodes on the way to them."""
    gone = {id(node) for product in products for node in product.view.nodes}
    ends: dict[int, list[Product]] = defaultdict(list)
    for product in products:
        ends[id(product.view.node)].append(product)
    parameters: dict[str, Parameter] = {}
    made: dict[int, Graph] = {}

    def again(old: Graph) -> Graph:
        if id(old) not in made:
            emit = Emit(parameters)
            for node in old.nodes:
                if id(node) not in gone:
                    emit.nodes.append(_node(emit, node, ends[id(node)], spellings, again))
            made[id(old)] = replace(
                old, inputs=[*old.inputs], nodes=emit.nodes, outputs=[*old.outputs], parameters={}
            )
        return made[id(old)]

    changed = again(graph)
    replaced = {product.view.parameter for product in products}
    kept = {name: p for name, p in graph.parameters.items() if p not in replaced}
    changed.parameters = kept | parameters
    return changed


def _node(
    emit: Emit, node: Node, products: Sequence[Product],
    spellings: Mapping[str, Spelling], again: Callable[[Graph], Graph],
) -> Node:  # fmt: skip
    emit.source = node.source
    for product in products:  # both operands may be quantised
        product = product._replace(view=product.view._replace(node=node))
        node = spellings[product.name](emit, product)
    if node.bodies:
        node = replace(node, bodies=tuple(map(again, node.bodies)))
    return node


def _notes(
    before: Graph, after: Graph, products: Sequence[Product],
    left: Mapping[Parameter, str], wish: Wish,
) -> list[str]:  # fmt: skip
    weights = {product.view.parameter for product in products}
    fresh = [p for name, p in after.parameters.items() if before.parameters.get(name) is not p]
    sizes = [display.size(sum(map(_nbytes, some))) for some in (weights, fresh)]
    error = max(product.data.error for product in products)
    count = display.counted(len(weights), "weight")
    notes = [
        f"{count} of {len(before.parameters)} quantised ({wish.text}): {sizes[0]} became "
        f"{sizes[1]}, no number moved by more than {error:.3f} of its scale"
    ]
    return notes + [f"not quantised: {text}" for text in _reasons(left)]


def _nbytes(parameter: Parameter) -> int:
    """The bytes of a weight in the file, where a byte holds two numbers of int4."""
    size, dtype = math.prod(_ints(parameter)), parameter.type.dtype
    return -(-size // 2) if dtype.name == "int4" else size * dtype.itemsize

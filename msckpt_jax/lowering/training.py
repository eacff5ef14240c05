"""Training mode: modules leave it for an export, and functions that are in it get notes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import jax
from jax.extend import core

from msckpt_jax import _compat, names
from msckpt_jax.lowering.callables import Look

#: The attributes by which layers of ``flax.nnx`` know their mode, with their values in inference.
_INFERENCE = {"deterministic": True, "use_running_average": True}
#: Linen's collection of running statistics.
_STATISTICS = "batch_stats"
_DRAWING = frozenset(
    ("random_bits", "random_gamma", "rng_bit_generator", "rng_uniform", "threefry2x32")
)


def inference(tree: Any) -> tuple[Any, list[str]]:
    """Return the tree with its modules in inference mode, and a note about the layers.

    The modules are views of the user's, which stay as they are, and hold the same arrays.

    Raises:
        TypeError: a module computes its mode, so that it cannot be set.
    """
    switched: list[str] = []

    def view(node: Any) -> Any:
        return _view(node, switched) if names.is_module(node) else node

    tree = jax.tree.map(view, tree, is_leaf=names.is_module)
    return _equinox_view(tree, switched), _switched(switched)


def inference_of_all(modules: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Do the same to modules by their paths, which may share layers, and share them then."""
    switched: list[str] = []
    shared = {path: node for path, node in modules.items() if names.is_module(node)}
    single = {path: node for path, node in modules.items() if path not in shared}
    return _view(shared, switched) | _equinox_view(single, switched), _switched(switched)


def _switched(layers: Sequence[str]) -> list[str]:
    if not layers:
        return []
    return [
        f"exported in inference mode, though the network is in training mode (training=True keeps "
        f"it): {', '.join(layers)}"
    ]


def _view(node: Any, switched: list[str]) -> Any:
    """A view of a module of ``nnx``, or of some by their paths."""
    nnx = sys.modules.get("flax.nnx")
    parts = [part for _, part in nnx.iter_modules(node)] if nnx and node else []
    if all(getattr(p, name, want) == want for p in parts for name, want in _INFERENCE.items()):
        return node
    assert nnx is not None
    view = nnx.merge(*nnx.split(node))
    for path, part in nnx.iter_modules(view):
        where = ".".join(filter(None, map(str, path))) or type(part).__name__
        for name, value in _INFERENCE.items():
            before = getattr(part, name, value)
            if before != value:
                _set(part, name, value, where)
            if before not in (value, None):  # None leaves it to the call
                switched.append(f"{where}.{name}")
    return view


def _equinox_view(tree: Any, switched: list[str]) -> Any:
    """The tree with the layers of Equinox in it in inference mode."""
    equinox = sys.modules.get("equinox")
    if equinox is None:
        return tree

    def is_training(node: Any) -> bool:
        return isinstance(node, equinox.Module) and getattr(node, "inference", None) is False

    pairs = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_training)
    layers = [(path, node) for path, node in pairs if is_training(node)]
    for path, node in layers:
        where = [*filter(None, map(names.segment, path))] or [type(node).__name__]
        switched.append(".".join([*where, "inference"]))
    return equinox.nn.inference_mode(tree) if layers else tree


def _set(part: Any, name: str, value: Any, where: str) -> None:
    try:
        setattr(part, name, value)
    except AttributeError as error:
        raise TypeError(
            f"{where}.{name} cannot be set to {value}, for inference; training=True exports the "
            "network in the mode that it is in"
        ) from error


def notes(
    jaxpr: Any, statistics: Callable[[], Container[str]], weights: Sequence[str], results: Any
) -> list[str]:
    """Return notes about a function that is in training mode, each with the user's line.

    Args:
        jaxpr: its arguments are the weights, then the inputs.
        statistics: gives the names of those that are running statistics.
        weights: the names of the weights.
        results: the pytree of the results' types.
    """
    living, _ = _compat.needed(jaxpr, [True] * len(jaxpr.out_avals))
    draws = dict.fromkeys(
        _compat.calling_line(source)
        for eqn, source in equations(living, None)
        if eqn.primitive.name in _DRAWING
    )
    out = [
        f"{line}: random numbers are drawn, as in training (dropout); unless an input holds their "
        "key, each run of the file draws the same ones"
        for line in draws
    ]
    return out + _of_statistics(jaxpr, statistics, weights, results)


def equations(jaxpr: Any, outer: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each equation and its source, also of those in bodies."""
    for eqn in _compat.opened(jaxpr)[0].eqns:
        source = _compat.within(outer, eqn.source_info)
        yield eqn, source
        for body in core.jaxprs_in_params(eqn.params):
            yield from equations(body, source)


def _of_statistics(
    jaxpr: Any, statistics: Callable[[], Container[str]], weights: Sequence[str], results: Any
) -> list[str]:
    """Note the running statistics that are only updated: the batch's own take their place."""
    _, needed = _compat.needed(jaxpr, [not changed for changed in _changed(results)])
    inner, _ = _compat.opened(jaxpr)
    unused = {
        name: var
        for name, var, used in zip(weights, inner.invars, needed, strict=False)
        if not used
    }
    running = statistics() if unused else ()
    lines: dict[str, list[str]] = {}
    for name, var in unused.items():
        if name in running and (source := _first_use(inner, var, None)) is not None:
            lines.setdefault(_compat.calling_line(source), []).append(name)
    return [
        f"{line}: the results depend on the statistics of the batch, as in training, not on the "
        f"running ones: {', '.join(updated)}"
        for line, updated in lines.items()
    ]


def _first_use(jaxpr: Any, var: Any, outer: Any) -> Any:
    """Return the source of the first equation, not a call, that takes a variable; or None."""
    for eqn in jaxpr.eqns:
        places = [i for i, atom in enumerate(eqn.invars) if atom is var]
        if not places:
            continue
        source = _compat.within(outer, eqn.source_info)
        bodies = [_compat.opened(body)[0] for body in core.jaxprs_in_params(eqn.params)]
        if not bodies:
            return source
        body = bodies[-1]
        skipped = len(eqn.invars) - len(body.invars)
        for place in places:
            if place >= skipped and (use := _first_use(body, body.invars[place - skipped], source)):
                return use
    return None


def statistics(weights: Mapping[str, Any], look: Look) -> frozenset[str]:
    """Return the names of the weights that are running statistics, in linen or in nnx."""
    arrays = {id(array) for _, value in look.walk() for array in _statistics_in(value)}
    return frozenset(
        name
        for name, value in weights.items()
        if id(value) in arrays or _STATISTICS in name.split(".")
    )


def _statistics_in(value: Any) -> list[Any]:
    """The running statistics of a module of nnx, or a variable that is one."""
    nnx = sys.modules.get("flax.nnx")
    if nnx is not None and names.is_module(value):
        return [leaf.value for leaf in names.named_leaves(nnx.state(value, nnx.BatchStat))]
    return [value.get_value()] if names.is_variable(value) and _is_statistic((), value) else []


def _changed(results: Any) -> list[bool]:
    """Tell of each result whether it is a running statistic."""
    pairs = jax.tree_util.tree_leaves_with_path(results, is_leaf=names.is_variable)
    return [_is_statistic(path, node) for path, node in pairs for _ in jax.tree.leaves(node)]


def _is_statistic(path: Sequence[Any], node: Any) -> bool:
    if names.is_variable(node):
        return isinstance(node, sys.modules["flax.nnx"].BatchStat)
    return _STATISTICS in map(names.segment, path)

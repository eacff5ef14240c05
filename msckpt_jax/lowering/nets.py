"""Networks as users give them: the function to trace, and the tree of weights that it takes."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from jax.extend import source_info_util

from msckpt_jax import names
from msckpt_jax.graph import given, widths
from msckpt_jax.graph.function import ModelFunction
from msckpt_jax.lowering import kinds, naming

# Our own frames are none of the user's.
source_info_util.register_exclusion(__file__)


class Net(NamedTuple):
    """A network.

    Attributes:
        tree: the weights that the function takes first, or None where it holds its own.
        function: takes the tree, unless it is None, and the inputs.
        inputs: gives a name for each leaf of its inputs.
        results: the names of its results; None: the keys of what it returns.
        keeps: whether weights that nothing uses stay, as in the file that they come from.
    """

    tree: Any
    function: Callable[..., Any]
    inputs: Callable[[Sequence[Any]], list[str]]
    results: Sequence[str] | None = None
    keeps: bool = False


def opened(net: Any) -> Net:
    """The network as a function and its weights.

    Raises:
        TypeError: it is none.
    """
    row = next((made for is_of, made in _KINDS if is_of(net)), _function)
    return row(net)


def width(net: Any) -> AbstractContextManager[Any]:
    """The setting of JAX in which it keeps the numbers of a model of ``load``."""
    loaded = _loaded_parts(net)
    return contextlib.nullcontext() if loaded is None else widths.kept(loaded[0].graph)


def _named(net: Any, skipped: int = 0) -> Callable[[Sequence[Any]], list[str]]:
    """A function that names inputs by a callable's parameters, after some that are none of them."""

    def named(inputs: Sequence[Any]) -> list[str]:
        return naming.inputs(naming.arguments(net, skipped + len(inputs))[skipped:], inputs)

    return named


def _module(net: Any) -> Net:
    return Net(net, lambda module, *inputs: module(*inputs), _named(net))


def _class(net: Any) -> Net:
    raise TypeError(
        f"{net.__name__} is a class: pass a network that is made of it, {net.__name__}(...)"
    )


def _is_pair(net: Any) -> bool:
    return isinstance(net, tuple) and len(net) == 2 and callable(_applied(net[0]))


def _applied(function: Any) -> Any:
    return function if isinstance(function, type) else getattr(function, "apply", function)


def _pair(net: Any) -> Net:
    function, tree = net
    if isinstance(function, type):
        return _class(function)
    if _is_linen(function):
        return Net(tree, function.apply, _named(function))
    function = _applied(function)
    return Net(tree, function, _named(function, skipped=1))


def _is_linen(net: Any) -> bool:
    linen = sys.modules.get("flax.linen")
    return linen is not None and isinstance(net, linen.Module)


def _linen(net: Any) -> Net:
    if net.scope is None:
        raise TypeError("a linen module has no weights of its own: pass (module, variables)")
    return _pair(net.unbind())


def _loaded_parts(net: Any) -> tuple[ModelFunction, Any] | None:
    """A model of ``load`` that a callable or a pair runs, and its weights; None for others."""
    net = _unwrapped(net)
    if isinstance(net, ModelFunction):
        return net, net.parameters
    if isinstance(net, functools.partial) and len(net.args) == 1 and not net.keywords:
        net = net.func, *net.args
    if not isinstance(net, tuple) or len(net) != 2:
        return None
    function = _unwrapped(net[0])
    model = getattr(function, "__self__", function)
    applies = function is model or getattr(function, "__name__", "") == "apply"
    return (model, net[1]) if isinstance(model, ModelFunction) and applies else None


def _unwrapped(net: Any) -> Any:
    """The function in ``jax.jit``."""
    is_jit = type(net).__name__ in kinds.JITS
    return inspect.unwrap(net) if is_jit else net


def _loaded(net: Any) -> Net:
    parts = _loaded_parts(net)
    assert parts is not None
    model, weights = parts

    def named(inputs: Sequence[Any]) -> list[str]:
        own = given.names(model.input_names, model.inputs, tuple(inputs))
        return naming.inputs(naming.padded([], len(inputs)), inputs) if own is None else own

    return Net(weights, model.apply, named, model.output_names, keeps=True)


def _function(net: Any) -> Net:
    if not callable(net):
        raise TypeError(
            f"net must be a function, an nnx.Module or a pair (function, weights), not "
            f"{type(net).__name__}"
        )
    return Net(None, net, _named(net))


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Net]], ...] = (
    (lambda net: _loaded_parts(net) is not None, _loaded),
    (names.is_module, _module),
    (lambda net: isinstance(net, type), _class),
    (_is_pair, _pair),
    (_is_linen, _linen),
)

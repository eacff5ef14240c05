"""Networks as users give them: the function to trace, and the tree of weights that it takes."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jax.extend import source_info_util

from msckpt_jax import names
from msckpt_jax.graph.function import ModelFunction
from msckpt_jax.lowering import naming

# Our own frames are none of the user's.
source_info_util.register_exclusion(__file__)


class Net(NamedTuple):
    """A network.

    Attributes:
        tree: the weights that the function takes first, or None where it holds its own.
        function: takes the tree, unless it is None, and the inputs.
        arguments: gives so many names of its arguments.
        results: the names of its results; None: the keys of what it returns.
    """

    tree: Any
    function: Callable[..., Any]
    arguments: Callable[[int], list[str]]
    results: Sequence[str] | None = None


def opened(net: Any) -> Net:
    """The network as a function and its weights.

    Raises:
        TypeError: it is none.
    """
    row = next((made for is_of, made in _KINDS if is_of(net)), _function)
    return row(net)


def _module(net: Any) -> Net:
    arguments = functools.partial(naming.arguments, net)
    return Net(net, lambda module, *inputs: module(*inputs), arguments)


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
        return Net(tree, function.apply, functools.partial(naming.arguments, function))
    function = _applied(function)
    return Net(tree, function, lambda count: naming.arguments(function, count + 1)[1:])


def _is_linen(net: Any) -> bool:
    linen = sys.modules.get("flax.linen")
    return linen is not None and isinstance(net, linen.Module)


def _linen(net: Any) -> Net:
    if net.scope is None:
        raise TypeError("a linen module has no weights of its own: pass (module, variables)")
    return _pair(net.unbind())


def _loaded(net: ModelFunction) -> Net:
    own = [*net.input_names] if len(net.inputs) == len(net.input_names) else []
    return Net(net.parameters, net.apply, lambda count: naming.padded(own, count), net.output_names)


def _function(net: Any) -> Net:
    if not callable(net):
        raise TypeError(
            f"net must be a function, an nnx.Module or a pair (function, weights), not "
            f"{type(net).__name__}"
        )
    return Net(None, net, functools.partial(naming.arguments, net))


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Net]], ...] = (
    (names.is_module, _module),
    (lambda net: isinstance(net, type), _class),
    (_is_pair, _pair),
    (_is_linen, _linen),
    (lambda net: isinstance(net, ModelFunction), _loaded),
)

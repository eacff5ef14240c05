"""Names of a network's inputs and results: the user's, or those that its code has for them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

import jax

from msckpt_jax import display, names
from msckpt_jax.lowering import kinds
from msckpt_jax.visible import visible

#: What stands for the name of a result without a key.
RESULT = "output"


def arguments(net: Any, count: int) -> list[str]:
    """Return the names of a callable's first parameters, ``x0`` and so on where it has none."""
    own = next((of(net) for is_of, of in _SIGNED if is_of(net)), None)
    return padded(kinds.parameters(net) if own is None else own, count)


def padded(own: Sequence[str], count: int) -> list[str]:
    """Return so many names: one's own first, then ``x1`` and so on by their places."""
    return [*own[:count], *(f"x{i}" for i in range(len(own), count))]


def inputs(arguments: Sequence[str], values: Sequence[Any]) -> list[str]:
    """Return a name for each leaf of the arguments: the parameter's, and the path in it."""
    out = []
    for name, tree in zip(arguments, values, strict=True):
        for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]:
            inner = jax.tree_util.keystr(path, simple=True, separator=".")
            out.append(f"{name}.{inner}" if inner else name)
    return out


def results(tree: Any) -> list[str]:
    """Return a name for each result: the path of keys, or nothing where it has only positions."""
    paths = (path for path, _ in jax.tree_util.tree_leaves_with_path(tree))
    return [
        "" if all(map(_is_position, path)) else ".".join(map(names.segment, path)) for path in paths
    ]


def chosen(kind: str, given: Any, defaults: Sequence[str], taken: Iterable[str]) -> list[str]:
    """Return the names that a user has given, or the defaults, told apart from those taken.

    Args:
        kind: ``"input"`` or ``"output"``, for messages.
        given: a sequence of names, a mapping of default names to names, or None.
        defaults: the default names; an empty one stays so.
        taken: the names that weights, and inputs, have.

    Raises:
        TypeError: they are no strings.
        ValueError: there are other numbers of them, or a name is unknown, not printable, or not
            unique.
    """
    taken = frozenset(taken)
    unique = names.Unique(taken)
    shown = [unique(name) if name else "" for name in defaults]
    if given is None:
        return shown
    told = [name or unique(RESULT) for name in shown]
    wanted = _in_order(f"{kind}_names", given, told)
    if len(wanted) != len(told):
        raise ValueError(
            visible(
                f"{kind}_names has {display.counted(len(wanted), 'name')}, where the network has "
                f"{display.counted(len(told), kind)}: "
                f"{', '.join(told)}"
            )
        )
    for name in wanted:
        _check(f"{kind}_names", name, wanted, taken)
    return wanted


def _in_order(argument: str, given: Any, told: Sequence[str]) -> list[str]:
    """The names in the order of the leaves."""
    if isinstance(given, Mapping):
        if unknown := [name for name in given if name not in told]:
            text = f"{argument} has {unknown[0]!r}, but the names are: {', '.join(told)}"
            raise ValueError(visible(text))
        given = [given.get(name, name) for name in told]
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise TypeError(f"{argument} must be a sequence of strings, not {type(given).__name__}")
    given = list(given)
    for name in given:
        if not isinstance(name, str):
            raise TypeError(f"{argument} must be strings, but has a {type(name).__name__}")
    return given


def _check(argument: str, name: str, wanted: Sequence[str], taken: Container[str]) -> None:
    if not name or not name.isprintable() or any(map(str.isspace, name)):
        text = f"{argument} has {name!r}: names are of characters that print, without spaces"
        raise ValueError(visible(text))
    if wanted.count(name) > 1:
        raise ValueError(visible(f"{argument} has {name!r} twice"))
    if name in taken:
        raise ValueError(
            visible(f"{argument} has {name!r}, which is the name of a parameter or an input")
        )


def _is_position(key: Any) -> bool:
    return isinstance(key, jax.tree_util.SequenceKey | jax.tree_util.FlattenedIndexKey)


# Callables whose own signature says nothing.


def _is_applying(net: Any) -> bool:
    """Tell whether it is the ``apply`` of a linen module, with variables or not."""
    function = net.func if isinstance(net, functools.partial) else net
    linen = sys.modules.get("flax.linen")
    owner = getattr(function, "__self__", None)
    return linen is not None and isinstance(owner, linen.Module) and function.__name__ == "apply"


def _of_applying(net: Any) -> list[str]:
    net = net if isinstance(net, functools.partial) else functools.partial(net)
    bound, keywords, module = len(net.args), net.keywords, net.func.__self__
    method = keywords.get("method") or module.__call__
    if isinstance(method, str):
        method = getattr(module, method)
    own = kinds.parameters(method)
    own = own if hasattr(method, "__self__") else own[1:]
    variables = [] if bound or "variables" in keywords else ["variables"]
    own = [*variables, *(own[bound - 1 :] if bound else own)]
    return [name for name in own if name not in keywords]


def _is_keras(net: Any) -> bool:
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(net, keras.Layer)


_SIGNED: tuple[tuple[Callable[[Any], bool], Callable[[Any], list[str]]], ...] = (
    (_is_applying, _of_applying),
    (_is_keras, lambda net: kinds.parameters(net.call)),
)

"""Names of the leaves of a pytree: the one place where they are made and undone.

A name is the dotted tree path: ``{"params": {"Dense_0": {"kernel": x}}}`` gives
``params.Dense_0.kernel``, an attribute its own name, a sequence element its index. The
``nnx.Variable`` around a value leaves no trace. Keys that hold dots are kept as they are, so that
MindSpore's flat names stay flat; two paths that give one name are refused.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from msckpt_jax.errors import CheckpointError
from msckpt_jax.lazy import jax

#: The name of a tree that is a single leaf.
ROOT = "value"

_KEY_TAG = re.compile(r"(?s)(.+)@(threefry2x32|rbg|unsafe_rbg)")


class Leaf(NamedTuple):
    name: str
    path: tuple[Any, ...]
    value: Any


class NamedTree(NamedTuple):
    """The named leaves of a tree, and the way back."""

    leaves: list[Leaf]
    rebuild: Callable[[Sequence[Any]], Any]


def named_leaves(tree: Any) -> list[Leaf]:
    """The leaves of ``tree`` with their names, in tree order.

    Raises:
        CheckpointError: two paths give the same name, or a name is empty.
    """
    return flatten(tree).leaves


def flatten(tree: Any) -> NamedTree:
    """Name the leaves of a pytree, ``nnx`` object, or MindSpore's list of ``name``/``data``.

    ``rebuild(values)`` puts one value per leaf back into the same structure (for ``nnx`` objects a
    new object; for MindSpore's list a list).
    """
    if is_parameter_list(tree):
        _check_entries(tree)
        leaves = [Leaf(e["name"], (i, "data"), _unwrap(e["data"])) for i, e in enumerate(tree)]
        names = [leaf.name for leaf in leaves]
        named = NamedTree(
            leaves,
            lambda values: [{"name": n, "data": v} for n, v in zip(names, values, strict=True)],
        )
    elif is_module(tree):
        nnx = _nnx()
        graph, state = nnx.split(tree)
        inner = _flatten_pytree(state)
        named = NamedTree(inner.leaves, lambda values: nnx.merge(graph, inner.rebuild(values)))
    else:
        named = _flatten_pytree(tree)
    _check_unique(named.leaves)
    return named


def assign(module: Any, values: Sequence[Any]) -> None:
    """Put one value per leaf into an ``nnx`` object, in place."""
    nnx = _nnx()
    nnx.update(module, _flatten_pytree(nnx.state(module)).rebuild(values))


def is_module(tree: Any) -> bool:
    """Tell whether ``tree`` is a mutable ``nnx`` object: a module, an optimizer, metrics."""
    nnx = _nnx()
    return nnx is not None and isinstance(tree, nnx.Pytree) and not isinstance(tree, nnx.Variable)


def is_parameter_list(tree: Any) -> bool:
    """Tell whether ``tree`` is MindSpore's ``[{"name": str, "data": array}, ...]``, by its head."""
    return isinstance(tree, list) and bool(tree) and _is_entry(tree[0])


def _is_entry(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"name", "data"}
        and isinstance(value["name"], str)
    )


def _check_entries(tree: list[Any]) -> None:
    for i, entry in enumerate(tree):
        if not _is_entry(entry):
            raise TypeError(
                f"save_obj[{i}] must be a dict of a name (str) and data, like the entries before"
            )


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts from dotted names: ``{"a.b": x}`` gives ``{"a": {"b": x}}``.

    Raises:
        CheckpointError: a name is both a leaf and the prefix of another.
    """
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        node = tree
        for depth, key in enumerate(parents):
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                clash = ".".join(parents[: depth + 1])
                raise CheckpointError("its prefix is a parameter too", name=name, found=clash)
        if last in node:
            raise CheckpointError("it is a parameter and the prefix of others", name=name)
        node[last] = value
    return tree


class Unique:
    """Names that differ from those taken, and from each other: numbers are added."""

    def __init__(self, taken: Iterable[str] = ()):
        self._asked = dict.fromkeys(taken, 1)  # how often; so that no search begins at 1 again

    def __call__(self, name: str) -> str:
        count = self._asked.get(name, 0)
        unique = f"{name}_{count}" if count else name
        while count and unique in self._asked:
            count += 1
            unique = f"{name}_{count}"
        self._asked[name] = count + 1
        self._asked.setdefault(unique, 1)
        return unique


def key_tag(name: str, impl: str) -> str:
    """The record tag of a typed PRNG key: the tag carries the implementation."""
    return f"{name}@{impl}"


def split_key_tag(tag: str) -> tuple[str, str | None]:
    """Undo :func:`key_tag`: ``(name, implementation or None)``."""
    match = _KEY_TAG.fullmatch(tag) if "@" in tag else None
    return (match[1], match[2]) if match else (tag, None)


def of_tag(tag: str, type: str, shape: Sequence[int]) -> tuple[str, str | None]:
    """The name with which an entry of this tag comes back, and the implementation of a PRNG key.

    Somebody else's name may only look like a key's: key data are unsigned and have an axis.
    """
    return split_key_tag(tag) if type == "UInt32" and shape else (tag, None)


def show(path: Iterable[Any]) -> str:
    """A path as Python would write the access, for messages."""
    path = tuple(path)
    if path and isinstance(path[0], int):
        return f"[{path[0]}]"
    return jax.tree_util.keystr(path) or "the tree itself"


def _nnx() -> Any:
    """``flax.nnx``, unless nobody has imported it: then no tree can hold its objects."""
    return sys.modules.get("flax.nnx")


def is_variable(node: Any) -> bool:
    nnx = _nnx()
    # By type: nnx.Variable's own instance check is slow, and asked for each leaf.
    return nnx is not None and issubclass(type(node), nnx.Variable)


def _unwrap(leaf: Any) -> Any:
    return leaf.get_value() if is_variable(leaf) else leaf


def _flatten_pytree(tree: Any) -> NamedTree:
    is_leaf = None if _nnx() is None else is_variable
    try:
        pairs, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)
    except ValueError as error:
        if "sorting pytree" not in str(error):
            raise
        raise CheckpointError(
            "a dict in the tree has keys of several kinds, which have no order: name all by texts"
        ) from error
    if is_leaf is None or not any(is_leaf(v) for _, v in pairs):
        return NamedTree([Leaf(_name(p), p, v) for p, v in pairs], treedef.unflatten)
    leaves: list[Leaf] = []
    parts: list[tuple[Any, Any]] = []  # (variable or None, structure of its value)
    for path, node in pairs:
        inner, structure = jax.tree_util.tree_flatten_with_path(_unwrap(node))
        leaves += [Leaf(_name(path + p), path + p, v) for p, v in inner]
        parts.append((node if is_leaf(node) else None, structure))

    def rebuild(values: Sequence[Any]) -> Any:
        stream, nodes = iter(values), []
        for node, structure in parts:
            value = structure.unflatten([next(stream) for _ in range(structure.num_leaves)])
            nodes.append(value if node is None else node.replace(value))
        return treedef.unflatten(nodes)

    return NamedTree(leaves, rebuild)


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(map(segment, path)) if path else ROOT


def segment(key: Any) -> str:
    read = _segments().get(type(key), str)
    return str(read(key))


@functools.cache
def _segments() -> dict[type, Callable[[Any], Any]]:
    return {
        jax.tree_util.DictKey: lambda k: k.key,
        jax.tree_util.GetAttrKey: lambda k: k.name,
        jax.tree_util.SequenceKey: lambda k: k.idx,
        jax.tree_util.FlattenedIndexKey: lambda k: k.key,
    }


def _check_unique(leaves: list[Leaf]) -> None:
    seen: dict[str, tuple[Any, ...]] = {}
    for leaf in leaves:
        if not leaf.name:
            raise CheckpointError(f"the name of {show(leaf.path)} is empty")
        first = seen.setdefault(leaf.name, leaf.path)
        if first is not leaf.path:
            raise CheckpointError(
                f"two leaves have this name: {show(first)} and {show(leaf.path)}; rename one leaf",
                name=leaf.name,
            )

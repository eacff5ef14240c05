"""Locate the layers of a tree by the modules themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from msckpt_jax import names
from msckpt_jax.conventions.layers import CLASSES, LAYERS, Layer
from msckpt_jax.lazy import jax

#: A path in a network, without collections and boxes: ``("conv1", "kernel")``.
Segments: TypeAlias = tuple[str, ...]
Layers: TypeAlias = dict[Segments, Layer]

OTHER = Layer("other")
#: Classes of Flax that hold the states of optax, and a step.
_TRAINERS = ("TrainState", "Optimizer", "ModelAndOptimizer")
#: Collections of linen whose leaves are a layer's parameters.
COLLECTIONS = ("params", "batch_stats")


class Slot(NamedTuple):
    """The place of an optimizer's leaf: optax's state, its field, and the path in the field."""

    state: str
    field: str
    rest: Segments


class Located(NamedTuple):
    """A leaf and its path in the network; ``of_flax``: the path shows that the tree is Flax's."""

    leaf: names.Leaf
    segments: Segments
    of_flax: bool
    slot: Slot | None = None


def locate(tree: Any, leaves: list[names.Leaf], layers: Layers) -> list[Located]:
    """The path of each leaf; ``layers`` gets the layer of each ``nnx`` module on the way."""
    return [_locate(tree, leaf, layers) for leaf in leaves]


def _locate(tree: Any, leaf: names.Leaf, layers: Layers) -> Located:
    segments: list[str] = []
    of_flax, node = False, tree
    state: tuple[str, int] | None = None
    for key in leaf.path:
        if (kind := _optimizer_state(node)) is not None:
            state = kind, len(segments)
        module = is_module(node)
        if module:
            layers.setdefault(tuple(segments), layer_of(node))
        name = names.segment(key)
        if not module and name in COLLECTIONS:
            of_flax = True
        elif not _is_box(node):
            segments.append(name)
        node = _child(node, key, name)
    if names.is_variable(node):
        of_flax = True
    slot = None
    if state is not None and (inner := tuple(segments[state[1] :])):
        slot = Slot(state[0], inner[0], inner[1:])
        if state[0] in _TRAINERS and slot.field not in ("step", "opt_state"):
            slot = None  # a leaf of the network
    return Located(leaf, tuple(segments), of_flax, slot)


def _optimizer_state(node: Any) -> str | None:
    """The class of a state of optax, or of the object that counts its steps; None for others."""
    for cls in type(node).__mro__:
        if cls.__name__ in _TRAINERS and cls.__module__.startswith("flax."):
            return cls.__name__
    cls = type(node)
    return cls.__name__ if cls.__module__.startswith("optax.") else None


def is_module(node: Any) -> bool:
    """Tell whether a node is a module of nnx (variables and states are none)."""
    return names.is_module(node) and not isinstance(node, Mapping)


def everywhere(known: Layers, located: Sequence[Located]) -> Layers:
    """The layers of a network at each place of a tree that has all of them."""
    there: set[Segments] = set()
    for entry in located:
        there.update(parents(entry.segments))
    full = [prefix for prefix, layer in known.items() if LAYERS[layer.kind]]
    last = max(full, key=len, default=())
    roots = [at[: len(at) - len(last)] for at in there if at[len(at) - len(last) :] == last]
    whole = [root for root in roots if all(root + prefix in there for prefix in full)]
    return {root + prefix: layer for root in whole or [()] for prefix, layer in known.items()}


def of_nnx(module: Any) -> Layers:
    """The layers of an ``nnx`` module."""
    layers: Layers = {}
    locate(module, names.named_leaves(module), layers)
    return layers


def check(module: Any) -> None:
    """Refuse what is no module of Flax.

    Raises:
        TypeError: with what it is.
    """
    if module is None or names.is_module(module):
        return
    linen = sys.modules.get("flax.linen")  # imported where there is a module of it
    if linen is None or not isinstance(module, linen.Module):
        kind = f"the class {module.__name__}" if isinstance(module, type) else type(module).__name__
        raise TypeError(f"module must be a module of flax.nnx or flax.linen, not {kind}")


def of_linen(module: Any, inputs: tuple[Any, ...]) -> Layers:
    """The layers of a linen module, noted while ``inputs`` initialise it abstractly."""
    from flax import linen

    layers: Layers = {}

    def note(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        out, module = call(*args, **kwargs), context.module
        if module.path not in layers:
            layers[module.path] = layer_of(module)._replace(shapes=_of_linen(module))
        return out

    with linen.intercept_methods(note):
        jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return layers


def layer_of(module: Any) -> Layer:
    """The layer that a module is, by its class or the class of Flax that it derives from."""
    for cls in type(module).__mro__:
        if not cls.__module__.startswith("flax."):
            continue
        if cls.__name__ == "ToNNX":  # a linen module in an nnx module
            return layer_of(getattr(module, "to_nnx__module", None) or module.module)
        if cls.__name__ in CLASSES:
            kind = CLASSES[cls.__name__]
            if kind == "DenseGeneral":
                return _dense_general(module)
            if getattr(module, "transpose_kernel", False):
                kind += "(transpose_kernel=True)"
            window = getattr(module, "kernel_size", None)
            rank = 1 if isinstance(window, int) else len(window or ())
            return Layer(kind, rank=rank + 2 if rank else None, shapes=_of_nnx(kind, module))
    return OTHER


def _of_linen(module: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of a linen module's own leaves while it is called: in a scan, those of a layer."""
    variables = [module.variables.get(collection, {}) for collection in COLLECTIONS]
    return {name: value.shape for leaves in variables for name, value in leaves.items()
            if not isinstance(value, Mapping) and hasattr(value, "shape")}  # fmt: skip


def _of_nnx(kind: str, module: Any) -> dict[str, tuple[int, ...]]:
    """The shapes that an nnx module says its leaves have, which vmap does not change."""
    if not names.is_module(module):
        return {}
    of_kind = _SHAPES.get(kind.partition("(")[0])
    return of_kind(module) if of_kind else {}


def _kernel(module: Any, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {"kernel": shape, "bias": (module.out_features,)}


_NORM_LEAVES = ("scale", "bias", "mean", "var")
#: The shapes of the leaves of nnx modules, by kinds of layers.
_SHAPES: dict[str, Callable[[Any], dict[str, tuple[int, ...]]]] = {
    "Dense": lambda m: _kernel(m, (m.in_features, m.out_features)),
    "Conv": lambda m: _kernel(m, m.kernel_shape),
    "ConvTranspose": lambda m: _kernel(m, m.kernel_shape),
    "Embed": lambda m: {"embedding": (m.num_embeddings, m.features)},
    "PReLU": lambda m: {"negative_slope": ()},
    "GroupNorm": lambda m: dict.fromkeys(_NORM_LEAVES, (m.num_groups * m.group_size,)),
    **{kind: lambda m: dict.fromkeys(_NORM_LEAVES, (m.num_features,))
       for kind in ("BatchNorm", "LayerNorm", "RMSNorm", "InstanceNorm")},
}  # fmt: skip


def _dense_general(module: Any) -> Layer:
    if getattr(module, "batch_axis", None) or getattr(module, "batch_dims", None):
        return OTHER  # a kernel for each element of a batch: MindSpore has no such layer
    axis = module.axis
    shapes: dict[str, tuple[int, ...]] = {}
    if names.is_module(module):
        ways = (module.in_features, module.out_features)
        inputs, outputs = (way if isinstance(way, tuple) else (way,) for way in ways)
        shapes = {"kernel": (*inputs, *outputs), "bias": outputs}
    return Layer("DenseGeneral", len(axis) if isinstance(axis, tuple | list) else 1, shapes=shapes)


def _child(node: Any, key: Any, name: str) -> Any:
    """The child at ``key`` of a node; None when that cannot be told."""
    raw = getattr(key, "key", getattr(key, "idx", name))
    if isinstance(node, Mapping):
        return node.get(raw)
    if isinstance(raw, int) and hasattr(node, "__getitem__"):
        return node[raw] if raw < len(node) else None
    return getattr(node, name, None)


def _is_box(node: Any) -> bool:
    """Tell whether a node is linen's box around a value with metadata (``linen.Partitioned``)."""
    return any(c.__module__ == "flax.core.meta" for c in type(node).__mro__)


def parents(segments: Segments) -> Iterator[Segments]:
    """Yield the prefixes of a path, the outermost first."""
    for count in range(len(segments)):
        yield segments[:count]

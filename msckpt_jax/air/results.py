"""The results of an operator by its meaning in JAX, without computing any number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from msckpt_jax.air.described import ANY_SHAPE
from msckpt_jax.air.meaning import MEANINGS
from msckpt_jax.air.meaning.operands import NotRunError
from msckpt_jax.graph.evaluate import arguments_of
from msckpt_jax.graph.values import UNKNOWN, Tensor

#: Sizes that stand for one that the file leaves open, one after the other: a size of a result that
#: differs between them is open, too. Both have many divisors, for reshapes and splits.
_SAMPLES = (5040, 10080)
#: The size of an operand or a result that is known itself, as shapes and axes are.
SMALL = 1024

#: NumPy's limit; more axes can only be an attempt to take time.
_MOST_AXES = 64

_known: OrderedDict[Any, Any] = OrderedDict()
_MOST = 4096


class UnfitError(Exception):
    """The operands of an operator do not go together."""


def results(op: str, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> list[Any] | None:
    """Return the type of each result, or the result itself where the types alone tell it.

    Args:
        op: an operator that has a meaning.
        inputs: types and known arrays, in the order of the prototype; None where there is none.
        attributes: those that the meaning may take.

    Returns:
        None where it is not known; None in the list for a result that the definition leaves open.

    Raises:
        UnfitError: with the reason.
    """
    inputs = tuple(inputs)
    leaves = jax.tree.leaves(inputs, is_leaf=is_type)
    if any(isinstance(leaf, Tensor) and _unknown(leaf) for leaf in leaves):
        return None
    key = op, _frozen(inputs), tuple(sorted((k, repr(v)) for k, v in attributes.items()))
    if key not in _known:
        _known[key] = _results(op, inputs, attributes, any(map(_open, leaves)))
        if len(_known) > _MOST:
            _known.popitem(last=False)
    outcome = _known[key]
    if isinstance(outcome, str):
        raise UnfitError(outcome)
    return outcome


def _results(op: str, inputs: Sequence[Any], attributes: Mapping[str, Any], is_open: bool) -> Any:
    """The results, None, or the reason why there are none."""
    try:
        sampled = [_at(op, inputs, attributes, size) for size in _SAMPLES[: 1 + is_open]]
    except (NotRunError, jax.errors.JAXTypeError):  # an operand that has to be known
        return None
    except Exception as error:  # whatever JAX raises of operands that do not fit
        return None if is_open and not _is_certain(error) else _line(error)
    return sampled[0] if not is_open else list(map(_common, *sampled))


def _is_certain(error: Exception) -> bool:
    """Tell whether an error holds whatever the sizes are: it is one of rank or dtype."""
    return any(word in str(error) for word in ("axis", "GE takes", "rank"))


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _at(op: str, inputs: Sequence[Any], attributes: Mapping[str, Any], size: int) -> list[Any]:
    """The results where each open size is ``size``."""
    meaning, used = MEANINGS[op], _used(op, attributes)
    flat, tree = jax.tree.flatten(inputs, is_leaf=is_type)
    abstract = [k for k, leaf in enumerate(flat) if isinstance(leaf, Tensor)]
    known: dict[int, np.ndarray] = {}

    def run(*given: Any) -> Any:
        filled = list(flat)
        for k, value in zip(abstract, given, strict=True):
            filled[k] = value
        out = meaning(*jax.tree.unflatten(tree, filled), **used)
        out = out if isinstance(out, tuple) else (out,)
        known.update((k, v) for k, v in enumerate(out) if _is_array(v))
        return out

    shapes = jax.eval_shape(run, *(_struct(flat[k], size) for k in abstract))
    return [
        known.get(k, None if out is None else Tensor(np.dtype(out.dtype), out.shape))
        for k, out in enumerate(shapes)
    ]


def _common(first: Any, second: Any) -> Any:
    """The type that two samples share: a size in which they differ is open."""
    if first is None or second is None:
        return None
    if len(first.shape) != len(second.shape):
        return Tensor(np.dtype(first.dtype), ANY_SHAPE)
    pairs = zip(first.shape, second.shape, strict=True)
    return Tensor(np.dtype(first.dtype), tuple(a if a == b else "?" for a, b in pairs))


def computed(op: str, inputs: Any, attributes: Mapping[str, Any], index: int) -> np.ndarray:
    """Return a result of an operator of known arrays."""
    out = MEANINGS[op](*inputs, **_used(op, attributes))
    return np.asarray(out[index] if isinstance(out, tuple) else out)


def _used(op: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    _, named = arguments_of(MEANINGS[op])
    return {name: v for name, v in attributes.items() if named is None or name in named}


def is_type(value: Any) -> bool:
    return isinstance(value, Tensor)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and not isinstance(value, Tracer)


def _unknown(type_: Tensor) -> bool:
    return type_ is UNKNOWN or type_.shape == ANY_SHAPE or len(type_.shape) > _MOST_AXES


def _open(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and any(isinstance(dim, str) for dim in leaf.shape)


def _struct(type_: Tensor, size: int) -> jax.ShapeDtypeStruct:
    shape = tuple(size if isinstance(dim, str) else dim for dim in type_.shape)
    return jax.ShapeDtypeStruct(shape, type_.dtype)


def _frozen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, tuple):
        return tuple(map(_frozen, value))
    if isinstance(value, np.ndarray):
        return value.dtype.name, value.shape, value.tobytes()
    return value

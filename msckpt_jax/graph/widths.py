"""Numbers of 64 bits in a graph, which JAX narrows unless it is told to keep them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import UNKNOWN, Const, Operand, Value

_INT32 = np.iinfo(np.int32)


def is_wide(graph: Graph) -> bool:
    """Tell whether a value of the graph has 64 bits, or a constant does not fit 32.

    Sizes and axes are small integers of 64 bits in most files; these alone do not count.
    """
    values: list[Any] = [*graph.parameters.values()]
    for part in graph.graphs():
        values += [*part.inputs, *part.outputs]
        for node in part.nodes:
            values += node.outputs
            values += (leaf for operand in node.inputs for leaf in _leaves(operand))
    return any(map(_value_is_wide, values))


def kept(graph: Graph) -> AbstractContextManager[Any]:
    """The setting of JAX in which it keeps the numbers of a graph."""
    return jax.enable_x64(True) if is_wide(graph) else contextlib.nullcontext()


def _leaves(operand: Operand) -> Iterator[Any]:
    if isinstance(operand, tuple) and not isinstance(operand, Const):
        for part in operand:
            yield from _leaves(part)  # type: ignore[arg-type]
    else:
        yield operand


def _value_is_wide(value: Any) -> bool:
    if isinstance(value, Value):
        return value.type is not UNKNOWN and value.type.dtype in _NARROWED
    content = value.value if isinstance(value, Const) else None
    if isinstance(content, np.dtype):
        return content in _NARROWED
    if not isinstance(content, np.ndarray) or content.dtype.newbyteorder("=") not in _NARROWED:
        return False
    return content.dtype.kind not in "iu" or not _fits(content)


#: The dtypes that JAX narrows, and to which.
_NARROWED = {
    np.dtype(wide): np.dtype(narrow)
    for wide, narrow in (
        (np.int64, np.int32),
        (np.uint64, np.uint32),
        (np.float64, np.float32),
        (np.complex128, np.complex64),
    )
}


def narrowed(dtype: np.dtype) -> np.dtype:
    """Return the dtype that JAX has in place of one of 64 bits, or the dtype itself."""
    return _NARROWED.get(dtype, dtype)


def survives(numbers: np.ndarray) -> bool:
    """Tell whether numbers of 64 bits are the same in 32."""
    if numbers.dtype.kind in "iu":
        return _fits(numbers)
    with np.errstate(over="ignore"):
        rounded = numbers.astype(narrowed(numbers.dtype)).astype(numbers.dtype)
    return np.array_equal(rounded, numbers, equal_nan=True)


#: Operators whose primitives JAX expands where it compiles, in the width that it then has.
_EXPANDED_LATE = frozenset(("BesselI0", "BesselI0e", "Betainc", "Igamma", "Igammac"))


def is_enabled() -> bool:
    """Tell whether JAX has 64 bits here."""
    return jax.dtypes.canonicalize_dtype(np.float64) == np.float64


def check_expanded(node: Node, results: Sequence[Any]) -> None:
    """Check an operator of a model with 64 bits, where JAX has 32 outside of the model.

    Raises:
        ValueError: it would be expanded in 32 bits, by a ``jit`` around the model.
    """
    wide = any(getattr(result, "dtype", None) == np.float64 for result in results)
    staged = isinstance(jnp.zeros(()), jax.core.Tracer)
    if node.op in _EXPANDED_LATE and wide and staged:
        raise ValueError(
            f"{node.op} of float64 in a jit around the model: JAX would expand it with 32 bits; "
            'jax.config.update("jax_enable_x64", True), or call the model outside of the jit'
        )


def _fits(numbers: np.ndarray) -> bool:
    return not numbers.size or (
        int(numbers.min()) >= _INT32.min and int(numbers.max()) <= _INT32.max
    )

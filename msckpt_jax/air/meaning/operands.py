"""Helpers that read operands and attributes of GE's operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from msckpt_jax.dtypes import BY_GE_TYPE

Meaning = Callable[..., Any]


class NotRunError(ValueError):
    """An operator is sound, but used in a way that is not run in JAX."""


def ints(value: Any) -> tuple[int, ...]:
    """The Python integers of a constant operand.

    Raises:
        NotRunError: the operand is computed.
    """
    if isinstance(value, Tracer):
        raise NotRunError("this operand has to be a constant when the file runs in JAX")
    return tuple(int(item) for item in np.asarray(value).reshape(-1))


def axis_of(axis: int, rank: int) -> int:
    """The axis, counted from 0, of a tensor that has it; a scalar is a vector to GE.

    Raises:
        ValueError: the tensor has no such axis.
    """
    size = max(rank, 1)
    if not -size <= axis < size:
        raise ValueError(f"axis {axis} of a tensor of rank {rank}; GE takes {-size} to {size - 1}")
    return axis % size


def axes_of(value: Any, rank: int) -> tuple[int, ...]:
    """The axes, counted from 0, that a constant operand names; none of a scalar.

    Raises:
        ValueError: the tensor has no such axis.
    """
    axes = tuple(axis_of(axis, rank) for axis in ints(value))
    return axes if rank else ()


def alike(*operands: Any) -> None:
    """Refuse operands of several dtypes, which GE does not promote."""
    dtypes = {jnp.asarray(x).dtype.name for x in operands if x is not None}
    if len(dtypes) > 1:
        raise ValueError(f"operands of {' and '.join(sorted(dtypes))}; GE takes one dtype")


def dtype_of(number: Any) -> np.dtype:
    """The dtype that an attribute gives by its number."""
    return jax.dtypes.canonicalize_dtype(BY_GE_TYPE[int(number)].array)


def along(vector: Any, rank: int, axis: int) -> Any:
    """A vector that broadcasts along one axis of a tensor."""
    return jnp.reshape(vector, [-1 if i == axis else 1 for i in range(rank)])

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


def ints(value: Any) -> tuple[int, ...]:
    """The Python integers of a constant operand."""
    if isinstance(value, Tracer):
        raise ValueError("this operand has to be a constant when the file runs in JAX")
    return tuple(int(item) for item in np.asarray(value).reshape(-1))


def axes_of(value: Any, rank: int) -> tuple[int, ...]:
    """The axes, counted from 0, that a constant operand names."""
    return tuple(axis % rank for axis in ints(value)) if rank else ()


def dtype_of(number: Any) -> np.dtype:
    """The dtype that an attribute gives by its number."""
    return jax.dtypes.canonicalize_dtype(BY_GE_TYPE[int(number)].array)


def along(vector: Any, rank: int, axis: int) -> Any:
    """A vector that broadcasts along one axis of a tensor."""
    return jnp.reshape(vector, [-1 if i == axis else 1 for i in range(rank)])

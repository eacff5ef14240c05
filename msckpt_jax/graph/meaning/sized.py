"""Operators whose results are as large as the numbers say: NonZero, MaskedSelect, Unique.

A call outside ``jit`` has the numbers, and gives what MindSpore gives. Within ``jit`` the size has
to be told: ``load(..., sizes={"NonZero": 10})``. Results that have fewer parts are filled up as
``jnp``'s ``size=`` does it, those that have more are cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from msckpt_jax.errors import MindIRError


def _int64() -> Any:
    return jax.dtypes.canonicalize_dtype(np.int64)


def _sized(op: str, meaning: Callable[..., Any]) -> Callable[..., Any]:
    """The meaning; without a size it is refused where the numbers are not known."""

    @wraps(meaning)
    def run(*args: Any, size: int | None = None, **attrs: Any) -> Any:
        if size is None and any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(args)):
            raise MindIRError(
                f"the size of {op}'s result depends on numbers that are not known under jit, vmap "
                "or grad, and in a branch or loop of the model: call it outside, or give the size: "
                f"load(..., sizes={{{op!r}: n}})"
            )
        return meaning(*args, size=size, **attrs)

    return run


def with_sizes(sizes: Mapping[str, int]) -> dict[str, Callable[..., Any]]:
    """The meanings of operators whose results have the sizes that a user gives.

    Raises:
        ValueError: an operator's size does not depend on numbers, or a size is none.
    """
    for op, size in sizes.items():
        if op not in SIZED:
            raise ValueError(f"sizes: {op!r} is none of the operators that take one: {[*SIZED]}")
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise ValueError(f"sizes: {op!r} takes a number of rows, not {size!r}")
    return {op: partial(SIZED[op], size=size) for op, size in sizes.items()}


def _non_zero(x: Any, *, size: Any) -> Any:
    return jnp.argwhere(x, size=size, fill_value=0 if size else None).astype(_int64())


def _non_zero_ext(x: Any, *, size: Any) -> Any:
    return tuple(index.astype(_int64()) for index in jnp.nonzero(x, size=size, fill_value=0))


def _masked_select(x: Any, mask: Any, *, size: Any) -> Any:
    x, mask = jnp.broadcast_arrays(x, jnp.asarray(mask, bool))
    places = jnp.nonzero(mask, size=size, fill_value=0)
    out = x[places]
    if size is None:
        return out
    return jnp.where(jnp.arange(size) < jnp.sum(mask), out, jnp.zeros((), x.dtype))


def unique(x: Any, size: int | None = None) -> tuple[Any, Any, Any, Any]:
    """The distinct numbers in ascending order, their first places, the inverse, and counts."""
    return jnp.unique(
        jnp.ravel(x), return_index=True, return_inverse=True, return_counts=True, size=size
    )


def first_met(x: Any, size: int | None = None) -> tuple[Any, Any]:
    """The distinct numbers in the order in which they are met first, and the inverse."""
    values, first, inverse, counts = unique(x, size)
    first = jnp.where(counts > 0, first, x.size)  # what fills up comes last
    order = jnp.argsort(first, stable=True)
    rank = jnp.argsort(order)
    return values[order], rank[jnp.ravel(inverse)]


def _unique(x: Any, *, size: Any) -> Any:
    values, inverse = first_met(x, size)
    wide = jnp.dtype(x.dtype) in (jnp.dtype(np.int64), jnp.dtype(np.float64))
    return values, inverse.astype(_int64() if wide else jnp.int32)


def _unique_2(
    x: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, *,
    size: Any,
) -> Any:  # fmt: skip
    values, _, inverse, counts = unique(x, size)
    inverse = jnp.reshape(inverse, x.shape) if return_inverse or return_counts else jnp.zeros(0)
    counts = counts if return_counts else jnp.zeros(0)
    return values, inverse.astype(_int64()), counts.astype(_int64())


def _unique_dim(
    x: Any, sorted: bool = True, return_inverse: bool = False, dim: int = 0, *, size: Any
) -> Any:
    values, inverse, counts = jnp.unique(
        x, return_inverse=True, return_counts=True, axis=dim, size=size
    )
    return values, jnp.ravel(inverse).astype(_int64()), counts.astype(_int64())


def _unique_consecutive(
    x: Any, return_inverse: bool = False, return_counts: bool = False, dim: Any = None, *,
    size: Any,
) -> Any:  # fmt: skip
    rows = jnp.ravel(x) if dim is None else jnp.moveaxis(x, int(dim), 0)
    differs = jnp.any(jnp.reshape(rows[1:] != rows[:-1], (rows.shape[0] - 1, -1)), 1)
    starts = jnp.concatenate([jnp.ones(1, bool), differs])[: rows.shape[0]]
    inverse = jnp.cumsum(starts) - 1
    (first,) = jnp.nonzero(starts, size=size, fill_value=rows.shape[0])
    counts = jnp.diff(jnp.append(first, rows.shape[0]))
    values = jnp.take(rows, jnp.minimum(first, rows.shape[0] - 1), 0)
    values = values if dim is None else jnp.moveaxis(values, 0, int(dim))
    inverse = jnp.reshape(inverse, x.shape) if dim is None else inverse
    empty = jnp.zeros((), _int64())  # MindSpore's for what is not asked
    return (values, inverse.astype(_int64()) if return_inverse else empty,
            counts.astype(_int64()) if return_counts else empty)  # fmt: skip


def _unique_with_pad(x: Any, pad: Any) -> Any:
    """The distinct numbers in the order of their first places, filled up to the size of ``x``."""
    values, inverse = first_met(x, x.size)
    count = jnp.max(inverse, initial=-1) + 1
    values = jnp.where(jnp.arange(x.size) < count, values, jnp.asarray(pad, x.dtype))
    return values, inverse.astype(jnp.int64 if values.dtype == np.int64 else jnp.int32)


def _list_diff(x: Any, y: Any, *, size: Any, out_idx: Any = np.int32) -> Any:
    (place,) = jnp.nonzero(~jnp.isin(x, y), size=size, fill_value=0)
    return x[place], place.astype(out_idx)


#: The operators that take a size.
SIZED: dict[str, Callable[..., Any]] = {
    op: _sized(op, meaning)
    for op, meaning in {
        "NonZero": _non_zero,
        "NonZeroExt": _non_zero_ext,
        "InnerNonZero": lambda x, *, size: jnp.stack(_non_zero_ext(x, size=size)),
        "MaskedSelect": _masked_select,
        "Unique": _unique,
        "Unique2": _unique_2,
        "UniqueDim": _unique_dim,
        "UniqueConsecutive": _unique_consecutive,
        "ListDiff": _list_diff,
    }.items()
}
TABLE: dict[str, Callable[..., Any]] = SIZED | {"UniqueWithPad": _unique_with_pad}

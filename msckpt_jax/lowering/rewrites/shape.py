"""Padding that only goes outwards, broadcasts that repeat something, reshapes in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax import Array, lax

from msckpt_jax._compat import Atom, Equation, Literal
from msckpt_jax.lowering.rewrites.ignoring import Ignoring, ignoring
from msckpt_jax.lowering.rewrites.peephole import Made, Shorter


def pad(x: Array, value: Array, *, padding_config: Sequence[tuple[Any, Any, int]]) -> Array:
    """Pad between elements on an axis of their own, then outwards; cut off negative padding."""
    for axis, (_, _, interior) in enumerate(padding_config):
        if interior and x.shape[axis]:
            x = _spread(x, value, axis, interior)
    outwards = [(_positive(low), _positive(high), 0) for low, high, _ in padding_config]
    sizes = [n + low + high for n, (low, high, _) in zip(x.shape, padding_config, strict=True)]
    starts = [_positive(-low) for low, _, _ in padding_config]
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    return lax.slice(lax.pad(x, value, outwards), starts, ends)


def _positive(size: Any) -> Any:
    """The size, or 0 if it is negative; a dynamic size may be either."""
    return max(size, 0) if isinstance(size, int) else size.max(0)


def _spread(x: Array, value: Array, axis: int, gap: int) -> Array:
    shape = x.shape
    apart = [(0, 0, 0)] * (x.ndim + 1)
    apart[axis + 1] = (0, gap, 0)
    x = lax.pad(lax.expand_dims(x, (axis + 1,)), value, apart)
    x = lax.reshape(x, (*shape[:axis], shape[axis] * (gap + 1), *shape[axis + 1 :]))
    return lax.slice_in_dim(x, 0, shape[axis] * (gap + 1) - gap, axis=axis)


def broadcast_in_dim(x: Array, *, shape: Sequence[Any]) -> Array:
    """Add axes of size 1, which repeats nothing."""
    return lax.reshape(x, shape)


def reshape(x: Array, *, new_sizes: Sequence[Any], dimensions: Sequence[int] | None) -> Array:
    return lax.reshape(x if dimensions is None else lax.transpose(x, dimensions), new_sizes)


def of_reshape(eqn: Equation, operands: list[Atom], made: Made) -> Shorter | None:
    """Skip the reshapes before a reshape: the last of several counts."""
    if isinstance(operands[0], Literal) or eqn.params["dimensions"] is not None:
        return None
    maker = made.get(operands[0])
    if maker is None or maker.primitive.name not in ("reshape", "squeeze"):
        return None
    return REWRITES["reshape"], maker.invars


def of_some(eqn: Equation, operands: list[Atom], made: Made) -> Shorter | None:
    """Join only the operands that have elements; other sizes of empty ones may be dynamic."""
    axis = eqn.params["dimension"]
    kept = [x for x in operands if x.aval.shape[axis] != 0]
    return (_joined, kept) if 0 < len(kept) < len(operands) else None


def _joined(*parts: Array, dimension: int) -> Array:
    return parts[0] if len(parts) == 1 else lax.concatenate(parts, dimension)


REWRITES: dict[str, Callable[..., Any] | Ignoring] = {
    "broadcast_in_dim": ignoring(broadcast_in_dim, "broadcast_dimensions", "sharding"),
    "pad": pad,
    "reshape": ignoring(reshape, "sharding"),
}

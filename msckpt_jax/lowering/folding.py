"""Arrays that are known before the model runs, and equations that are computed right away."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from msckpt_jax._compat import Atom, Aval, Equation, Literal, ShapedArray
from msckpt_jax.lowering import forms
from msckpt_jax.lowering.rule import keywords

#: Bytes of an array up to which it counts as known; larger arrays are computed by the model.
LIMIT = 1 << 20


def literal(value: Any, aval: Aval) -> Atom:
    """A constant of any shape; small arrays become NumPy's, weights stay where they are."""
    if _bytes(aval) <= LIMIT or np.ndim(value) == 0:
        value = np.asarray(value, aval.dtype)
    return Literal(value, aval)


def is_known(atom: Atom) -> bool:
    small = isinstance(atom, Literal) and _bytes(atom.aval) <= LIMIT
    return small and isinstance(atom.val, np.ndarray)


def identity(atom: Atom) -> Any:
    """A key that is equal for atoms of equal value."""
    if not isinstance(atom, Literal):
        return atom
    if atom.aval.size <= 64 and isinstance(atom.val, np.ndarray):
        return (atom.aval.shape, atom.aval.dtype, atom.val.tobytes())
    return ("constant", id(atom.val))


def fold(eqn: Equation, operands: list[Atom]) -> list[Atom] | None:
    """The results of an equation of known operands, or None where it has to stay."""
    name = eqn.primitive.name
    if eqn.effects or name in _RUNS_LATER or not (forms.canonical(eqn) or name in _AT_ONCE):
        return None
    avals = [v.aval for v in eqn.outvars]
    if not all(map(is_known, operands)) or not all(_bytes(aval) <= LIMIT for aval in avals):
        return None
    values = [atom.val for atom in operands if isinstance(atom, Literal)]
    if name in _IN_NUMPY and eqn.params.keys() <= _TAKEN[name] | _IGNORED:
        taken = {key: value for key, value in eqn.params.items() if key in _TAKEN[name]}
        with np.errstate(all="ignore"):
            result = _IN_NUMPY[name](*values, **taken)
    else:
        with jax.ensure_compile_time_eval():
            result = eqn.primitive.bind(*values, **eqn.params)
    results = result if eqn.primitive.multiple_results else [result]
    return [literal(np.asarray(r, a.dtype), a) for r, a in zip(results, avals, strict=True)]


def nothing(eqn: Equation) -> list[Atom] | None:
    """The results of an equation whose results all lack elements; None for other equations."""
    avals = [v.aval for v in eqn.outvars]
    if eqn.effects or not avals or any(_bytes(aval) for aval in avals):
        return None
    return [literal(np.zeros(aval.shape, aval.dtype), aval) for aval in avals]


def scalar(atom: Atom) -> Atom | None:
    """The rank-0 constant that a constant repeats, or None."""
    if not isinstance(atom, Literal) or not isinstance(atom.val, np.ndarray):
        return None
    if atom.val.ndim == 0 or atom.val.size == 0 or any(atom.val.strides):
        return None
    value = atom.val[(0,) * atom.val.ndim]
    return literal(value, ShapedArray((), atom.aval.dtype))


def _bytes(aval: Aval) -> float:
    """The size of an array; infinite where dimensions are dynamic, or for other values."""
    shape = getattr(aval, "shape", None)
    if shape is None or not isinstance(aval.dtype, np.dtype):
        return math.inf
    if not all(isinstance(n, int) for n in shape):
        return math.inf
    return math.prod(shape) * aval.dtype.itemsize


# NumPy starts at once, where XLA compiles for each new shape. It computes only equations whose
# results are the same bit for bit: no conversion from float to integer out of range, no integer
# division by zero. JAX computes an equation that has a parameter that is not known here.


def _apply(ufunc: np.ufunc, *operands: np.ndarray) -> np.ndarray:
    return ufunc(*operands)


def _broadcast_in_dim(
    x: np.ndarray, *, shape: Sequence[int], broadcast_dimensions: Sequence[int]
) -> np.ndarray:
    sizes = [1] * len(shape)
    for n, axis in zip(x.shape, broadcast_dimensions, strict=True):
        sizes[axis] = n
    return np.broadcast_to(x.reshape(sizes), shape)  # a view: repeats cost nothing


def _slice(
    x: np.ndarray,
    *,
    start_indices: Sequence[int],
    limit_indices: Sequence[int],
    strides: Sequence[int] | None,
) -> np.ndarray:
    steps = strides or (1,) * x.ndim
    return x[tuple(map(slice, start_indices, limit_indices, steps))]


def _reshape(
    x: np.ndarray, *, new_sizes: Sequence[int], dimensions: Sequence[int] | None
) -> np.ndarray:
    return np.reshape(x if dimensions is None else np.transpose(x, dimensions), new_sizes)


def _iota(*, dtype: np.dtype, shape: Sequence[int], dimension: int) -> np.ndarray:
    sizes = [n if axis == dimension else 1 for axis, n in enumerate(shape)]
    return np.broadcast_to(np.arange(shape[dimension]).astype(dtype).reshape(sizes), shape)


_UFUNCS: dict[str, np.ufunc] = {
    "add": np.add,
    "and": np.bitwise_and,
    "eq": np.equal,
    "ge": np.greater_equal,
    "gt": np.greater,
    "le": np.less_equal,
    "lt": np.less,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "ne": np.not_equal,
    "neg": np.negative,
    "not": np.invert,
    "or": np.bitwise_or,
    "sub": np.subtract,
    "xor": np.bitwise_xor,
}
_IN_NUMPY: dict[str, Callable[..., Any]] = {
    **{name: partial(_apply, ufunc) for name, ufunc in _UFUNCS.items()},
    "broadcast_in_dim": _broadcast_in_dim,
    "concatenate": lambda *xs, dimension: np.concatenate(xs, dimension),
    "iota": _iota,
    "reshape": _reshape,
    "select_n": lambda which, no, yes: np.where(which, yes, no),
    "slice": _slice,
    "squeeze": lambda x, *, dimensions: np.squeeze(x, dimensions),
    "transpose": lambda x, *, permutation: np.transpose(x, permutation),
}
_TAKEN = {name: keywords(function) or frozenset() for name, function in _IN_NUMPY.items()}
#: Parameters that change nothing here: a canonical product is of one dtype.
_IGNORED = frozenset({"sharding", "out_dtype"})
#: Primitives with long rewrites.
_AT_ONCE = frozenset({"bitcast_convert_type"})
_RUNS_LATER = frozenset({"ms_op", "cond", "while", "dim_as_value"})

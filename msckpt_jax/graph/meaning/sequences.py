"""Operators of tuples and lists, whose parts are tensors or Python's numbers."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import jax.numpy as jnp
import numpy as np

from msckpt_jax.errors import MindIRError


def _known(value: Any, op: str) -> int:
    """A position, which has to be known before the numbers are."""
    try:
        return int(value)
    except TypeError as error:
        raise MindIRError(f"{op}: the position depends on numbers of tensors") from error


def _insert(parts: Any, index: Any, value: Any) -> Any:
    out = list(parts)
    out.insert(_known(index, "ListInsert"), value)
    return tuple(out)


def _set(parts: Any, index: Any, value: Any) -> Any:
    out = list(parts)
    out[_known(index, "tuple_setitem")] = value
    return tuple(out)


def _slice(parts: Any, start: Any, stop: Any, step: Any) -> Any:
    return tuple(parts)[slice(*(_known(v, "SequenceSlice") for v in (start, stop, step)))]


def _stack(parts: Any, *, axis: int = 0) -> Any:
    return jnp.stack([jnp.asarray(part) for part in parts], axis)


def _offsets(parts: Any, _: Any) -> Any:
    """The positions at which two sequences begin in their sum."""
    return 0, len(parts)


def _extreme(choose: Callable[..., Any]) -> Callable[..., Any]:
    return lambda parts: reduce(choose, map(jnp.asarray, parts)) if _arrays(parts) else (
        np.max(parts) if choose is jnp.maximum else np.min(parts)
    )  # fmt: skip


def _arrays(parts: Sequence[Any]) -> bool:
    return any(np.ndim(part) or not isinstance(part, bool | int | float) for part in parts)


def _zeros_like(parts: Any) -> Any:
    return tuple(jnp.zeros_like(part) if _arrays([part]) else type(part)(0) for part in parts)


def _range(*limits: Any) -> Any:
    return tuple(range(*(_known(limit, "make_range") for limit in limits)))


TABLE: dict[str, Callable[..., Any]] = {
    "SequenceAdd": lambda x, y: (*x, *y),
    "SequenceAddN": lambda parts: reduce(operator.add, parts),
    "SequenceAddOffset": _offsets,
    "SequenceConcat": lambda parts, axis=0: jnp.concatenate(parts, axis),
    "SequenceStack": _stack,
    "SequenceCount": lambda parts, value: sum(part == value for part in parts),
    "SequenceIndex": lambda parts, value, start=0, end=None: tuple(parts).index(
        value, start, len(parts) if end is None else end
    ),
    "SequenceMax": _extreme(jnp.maximum),
    "SequenceMin": _extreme(jnp.minimum),
    "SequenceMul": lambda parts, count: tuple(parts) * _known(count, "SequenceMul"),
    "SequenceSlice": _slice,
    "SequenceUnstack": lambda x, *, axis=0, num=None: tuple(jnp.unstack(x, axis=axis)),
    "SequenceZerosLike": _zeros_like,
    "InSequence": lambda value, parts: any(np.array_equal(value, part) for part in parts),
    "ListAppend": lambda parts, value: (*parts, value),
    "ListInsert": _insert,
    "ListToTuple": tuple,
    "TupleToList": tuple,
    "RealMakeTuple": lambda *parts: parts,
    "RealTupleGetItem": lambda parts, index: parts[_known(index, "RealTupleGetItem")],
    "tuple_setitem": _set,
    "list_setitem": _set,
    "array_len": len,
    "make_range": _range,
    "tuple_lt": lambda x, y: tuple(x) < tuple(y),
    "tuple_le": lambda x, y: tuple(x) <= tuple(y),
    "list_lt": lambda x, y: tuple(x) < tuple(y),
    "list_le": lambda x, y: tuple(x) <= tuple(y),
    "tuple_greater_than": lambda x, y: tuple(x) > tuple(y),
    "tuple_greater_equal": lambda x, y: tuple(x) >= tuple(y),
    "list_greater_than": lambda x, y: tuple(x) > tuple(y),
    "list_greater_equal": lambda x, y: tuple(x) >= tuple(y),
    "ScalarBool": bool,
    "ScalarLog": math.log,
    "bool_not": operator.not_,
    "bit_and": operator.and_,
    "bit_or": operator.or_,
    "IdentityN": lambda parts: tuple(parts),
    "identity": lambda x: x,
    "ScalarToArray": lambda x: jnp.asarray(x),
    "TupleToArray": lambda parts: jnp.asarray(parts),
}

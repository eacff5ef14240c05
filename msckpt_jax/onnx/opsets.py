"""The opset of a file: the lowest that its graph needs, unless the user names one.

Runtimes take files up to an opset of their own: onnxruntime 1.16 to 19, which 21 was above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import TypeVar

import numpy as np
import onnx
from onnx import TensorProto

from msckpt_jax.dtypes import of_array
from msckpt_jax.errors import UnsupportedError

#: The opsets in which all operators of the rows have their present form and the checker knows them.
OPSETS = range(18, 27)
_T = TypeVar("_T")


class TooEarlyError(Exception):
    """The lowest opset that has what a graph uses, where the present one has not."""

    def __init__(self, opset: int):
        self.opset = opset


def check(opset: int | None) -> None:
    """Refuse an opset that is not known; None stands for the lowest that a graph needs."""
    if opset is not None and opset not in OPSETS:
        raise ValueError(f"opset must be {OPSETS[0]} to {OPSETS[-1]}, not {opset}")


def lowest(made: Callable[[int, Iterable[int]], _T]) -> _T:
    """The result of ``made(opset, later)`` for the lowest opset that is not too early."""
    opset = OPSETS[0]
    while True:
        try:
            return made(opset, range(opset + 1, OPSETS[-1] + 1))
        except TooEarlyError as later:
            opset = later.opset


def first(opset: int, later: Iterable[int], form: Callable[[int], _T]) -> _T:
    """The form of something in the present opset.

    Raises:
        TooEarlyError: a later opset has one, the present has not. UnsupportedError: none has.
    """
    try:
        return form(opset)
    except UnsupportedError:
        for other in later:
            try:
                form(other)
            except UnsupportedError:
                continue
            raise TooEarlyError(other) from None
        raise


def check_dtype(dtype: np.dtype, opset: int) -> None:
    """Refuse a dtype that ONNX has, but not yet in the opset.

    Raises:
        UnsupportedError: the opset lacks it.
    """
    row = of_array(dtype)
    if row is None or row.onnx is None:
        return
    text = f"tensor({TensorProto.DataType.Name(row.onnx).lower()})"
    since = next((other for other in OPSETS if text in _dtypes(other)), None)
    if since is None:
        raise UnsupportedError(f"opset {opset} has no {dtype.name}")
    if opset < since:
        raise UnsupportedError(f"{dtype.name} needs opset={since} or more, not {opset}")


@cache
def _dtypes(opset: int) -> frozenset[str]:
    """The types that Identity takes in an opset: all that there are."""
    (values,) = onnx.defs.get_schema("Identity", opset).type_constraints
    return frozenset(values.allowed_type_strs)

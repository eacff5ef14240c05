"""The dtypes in which onnxruntime computes, and wider dtypes for those in which it does not.

``kernels.tsv`` was taken from onnxruntime 1.32.0 (``get_all_opkernel_def``), CPU, default domain:
operator, opsets, and the dtypes that its type constraints take in any of its kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import numpy as np

from msckpt_jax.dtypes import BY_SHORT, of_array

#: Dtype -> dtypes that hold all its numbers, the cheapest first. Integers wrap when cast back.
_WIDER = {
    "bool": ("u8", "i32", "f32"),
    "bf16": ("f32", "f64"),
    "f16": ("f32", "f64"),
    "f32": ("f64",),
    "i8": ("i16", "i32", "i64", "f32"),
    "u8": ("i16", "i32", "i64", "f32"),
    "i16": ("i32", "i64", "f32"),
    "u16": ("i32", "u32", "i64", "f32"),
    "i32": ("i64", "f64"),
    "u32": ("u64", "i64", "f64"),
    "u64": ("i64",),  # equal bits: right for operators that do not compare or divide
}


@cache
def dtypes(op: str, since: int) -> Mapping[str, frozenset[str]] | None:
    """The short names of the dtypes of each type constraint of a schema; None without a kernel."""
    for first, last, constraints in _table().get(op, ()):
        if first <= since <= last or (first <= since and last >= 1000):
            return constraints
    return None


def wider(dtype: np.dtype, able: frozenset[str], *, ordered: bool) -> np.dtype | None:
    """A dtype of ``able`` in which numbers of ``dtype`` are computed, or None.

    ``ordered``: the operator compares or divides, so that equal bits are not enough.
    """
    row = of_array(dtype)
    if row is None:
        return None
    for name in _WIDER.get(row.short, ()):
        if name in able and not (ordered and row.short == "u64"):
            return BY_SHORT[name].array
    return None


@cache
def _table() -> Mapping[str, list[tuple[int, int, Mapping[str, frozenset[str]]]]]:
    table: dict[str, list[tuple[int, int, Mapping[str, frozenset[str]]]]] = {}
    for line in files("msckpt_jax.onnx").joinpath("kernels.tsv").read_text().splitlines():
        op, opsets, *groups = line.split("\t")
        first, _, last = opsets.partition("-")
        able: dict[str, frozenset[str]] = {}
        for group in filter(None, groups):
            names, _, shorts = group.partition("=")
            able |= dict.fromkeys(names.split(","), frozenset(shorts.split()))
        table.setdefault(op, []).append((int(first), int(last or 9999), able))
    return table

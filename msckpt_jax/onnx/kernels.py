"""The dtypes in which onnxruntime computes, and wider dtypes for those in which it does not.

``kernels.tsv`` was taken from onnxruntime 1.32.0 (``get_all_opkernel_def``), CPU, default domain:
operator, opsets, and the dtypes that its type constraints take in any of its kernels. A kernel may
refuse some of these when it runs, for a value of an attribute: ``operator[attribute=value]`` has
those that remain, found by running each (``python -m tests.onnx.sweep``). A ``+`` marks the dtypes
for which onnxruntime 1.16.3 has no kernel in opsets 18 and 19, found by running each, too: a dtype
that it has is taken instead where one holds the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx.defs import OpSchema

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


class Dtypes(NamedTuple):
    """Short names of dtypes: those with a kernel, and those that have had one since 1.16."""

    known: frozenset[str]
    old: frozenset[str]


def able(schema: OpSchema, attributes: Mapping[str, Any]) -> Mapping[str, Dtypes] | None:
    """The dtypes of each type constraint of a schema where a node has these attributes."""
    op = schema.name
    for name, value in {**defaults(op, schema.since_version), **attributes}.items():
        if (variant := f"{op}[{name}={value}]") in _table():
            return dtypes(variant, schema.since_version)
    return dtypes(op, schema.since_version)


@cache
def defaults(op: str, since: int) -> Mapping[str, Any]:
    """The attributes of an operator that a node need not state."""
    known = onnx.defs.get_schema(op, since).attributes
    stated = [each.default_value for each in known.values() if each.default_value.type]
    values = {each.name: onnx.helper.get_attribute_value(each) for each in stated}
    return {name: v.decode() if isinstance(v, bytes) else v for name, v in values.items()}


@cache
def dtypes(op: str, since: int) -> Mapping[str, Dtypes] | None:
    """The dtypes of each type constraint of a schema; None without a kernel."""
    for first, last, constraints in _table().get(op, ()):
        if first <= since <= last or (first <= since and last >= 1000):
            return constraints
    return None


def computing(dtype: np.dtype, among: Dtypes, *, ordered: bool) -> np.dtype | None:
    """The dtype ``among`` these in which numbers of ``dtype`` are computed, or None.

    ``ordered``: the operator compares or divides, so that equal bits are not enough.
    """
    row = of_array(dtype)
    if row is None:
        return None
    wider = () if ordered and row.short == "u64" else _WIDER.get(row.short, ())
    for shorts in (among.old, among.known):
        for name in (row.short, *wider):
            if name in shorts:
                return BY_SHORT[name].array
    return None


@cache
def _table() -> Mapping[str, list[tuple[int, int, Mapping[str, Dtypes]]]]:
    table: dict[str, list[tuple[int, int, Mapping[str, Dtypes]]]] = {}
    for line in files("msckpt_jax.onnx").joinpath("kernels.tsv").read_text().splitlines():
        op, opsets, *groups = line.split("\t")
        first, _, last = opsets.partition("-")
        taken: dict[str, Dtypes] = {}
        for group in filter(None, groups):
            names, _, shorts = group.partition("=")
            marked = shorts.split()
            known = frozenset(name.removesuffix("+") for name in marked)
            taken |= dict.fromkeys(names.split(","), Dtypes(known, known.intersection(marked)))
        table.setdefault(op, []).append((int(first), int(last or 9999), taken))
    return table

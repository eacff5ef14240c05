"""The table of operators."""

from __future__ import annotations

import pytest

from msckpt_jax.graph import meaning, operators
from msckpt_jax.graph.operators import Kernel
from msckpt_jax.lowering.rules import RULES


def test_a_definition():
    found = operators.definition("Gather")
    assert found is not None
    assert [a.name for a in found.arguments] == [
        "input_params", "input_indices", "axis", "batch_dims",
    ]  # fmt: skip
    assert [a.kind for a in found.arguments] == ["TENSOR", "TENSOR", "INT", "INT"]
    assert [a.optional for a in found.arguments] == [False, False, False, True]
    assert [r.kind for r in found.results] == ["TENSOR"]


@pytest.mark.parametrize("op", ["Conv2D", "NoSuchOperator"])
def test_no_definition(op):
    assert operators.definition(op) is None


def test_kernels():
    assert Kernel(("f32", "f32"), ("f32",)) in operators.kernels("MatMul")
    assert Kernel(("bool", "u8", "u8"), ("u8",)) in operators.kernels("Select")
    assert not [k for k in operators.kernels("Reshape") if "bf16" in k.inputs]
    assert operators.kernels("Partial") == ()


def test_what_rules_emit_is_there():
    emitted = {op for rule in RULES.values() for op in rule.operators}
    assert {op for op in emitted if not operators.kernels(op)} == {"If", "While"}


def test_what_rules_emit_can_be_loaded():
    emitted = {op for rule in RULES.values() for op in rule.operators}
    assert emitted - meaning.table().keys() == {"If", "While"}


def test_every_row_can_be_read():
    for op in operators._table():
        operators.definition(op)
        for kernel in operators.kernels(op):
            assert all(kernel.inputs)

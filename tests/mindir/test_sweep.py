"""What the table of MindSpore's kernels allows runs, and gives the right numbers."""

from __future__ import annotations

import pytest

from msckpt_jax.lowering.fusions import FUSIONS
from msckpt_jax.lowering.rules import RULES
from tests.mindir import sweep
from tests.real import need_mindspore

#: Bodies and dynamic sizes, which tests of their own run; Digamma has an algorithm in its place.
_ELSEWHERE = {"Digamma", "If", "Range", "ScalarToTensor", "TupleToTensor", "While"}


#: One in so many operators; all of them are a command's.
_SHARE = 6


def test_operators_run_in_a_dtype_of_each() -> None:
    need_mindspore()
    done = sweep.outcomes(sweep.few(sweep.cases(), _SHARE))
    assert len(done) > 15
    assert {case: text for case, each in done.items() if (text := sweep.wrong(case, each))} == {}


def test_a_wrong_kernel_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """MindSpore's ReduceSum adds integers in float64: the rules do not give it large ones."""
    need_mindspore()
    large = sweep.SAMPLES["ReduceSum"]._replace(low=0, high=0)
    monkeypatch.setitem(sweep.SAMPLES, "ReduceSum", large)  # type: ignore[arg-type]
    case = sweep.Case("ReduceSum", "i64", 2)
    (outcome,) = sweep.outcomes([case]).values()
    assert "off by inf" in sweep.wrong(case, outcome)


def test_the_sweep_has_the_operators_that_the_rules_emit() -> None:
    emitted = {op for rule in RULES.values() for op in rule.operators}
    emitted |= {fusion.op for fusion in FUSIONS}
    assert emitted - _ELSEWHERE == sweep.SAMPLES.keys() - _ELSEWHERE

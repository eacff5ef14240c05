"""The table of docs/kernels.md: every operator that a runtime is asked for, in each dtype.

``python -m tests.sweep.kernels`` runs all and writes it, in some minutes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from tests.mindir import sweep as mindir
from tests.onnx import sweep as onnx

DOCUMENT = Path(__file__).parents[2] / "docs" / "kernels.md"
HEADER = """# Operators and dtypes in the runtimes

Every operator that an export may emit, in each dtype and with each kind of attributes that the
tables of kernels allow, was run once: in MindSpore 2.10.0 for MindIR, in onnxruntime 1.32.0 for
ONNX, both on a CPU. AIR goes by the rules of GE, which `verify` knows. Made by
`python -m tests.sweep.kernels`; a part of it is a test.

"""
_MINDIR = """## MindIR

Where MindSpore has no kernel for a dtype, the operands are cast to the dtype after the arrow, and
the result back. An error is in units of the last place, against the meaning of the operator in JAX,
computed in 64 bits; integers and bools are compared as they are.

| operator | dtypes | by way of a wider dtype | largest error | why |
|---|---|---|---|---|
"""
#: Why an error is of more than 16 units.
REASONS = {
    "Atanh": "JAX's own error in float64",
    "Betainc": "a continued fraction, whose roundings add up",
    "Cholesky": "a difference that cancels",
    "Conv2D": "sums that cancel",
    "Conv3D": "sums that cancel",
    "Exp": "a polynomial for speed",
    "GeLU": "its tail cancels",
    "Igamma": "a series, whose roundings add up",
    "IgammaGradA": "a series, whose roundings add up",
    "Igammac": "a series, whose roundings add up",
    "LayerNorm": "sums that cancel",
    "Lgamma": "JAX's own error in float64",
    "Log": "a polynomial for speed; exports compute it in float64",
    "LogSoftmax": "a logarithm for speed, next to 1; `fuse=False` spells it out",
    "Sigmoid": "a polynomial for speed",
    "Softmax": "a polynomial for speed",
}
_ONNX = """
## ONNX

All {} nodes of opsets 18, 21 and 26 run. These are the dtypes of opset 21; an operand of another
dtype is cast to one of these that holds it, and the result back. So is a dtype that onnxruntime
1.16 has no kernel for, where it has one for a dtype that holds it.

| operator | dtypes |
|---|---|
"""


def of_mindir() -> Iterator[str]:
    """The rows of MindSpore's operators."""
    done = mindir.outcomes([*mindir.cases()])
    for op, group in itertools.groupby(done.items(), lambda item: item[0].op):
        outcomes = list(group)
        alone = dict.fromkeys(c.short for c, o in outcomes if not o.refused and not o.wider)
        wider = dict.fromkeys(f"{c.short} → {o.wider}" for c, o in outcomes if o.wider)
        worst, case = max((o.units, c) for c, o in outcomes)
        failed = next((text for c, o in outcomes if (text := mindir.wrong(c, o))), "")
        error = failed or (f"{worst:.2g} ({case.short})" if worst else "0")
        why = (REASONS.get(op) or "**not explained**") if worst > 16 or failed else ""
        yield f"| {op} | {' '.join(alone)} | {', '.join(wider)} | {error} | {why} |"


def of_onnx() -> Iterator[str]:
    """The rows of ONNX's operators; those that differ by an attribute have rows of their own."""
    for op, group in itertools.groupby(onnx.cases(21), lambda case: case[0]):
        by_attributes: dict[str, list[str]] = {}
        for _, short, attributes in group:
            text = ", ".join(f"{name}={value}" for name, value in attributes.items())
            by_attributes.setdefault(text, []).append(short)
        if len({*map(tuple, by_attributes.values())}) == 1:
            by_attributes = {"": next(iter(by_attributes.values()))}
        for text, shorts in by_attributes.items():
            yield f"| {op}{f' ({text})' if text else ''} | {' '.join(shorts)} |"


def main() -> None:
    nodes = 0
    for opset in onnx.OPSETS:
        for case in onnx.cases(opset):
            nodes += 1
            if reason := onnx.problem(*case, opset):
                raise SystemExit(f"{case} in opset {opset}: {reason}")
    parts = [HEADER, _MINDIR, "\n".join(of_mindir()), "\n", _ONNX.format(f"{nodes:,}")]
    DOCUMENT.write_text("".join([*parts, "\n".join(of_onnx()), "\n"]), encoding="utf-8")


if __name__ == "__main__":
    main()

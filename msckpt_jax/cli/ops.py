"""``msckpt ops``: which JAX primitives can be exported."""

from __future__ import annotations

import argparse
from collections.abc import Set

from msckpt_jax.cli import common

DESCRIPTION = """\
The JAX primitives that `msckpt export` knows: those that have a lowering rule of their own, and
those that are rewritten as others first. What is in neither list can be given a rule:
export(..., rules={"primitive": rule}).
"""
EXAMPLES = """\
  msckpt ops
  msckpt ops --markdown > docs/operators.md
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--markdown", action="store_true", help="as a table in Markdown")


def run(args: argparse.Namespace) -> int:
    if args.markdown:
        print(markdown(), end="")
        return 0
    out = common.table("primitive", *TARGETS)
    for name, found in coverage().items():
        out.add_row(name, *found)
    common.console().print(out)
    return 0


#: A column each.
TARGETS = ("MINDIR", "AIR", "ONNX")
#: Operators that need no row: control flow, and what only ``target="cpu"`` asks for.
_WITHOUT_ROW = frozenset({"If", "While", "Im2Col"})


def coverage() -> dict[str, tuple[str, ...]]:
    """How each target has a primitive, by the primitive's name."""
    from msckpt_jax.air import rows as air
    from msckpt_jax.lowering import algorithms
    from msckpt_jax.lowering.algorithms import complex as pairs
    from msckpt_jax.lowering.rewrites import REWRITES
    from msckpt_jax.lowering.rules import RULES
    from msckpt_jax.onnx import rows as onnx

    found = {}
    for name in sorted({*RULES, *REWRITES, *algorithms.ALGORITHMS} - {"ms_op"}):
        how = _how(name in RULES, name in REWRITES or name in algorithms.MINDIR)
        used = RULES[name].operators if name in RULES else frozenset()
        in_air, in_onnx = (_adapted(how, used, rows.keys()) for rows in (air.ROWS, onnx.ROWS))
        if name in algorithms.AIR:
            in_air = _how(False, True)
        if name in algorithms.LACKING:
            in_onnx = _how(False, True)
        elif name in algorithms.FLOAT64 or (in_onnx != "rule" and name in pairs.REWRITES):
            in_onnx = _how(in_onnx != "no", True)
        other = "in part" if name in REWRITES else "no"  # some of its forms
        found[name] = (how, *(other if one == "no" else one for one in (in_air, in_onnx)))
    return found


def _how(has_rule: bool, is_rewritten: bool) -> str:
    if has_rule and is_rewritten:
        return "rule, other forms rewritten"
    return "rule" if has_rule else "rewritten" if is_rewritten else "no"


def _adapted(how: str, used: Set[str], rows: Set[str]) -> str:
    """How a format has it that takes MindSpore's operators by rows of its own."""
    if used <= rows | _WITHOUT_ROW:
        return how
    return "in part" if used & rows else "no"


def markdown() -> str:
    rows = [f"| `{name}` | {' | '.join(found)} |" for name, found in coverage().items()]
    head = [
        "# JAX primitives that can be exported",
        "",
        "Made by `msckpt ops --markdown`. Calls (`jit`, `custom_jvp_call`, `remat`, ...) are "
        "inlined. A primitive that is missing is refused with the line of your code; give it a "
        "rule with `export(..., rules={...})`. AIR and ONNX take MindSpore's operators by rows of "
        'their own; "in part" is where some of those that a rule uses have none, so that some '
        "dtypes or forms are refused.",
        "",
        f"| primitive | {' | '.join(TARGETS)} |",
        "|---" * (1 + len(TARGETS)) + "|",
    ]
    return "\n".join([*head, *rows, ""])

"""``msckpt ops``: which JAX primitives can be exported."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from types import CodeType, FunctionType
from typing import Any

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
        used = _operators(RULES[name]) if name in RULES else set()
        in_air, in_onnx = (_adapted(how, used, rows) for rows in (air.ADAPTERS, onnx.ADAPTERS))
        if name in algorithms.AIR:
            in_air = _how(False, True)
        if name in algorithms.ALGORITHMS or (in_onnx != "rule" and name in pairs.RULES):
            in_onnx = _how(in_onnx != "no", True)
        other = "in part" if name in REWRITES else "no"  # some of its forms
        found[name] = (how, *(other if one == "no" else one for one in (in_air, in_onnx)))
    return found


def _how(has_rule: bool, is_rewritten: bool) -> str:
    if has_rule and is_rewritten:
        return "rule, other forms rewritten"
    return "rule" if has_rule else "rewritten" if is_rewritten else "no"


def _adapted(how: str, used: set[str], rows: Collection[str]) -> str:
    """How a format has it that takes MindSpore's operators by rows of its own."""
    if used <= set(rows):
        return how
    return "in part" if used & set(rows) else "no"


def _operators(rule: Any) -> set[str]:
    """MindSpore's operators that a rule names, in its code and in what it closes over."""
    from msckpt_jax.graph import operators

    found: set[str] = set()
    waiting: list[Any] = [rule]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            found |= {item} if operators.known(item) else set()
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, tuple | list | set | frozenset):
            waiting += item
        elif isinstance(item, CodeType):
            waiting += [*item.co_consts, *({"cast": "Cast"}.get(n) for n in item.co_names)]
        elif isinstance(item, FunctionType):
            named = (item.__globals__.get(name) for name in item.__code__.co_names)
            waiting += [item.__code__, *(cell.cell_contents for cell in item.__closure__ or ())]
            waiting += [table for table in named if isinstance(table, dict)]
    return found - {"If", "While", "Any"}  # control flow all formats have; an annotation


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

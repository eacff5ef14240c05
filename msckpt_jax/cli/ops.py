"""``msckpt ops``: which JAX primitives can be exported."""

from __future__ import annotations

import argparse

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
TARGETS = ("MINDIR",)


def coverage() -> dict[str, tuple[str, ...]]:
    """How each target has a primitive, by the primitive's name."""
    from msckpt_jax.lowering.rewrites import REWRITES
    from msckpt_jax.mindir.ops import RULES

    names = sorted({*RULES, *REWRITES} - {"ms_op"})
    return {name: (_how(name in RULES, name in REWRITES),) for name in names}


def _how(has_rule: bool, is_rewritten: bool) -> str:
    if has_rule and is_rewritten:
        return "rule, other forms rewritten"
    return "rule" if has_rule else "rewritten"


def markdown() -> str:
    rows = [f"| `{name}` | {' | '.join(found)} |" for name, found in coverage().items()]
    head = [
        "# JAX primitives that can be exported",
        "",
        "Made by `msckpt ops --markdown`. Calls (`jit`, `custom_jvp_call`, `remat`, ...) are "
        "inlined. A primitive that is missing is refused with the line of your code; give it a "
        "rule with `export(..., rules={...})`.",
        "",
        f"| primitive | {' | '.join(TARGETS)} |",
        "|---" * (1 + len(TARGETS)) + "|",
    ]
    return "\n".join([*head, *rows, ""])

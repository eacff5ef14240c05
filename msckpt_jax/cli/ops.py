"""``msckpt ops``: the JAX primitives that can be exported."""

from __future__ import annotations

import argparse

from msckpt_jax.api import targets
from msckpt_jax.cli import common

DESCRIPTION = """\
List the JAX primitives that `msckpt export` knows, with a column for each format: `rule` where a
primitive has a lowering rule of its own, `rewritten` where it becomes other primitives first, `in
part` where the format lacks some dtypes or forms. A primitive that is not listed can be given a
rule: export(..., rules={"primitive": rule}).
"""
EXAMPLES = """\
  msckpt ops
  msckpt ops --markdown > docs/operators.md
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--markdown", action="store_true", help="print a table in Markdown")
    parser.add_argument("--json", action="store_true", help="print JSON")
    common.limit_argument(parser)


def run(args: argparse.Namespace) -> int:
    from msckpt_jax.cli import coverage  # all rules and rows

    if args.markdown:
        common.say(*coverage.markdown().splitlines())
        return 0
    rows = [(name, *columns) for name, columns in coverage.table().items()]
    if args.json:
        common.say_json([{"primitive": name} | dict(zip(targets.NAMES, columns, strict=True))
                         for name, *columns in rows])  # fmt: skip
    else:
        common.show(args.limit, ["primitive", *targets.NAMES], rows, lambda row: row)
    return 0

"""The support of JAX's primitives by the model formats, as rules and rows have it."""

from __future__ import annotations

from collections.abc import Set

from msckpt_jax.api import targets
from msckpt_jax.lowering.algorithms import FORMS, IN_PART
from msckpt_jax.lowering.algorithms import complex as pairs
from msckpt_jax.lowering.rewrites import REFUSED, REWRITES
from msckpt_jax.lowering.rules import RULES
from msckpt_jax.lowering.target import Target

#: Operators that need no row: control flow, and one that only MindSpore's CPU is asked for.
_WITHOUT_ROW = frozenset({"If", "While", "Im2Col"})


def table() -> dict[str, list[str]]:
    """Return the support of each primitive by name: a word for each target."""
    formats = [*targets.every()]
    primitives = {*RULES, *REWRITES, *(name for format in formats for name in format.algorithms)}
    primitives |= {name for format in formats for name in format.algorithms64}
    primitives -= {"ms_op", *REFUSED, *(name for name in primitives if " " in name)}  # JAX's own
    return {name: [_column(name, format) for format in formats] for name in sorted(primitives)}


def _column(name: str, format: Target) -> str:
    if name in format.algorithms:
        partly = name in IN_PART or format.algorithms[name] is FORMS.get(name)
        return _how(partly and name in RULES, True)
    how = _how(name in RULES, name in REWRITES)
    if format.operators is not None:
        how = _adapted(how, RULES[name].operators if name in RULES else set(), format.operators)
    in_pairs = not format.complex and how != "rule" and name in pairs.REWRITES
    if name in format.algorithms64 or in_pairs:
        how = _how(how != "no", True)
    # Some forms of a primitive that is rewritten have other operators, which may have rows.
    return "in part" if how == "no" and name in REWRITES else how


def _how(has_rule: bool, is_rewritten: bool) -> str:
    if has_rule and is_rewritten:
        return "rule, other forms rewritten"
    return "rule" if has_rule else "rewritten" if is_rewritten else "no"


def _adapted(how: str, used: Set[str], rows: Set[str]) -> str:
    """Restrict support to a format that has ``rows`` for some of MindSpore's operators."""
    if used <= rows | _WITHOUT_ROW:
        return how
    return "in part" if used & rows else "no"


def markdown() -> str:
    """Return the table as a page of the documentation."""
    rows = [f"| `{name}` | {' | '.join(columns)} |" for name, columns in table().items()]
    head = [
        "# JAX primitives that can be exported",
        "",
        "Made by `msckpt ops --markdown`. Calls (`jit`, `custom_jvp_call`, `remat`, ...) are "
        "inlined. A primitive that is missing is refused with the line of your code; give it a "
        "rule with `export(..., rules={...})`. AIR and ONNX take MindSpore's operators by rows of "
        'their own; "in part" is where some of those that a rule uses have none, so that some '
        "dtypes or forms are refused.",
        "",
        f"| primitive | {' | '.join(targets.NAMES)} |",
        "|---" * (1 + len(targets.NAMES)) + "|",
    ]
    return "\n".join([*head, *rows, ""])

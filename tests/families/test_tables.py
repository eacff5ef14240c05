"""Tables of one's own, and hostile ones: an error tells, no code runs, nothing takes forever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import msckpt_jax as ms


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


TABLE = """model_types = ["mine"]
{top}
[huggingface]
layer = "m.{{i}}"
[huggingface.rows]
"a" = "(V, D)"
"{{layer}}.w" = "(D, F)"
"{{layer}}.u" = "(D, F)"
[maxtext]
layer = "l_{{i}}"
scanned = "l[i]"
[maxtext.rows]
"a" = "a"
{rows}
"""
MINE = {"model_type": "mine", "vocab_size": 5, "hidden_size": 4, "intermediate_size": 6,
        "num_hidden_layers": 3, "num_attention_heads": 2}  # fmt: skip


def mine(rows: str, top: str = "", files: str = "huggingface") -> Any:
    Path("mine.toml").write_text(TABLE.format(top=top, rows=rows))
    how = ms.Family(MINE, jax="maxtext", files=files, table="mine.toml")
    return how.targets(how.abstract())


def test_a_table_of_ones_own() -> None:
    names = [t.name for t in mine('"{layer}.w" = "{layer}.w : T"\n"{layer}.u" = "{layer}.u"')]
    assert names[:3] == ["a", "m.0.w", "m.0.u"]
    parts = '"{layer}.w" = ["{layer}.x : sl(1, 0, 2)", "{layer}.y : sl(1, 2, F)"]\n'
    parts += '"{layer}.u" = ["{layer}.u if D == 5", "{layer}.v : T if D == 4"]'
    assert [p.leaf for t in mine(parts)[1:3] for p in t.parts] == ["l_0.x", "l_0.y", "l_0.v"]
    parts += """
        [mindone]
        layer = "m_{i}"
        otherwise = "huggingface"
        [mindone.rows]
        "{layer}.w" = ["{layer}.p : sl(1, 0, 3)", "{layer}.q : sl(1, 3, F)"]"""
    found = [(t.name, [p.leaf for p in t.parts]) for t in mine(parts, files="mindone")[1:3]]
    assert found == [("m_0.p", ["l_0.x", "l_0.y"]), ("m_0.q", ["l_0.y"])]
    both = '"{layer}.w" = "{layer}.x : cat(0, 0, 2)"\n"{layer}.u" = "{layer}.x : cat(0, 1, 2)"'
    assert mine(both)[1].parts[0].shape == (8, 6)


BAD_STEPS = [
    "mul(9**9**9)", "mul(__import__('os').system('false'))", "mul('a' * 9999999999)",
    f"mul({'*'.join(['9'] * 200000)})", f"mul({'*'.join(['9999999'] * 60)})", "mul(sqrt(-1))",
    f"mul({'(' * 240}1{')' * 240})", "mul(1/0)", "mul(0)", "mul(1e999)", "mul", "mul(1, 2)",
    "mul(model_type)", "mul(D.__class__)", "mul(lambda: 1)", "mul(dt('x'))", "foo(1)", "T T",
    "rs(D, F, 2)", "rs(4.0, 6)", "rs(-4, -6)", "rs()", "pm(0, 0)", "pm(1)", "pad0(2)", "ev",
    "cat(5, 0, 2)", "cat(0, 1, 2)", "cat(D, 0, 2)", "stk(0, 0, 2)", "stk(0, 3, 2)",
    "ilc(0, 0, 2)", "est(0)", "sl(0, 0, 3)", "sl(0, 3, 2)", "sl(0, 0, 5)", "sl(9, 0, 2)", "sl",
    "sl(0, 0, 2.5)", "sl(0, -1, 3)", "rs(2, 2, F); T; rs(F*2, 2); sl(0, 0, 2)",
    "T if D == 5", "T if __import__('os')", "T if", "T if 'x' * 9999999999",
]  # fmt: skip


@pytest.mark.parametrize("steps", BAD_STEPS, ids=lambda steps: steps[:24])
def test_hostile_steps(steps: str) -> None:
    with pytest.raises(ms.CheckpointError):
        mine(f'"{{layer}}.u" = "{{layer}}.u"\n"{{layer}}.w" = "{{layer}}.w : {steps}"')


ROWS = '"{layer}.w" = "{layer}.w"\n"{layer}.u" = "{layer}.u"'
BAD_TABLES = {
    "two in one place": ('"{layer}.w" = "{layer}.x"\n"{layer}.u" = "{layer}.x"', ""),
    "one part twice": ('"{layer}.w" = "{layer}.x : stk(0, 0, 2)"\n'
                       '"{layer}.u" = "{layer}.x : stk(0, 0, 2)"', ""),
    "slices that overlap": ('"{layer}.w" = ["{layer}.x : sl(1, 0, 3)", "{layer}.y : sl(1, 1, 4)"]\n'
                            '"{layer}.u" = "{layer}.u"', ""),
    "no layer in the path": ('"{layer}.w" = "w"\n"{layer}.u" = "{layer}.u"', ""),
    "a tensor left out": ('"{layer}.w" = "{layer}.w"', ""),
    "a tensor of no shape": (f'{ROWS}\n"z" = "z"', ""),
    "an unknown size in a path": ('"{layer}.w" = "{nope}"\n"{layer}.u" = "{layer}.u"', ""),
    "a condition that calls": (ROWS, 'requires = ["D ** 2"]'),
    "a condition of another type": (ROWS, "requires = [3]"),
    "left_out of another type": (ROWS, "left_out = 3"),
    "sizes of another type": (ROWS, "config = {X = 3}"),
    "wrapped of another type": (ROWS, "wrapped = {x = 3}"),
    "alone of another type": (ROWS, "alone = 3"),
    "cut of another type": (ROWS, "cut = {a = 3}"),
    "no TOML": (ROWS, "[[[["),
    "deep": (ROWS, "x = " + "[" * 5000),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables(case: str) -> None:
    with pytest.raises(ms.CheckpointError):
        mine(*BAD_TABLES[case])


@pytest.mark.parametrize(
    ("old", "new"),
    [('layer = "l_{{i}}"', "layer = 3"), ('layer = "l_{{i}}"', ""), ("(V, D)", "(V, D"),
     ('layer = "l_{{i}}"', 'layer = "l_{{i}} if i > 1"'), ("(V, D)", "V, D"),
     ('scanned = "l[i]"', 'scan_axis = "x"'), ('scanned = "l[i]"', "names = {{x = 3}}"),
     ('scanned = "l[i]"', "variants = 3"), ('"(D, F)"', "3")],
)  # fmt: skip
def test_bad_sections(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.TABLE", TABLE.replace(old, new))
    with pytest.raises(ms.CheckpointError):
        mine(ROWS)

"""``msckpt export`` and ``msckpt ops``."""

from __future__ import annotations

from pathlib import Path

import pytest

from msckpt_jax.cli import coverage, main

MODULE = """
import jax.numpy as jnp

def double(x):
    return jnp.tanh(x) * 2

def make():
    return double
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exported_here.py").write_text(MODULE)
    return tmp_path


@pytest.mark.parametrize("name", ["double", "make()"])
def test_export(name, module, capsys):
    arguments = ["--input", "f32[batch,3]", "-f", "MINDIR", "-o", "net"]
    assert main(["export", f"exported_here:{name}", *arguments]) == 0
    assert (module / "net.mindir").exists()
    assert "net.mindir: 7 operators, 0 parameters" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["exported_here", "-o", "n"], "'exported_here' is not MODULE:NAME"),
        (["not_here:f", "-o", "n"], "there is no module 'not_here'"),
        (["exported_here:f", "-o", "n"], "exported_here has no f"),
        (["exported_here:double", "-o", "n", "--input", "q8[3]"], "is not DTYPE[SHAPE]"),
        (["exported_here:double", "-o", "no/n", "--input", "f32[3]"], "no such folder"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    assert main(["export", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_table_in_the_docs_is_that_of_the_code():
    docs = Path(__file__).parents[2] / "docs" / "operators.md"
    assert docs.read_text() == coverage.markdown()


def test_ops(capsys):
    assert main(["ops"]) == 0
    assert "dot_general" in capsys.readouterr().out

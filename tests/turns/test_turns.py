"""Wrong turns end in an error of ours, which says what, where and what to do; nothing is written.

An error is ours if it is raised by a ``raise`` of ours: what Python, NumPy, JAX or protobuf say of
our own lines is no help to a user. The reason why the user's own code fails stands in our error.
"""

from __future__ import annotations

import linecache
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from msckpt_jax.cli import main
from tests.turns import calls, commands, files
from tests.turns.names import NAMES

#: Errors that a mapping or a sequence has to raise, and that documentation names.
MAPPINGS = (KeyError, IndexError)
#: What only the insides of a library say.
RAW = ("Traceback", "XlaRuntimeError", "JaxRuntimeError", "Error parsing message", "<locals>",
       "SafetensorError", "msckpt_jax/lowering")  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("turns")
    files.make(folder)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the user's, in which nothing is left."""
    (tmp_path / "here").symlink_to(made)
    monkeypatch.chdir(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in made.iterdir()}
    yield tmp_path
    left = [path for path in tmp_path.rglob("*") if not path.is_dir() and path.name != "here"]
    assert not left
    assert {path.name: path.stat().st_mtime_ns for path in made.iterdir()} == before


def is_ours(error: BaseException) -> bool:
    """Tell whether a ``raise`` of ours raised an error, or the system, about a file."""
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    place = trace.tb_frame.f_code.co_filename
    is_raise = linecache.getline(place, trace.tb_lineno).lstrip().startswith("raise ")
    return isinstance(error, OSError) or ("/msckpt_jax/" in place and is_raise)


@pytest.mark.parametrize("turn", calls.TURNS)
def test_a_call(here: Path, turn: str) -> None:
    with pytest.raises((ValueError, TypeError, OSError, *MAPPINGS)) as caught:
        eval(turn, NAMES)
    assert is_ours(caught.value)
    text = str(caught.value.args[-1])  # a KeyError's own text has quotes around it
    assert calls.TURNS[turn] in text
    assert not any(words in text for words in RAW)


@pytest.mark.parametrize("line", commands.TURNS)
def test_a_command(here: Path, line: str, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.syspath_prepend(here / "here")
    status, told = commands.TURNS[line]
    assert main(commands.split(line)) == status
    out, err = capsys.readouterr()
    assert told in (err if status == 2 else out)
    assert not any(words in out + err for words in RAW)
    assert os.listdir(here) == ["here"]

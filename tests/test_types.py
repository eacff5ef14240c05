"""The types that users' editors and type checkers see."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import msckpt_jax as ms
from msckpt_jax.api.load import Reading
from msckpt_jax.api.save_options import Saving

SAMPLE = Path(__file__).parent / "user_sample.py"

#: Analyses nothing of JAX, which would take most of the time: what comes from there is Any.
MYPY = """
[mypy]
strict = true
[mypy-jax.*,jaxlib.*,flax.*,numpy.*,ml_dtypes.*,orbax.*,onnx.*,google.*,rich.*,etils.*,grain.*]
follow_imports = skip
"""

#: Arguments of which an overload leaves out those that it does not take.
EXCLUSIVE = {"like", "sharding"}


def test_there_is_a_marker_of_types() -> None:
    assert (Path(ms.__file__).parent / "py.typed").exists()


def test_the_sample_uses_every_public_name() -> None:
    used = set(re.findall(r"\bms\.(\w+)", SAMPLE.read_text()))
    assert used == {*ms.__all__}


def test_pyright_strict() -> None:
    """``assert_type`` in the sample says what each result is."""
    checked = subprocess.run(
        ["pyright", "--pythonpath", sys.executable, SAMPLE], capture_output=True, text=True
    )
    assert checked.stdout.endswith("0 errors, 0 warnings, 0 informations\n"), checked.stdout


def test_mypy_strict(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "mypy.ini").write_text(MYPY)
    command = [sys.executable, "-m", "mypy", "--config-file", tmp_path / "mypy.ini"]
    checked = subprocess.run(
        [*command, "--cache-dir", tmp_path / "cache", SAMPLE], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("function", "rest"), [(ms.save_checkpoint, Saving), (ms.load_checkpoint, Reading)]
)
def test_overloads_have_the_arguments_of_the_function(
    function: Callable[..., Any], rest: type
) -> None:
    parameters = inspect.signature(function).parameters
    for overload in typing.get_overloads(function):
        told = dict(inspect.signature(overload).parameters)
        (variadic,) = [n for n, p in told.items() if p.kind == inspect.Parameter.VAR_KEYWORD]
        del told[variadic]
        every = set(told) | set(rest.__annotations__)
        assert every == set(parameters) - (EXCLUSIVE - set(told))
        for name in rest.__annotations__:
            kind = rest.__annotations__[name].__forward_arg__
            assert kind == parameters[name].annotation, name
        order = [name for name in parameters if name in told]
        assert list(told) == order

"""What JAX computes with becomes AIR with JAX's numbers, or is refused with the user's line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import msckpt_jax as ms
from msckpt_jax.errors import ExportError
from tests.air import primitives

WHOLE = {
    **primitives.DIRECT,
    **primitives.COMPOSITE,
    **primitives.NOTHING,
    **primitives.EXPANDED,
}


@pytest.mark.parametrize(("function", "inputs"), [(f, x) for f, *x in WHOLE.values()], ids=WHOLE)
def test_numbers(tmp_path: Path, function: Any, inputs: Any) -> None:
    done = ms.export(function, *inputs, file_name=tmp_path / "a", file_format="AIR", verify=True)
    assert done.difference is not None  # one that is too large has been raised


@pytest.mark.parametrize("name", primitives.REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    function, *inputs = primitives.REFUSED[name]
    with pytest.raises(ExportError) as caught:
        ms.export(function, *inputs, file_name=tmp_path / "a", file_format="AIR")
    assert all("primitives.py:" in problem for problem in caught.value.problems)
    assert f"{name}: no rule for it" in str(caught.value)
    assert not list(tmp_path.iterdir())

"""Each public name has an example in its docstring, which gives what it says."""

from __future__ import annotations

import doctest
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms

#: The names that examples use without importing them.
GLOBALS = {"jax": jax, "jnp": jnp, "ms": ms, "nnx": nnx, "np": np}


@pytest.mark.parametrize("name", ms.__all__)
def test_the_example_of_a_public_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    docstring = getattr(ms, name).__doc__
    example = doctest.DocTestParser().get_doctest(docstring, dict(GLOBALS), name, None, None)
    assert example.examples
    text: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=text.append)
    assert "".join(text) == ""

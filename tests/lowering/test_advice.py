"""Errors point to the innermost line of the user's own code, and say what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.dense = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dense(x)  # the line that calls Flax


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.block = Block(rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.block(x)


def line_with(text: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(text))


def test_operators_point_to_the_innermost_line_of_the_user(tmp_path: Path) -> None:
    graph = ms.export(Net(nnx.Rngs(0)), jnp.ones((1, 4)), file_name=tmp_path / "n").graph
    assert graph is not None
    where = f"{__file__}:{line_with('# the line that calls Flax')}:"
    assert [node.source.startswith(where) for node in graph.walk()] == [True] * 3


def branches(x: jax.Array) -> jax.Array:
    return x if x.sum() > 0 else -x


CONV = nnx.Conv(3, 8, (3, 3), rngs=nnx.Rngs(0))
ERRORS: dict[str, tuple[Any, tuple[Any, ...], str]] = {
    "if": (branches, (jnp.ones(3),), "jnp.where, jax.lax.cond"),
    "while": (lambda x: [x := x * 2 for _ in iter(lambda: bool(x[0] < 9), False)][-1],
              (jnp.ones(3),), "jax.lax.while_loop"),
    "int": (lambda x: jnp.zeros(int(x[0])), (jnp.ones(3),), "x.shape[0]"),
    "numpy": (lambda x: np.asarray(x), (jnp.ones(3),), "jax.numpy in place of numpy"),
    "mask": (lambda x: x[x > 0], (jnp.ones(3),), "jnp.where(mask, x, 0)"),
    "missing": (lambda x, y: x + y, (jnp.ones(3),), "an example of each input"),
    "NCHW": (CONV, (jnp.ones((2, 3, 16, 12)),), "pass it as [2, 16, 12, 3]"),
    "shape": (Net(nnx.Rngs(0)), ((1, 4),), "jax.ShapeDtypeStruct(shape, dtype)"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_advice(case: str, tmp_path: Path) -> None:
    net, inputs, told = ERRORS[case]
    with pytest.raises(ms.ExportError) as error:
        ms.export(net, *inputs, file_name=tmp_path / "n")
    assert told in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(2, 4, 16, 12), (2, 16, 12, 5)])
def test_no_advice_where_a_transposition_would_not_fit(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    with pytest.raises(ms.ExportError) as error:
        ms.export(CONV, jnp.ones(shape), file_name=tmp_path / "n")
    assert "pass it as" not in str(error.value)


#: Two cells, of which the second calls the function of the first.
NOTEBOOK = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell('''import jax.numpy as jnp, msckpt_jax as ms

def wrong(x):
    return x if x.sum() > 0 else -x
''', store_history=True)
result = shell.run_cell({call!r}, store_history=True)
"""
CALLS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "an error": (
        "try: ms.export(wrong, jnp.ones(3), file_name='n')\nexcept Exception as e: print(e)",
        lambda out: out.startswith("Cell In[1], line 4 (wrong): "),
    ),
    "an operator": (
        "print(ms.export(lambda x: x + 1, jnp.ones(3), file_name='n').graph)",
        lambda out: "# Cell In[2], line 1 (<lambda>)" in out,
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_cells_of_notebooks_have_their_names(case: str, tmp_path: Path) -> None:
    call, is_right = CALLS[case]
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK.format(call=call)],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert is_right(done.stdout), done.stdout

"""Places in loops of known length: clamps that change nothing are left out, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import msckpt_jax as ms
from msckpt_jax.api import targets
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.trips import count
from msckpt_jax.graph.values import Const, Tensor, Value
from msckpt_jax.lowering.lowered import lowered
from msckpt_jax.lowering.trace import trace
from msckpt_jax.lowering.wanted import Lowering
from msckpt_jax.onnx import runner

X = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)


def scanned(x: Any, reverse: bool = False, more: Any = ()) -> Any:
    def step(carry: Any, rows: Any) -> Any:
        return jnp.sin(carry + sum(rows)), (carry * rows[0], *rows[1:])

    return lax.scan(step, jnp.zeros(4), (x, *more), reverse=reverse)


def summed(length: int, place: Callable[[Any], Any], start: int = 0, **how: Any) -> Callable:
    """The sum of rows at places computed of a counter."""

    def row(x: Any, i: Any) -> Any:
        return lax.dynamic_slice_in_dim(x, place(i), 1, 0, **how)[0] * i

    return lambda x: lax.fori_loop(start, length, lambda i, c: jnp.sin(c + row(x, i)), x[0])


def set_rows(x: Any) -> Any:
    def step(i: Any, c: Any) -> Any:
        return lax.dynamic_update_index_in_dim(c, jnp.sin(c[59 - i] * 2 + c[i]), i, 0)

    return lax.fori_loop(0, 60, step, x)


def windows(x: Any) -> Any:
    def step(i: Any, c: Any) -> Any:
        return c + jnp.sin(lax.dynamic_slice(x, (i, 1), (3, 2)))

    return lax.fori_loop(0, 58, step, jnp.zeros((3, 2)))


def nested(x: Any) -> Any:
    def outer(i: Any, c: Any) -> Any:
        return lax.fori_loop(0, 50, lambda j, c: jnp.sin(c + x[i] * x[j]), c)

    return lax.fori_loop(0, 60, outer, x[0])


def in_branch(x: Any) -> Any:
    def step(i: Any, c: Any) -> Any:
        return lax.cond(c[0] > 0, lambda: jnp.sin(c + x[i]), lambda: jnp.cos(c - x[i]))

    return lax.fori_loop(0, 60, step, x[0])


def by_two(x: Any) -> Any:
    def step(state: Any) -> Any:
        i, c = state
        return i + 2, jnp.sin(c + lax.dynamic_index_in_dim(x, i, 0, False))

    return lax.while_loop(lambda state: state[0] < 60, step, (0, x[0]))[1]


def counted_twice(x: Any) -> Any:
    """A counter that doubles: it is below the limit, and has no range."""

    def step(state: Any) -> Any:
        i, j, c = state
        row = lax.dynamic_index_in_dim(x, j, 0, False)
        return i + 1, j * 2, jnp.sin(c + row)

    return lax.while_loop(lambda state: state[0] < 30, step, (0, 1, x[0]))[2]


def of_data(x: Any) -> Any:
    def step(i: Any, c: Any) -> Any:
        return jnp.sin(c + x[(c > 0).sum() + i])

    return lax.fori_loop(0, 60, step, x[0])


class Case(NamedTuple):
    """A function of X, and how many maxima, minima and choices its loops still need."""

    function: Callable[..., Any]
    clamps: int = 0


CASES = {
    "scan": Case(scanned),
    "scan, reversed": Case(lambda x: scanned(x, reverse=True)),
    "scan of bytes": Case(lambda x: scanned(x, more=(jnp.arange(60, dtype=np.int8),))),
    "rows": Case(summed(60, lambda i: i)),
    "rows from the end": Case(summed(60, lambda i: -i, 1)),
    "rows by int8": Case(summed(60, lambda i: i.astype(np.int8))),
    "rows by uint32": Case(summed(60, lambda i: i.astype(np.uint32))),
    "rows set": Case(set_rows),
    "windows": Case(windows),
    "nested": Case(nested),
    "in a branch": Case(in_branch),
    "every second": Case(by_two),
    # What may be out of bounds is clamped.
    "one too many": Case(summed(61, lambda i: i), 1),
    "from the next": Case(summed(60, lambda i: i + 1), 1),
    "from the one before": Case(
        summed(60, lambda i: i - 1, allow_negative_indices=False), 1
    ),
    "a sum that overflows": Case(summed(60, lambda i: i.astype(np.int8) + np.int8(100)), 3),
    "a difference below zero": Case(summed(60, lambda i: i.astype(np.uint32) - np.uint32(1)), 2),
    "products": Case(summed(60, lambda i: i * 2), 3),
    "doubled": Case(counted_twice, 3),
    "of data": Case(of_data, 3),
}  # fmt: skip


def clamps(graph: Graph) -> list[str]:
    ops = [node.op for node in graph.walk()]
    return [op for op in ops if op in ("Maximum", "Minimum", "Select")]


@pytest.mark.parametrize("name", CASES)
def test_clamps_that_change_nothing_are_left_out(name: str) -> None:
    graph = lowered(trace(CASES[name].function, [X]), targets.named("ONNX"), Lowering())
    assert len(clamps(graph)) == CASES[name].clamps


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_stay(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the file whose clamps all stay, bit by bit, and JAX's."""
    function = CASES[name].function

    def results(file: str) -> list[np.ndarray]:
        done = ms.export(function, X, file_name=tmp_path / file, file_format="ONNX",
                         engine="native", durable=False)  # fmt: skip
        return runner.session(done.file)(X)

    have = results("without")
    monkeypatch.setattr("msckpt_jax.lowering.ranges.unclamp", lambda graph: None)
    for x, y, want in zip(
        have, results("with"), jax.tree.leaves(function(jnp.asarray(X))), strict=True
    ):
        np.testing.assert_array_equal(x, y)
        np.testing.assert_allclose(x, want, rtol=1e-4, atol=1e-4)


def test_a_counter_that_overflows_has_no_last_number() -> None:
    """It begins again below the limit."""
    kind = Tensor(np.dtype(np.int8), ())
    number = lambda n: Const(np.int8(n).reshape(()))  # noqa: E731
    for by, rounds in ((9, 3), (30, None)):
        before, after, test = Value(kind), Value(kind), Value(Tensor(np.dtype(bool), ()))
        condition = Graph(
            "condition", [before], [Node("Less", (before, number(120)), (test,))], [test]
        )
        step = Graph("step", [before], [Node("Add", (before, number(by)), (after,))], [after])
        loop = Node("While", (number(100),), (Value(kind),), {}, (condition, step))
        assert count(loop, [np.int8(100)], lambda x: True) == rounds

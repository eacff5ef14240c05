"""The vocabulary: an operator has a meaning, which is MindSpore's, or a reason why it has none."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.graph import meaning, operators
from msckpt_jax.graph.evaluate import FLOW
from msckpt_jax.graph.meaning import sized, without
from msckpt_jax.mindir.nodes import SPECIAL
from tests.mindir import vocabulary, vocabulary_edges, vocabulary_page
from tests.real import need_mindspore

#: One in so many rows; all of them are a command's.
_SHARE = 64
_TABLE = meaning.table()


def test_rows_alone_in_mindspore_and_jax() -> None:
    need_mindspore()
    rows = [row for row in vocabulary.rows() if zlib.crc32(row.key.encode()) % _SHARE == 3]
    assert len(rows) > 15
    done = vocabulary.outcomes(rows)
    assert {
        row.key: text for row, each in done.items() if (text := vocabulary.wrong(row, each))
    } == {}


def test_reductions_and_losses_at_their_ends() -> None:
    need_mindspore()
    done = vocabulary.outcomes(vocabulary.rows(vocabulary_edges.ROWS))
    assert {
        row.key: text for row, each in done.items() if (text := vocabulary.wrong(row, each))
    } == {}


def test_a_wrong_meaning_is_seen() -> None:
    off = vocabulary.compared([np.ones(3, np.float32)], [np.full(3, 1.001, np.float32)])
    assert off.units > 1000
    assert vocabulary.compared([np.ones(3)], [np.ones((3, 1))]).ours
    assert vocabulary.compared([np.ones(3)], [np.ones(3, np.float32)]).ours
    assert vocabulary.compared([np.array([1, 2])], [np.array([1, 3])]).units == np.inf
    assert vocabulary.compared([np.array([1.0, np.nan])], [np.array([1.0, 2.0])]).units == np.inf


def test_examples_of_mindspores_documents() -> None:
    """Numbers that the documents print, of operators that its CPU does not run."""
    x = jnp.array([[0.1, 0.2, 0.3], [0.2, 0.7, 0.8], [0.3, 0.3, 0.5]])
    experts = jnp.array([[0, 1, 1], [2, 1, 1], [0, 0, 0]])
    out, places, *_ = _TABLE["MoeInitRoutingV2"](x, experts, 3, 2, 3, 1, 0, False)
    np.testing.assert_array_equal(places, [0, 2, 3, 4, -1, -1, 1, -1, -1])
    np.testing.assert_array_equal(out, [[x[0], x[2]], [x[0], x[0]], [x[1], x[1] * 0]])
    boxes = jnp.array([[1, 2, 3, 4], [1, 3, 3, 4], [1, 3, 4, 4], [1, 1, 4, 4], [1, 1, 3, 4.0]])
    scores = jnp.array([0.4, 0.5, 0.72, 0.9, 0.45])
    np.testing.assert_array_equal(
        _TABLE["NonMaxSuppressionV3"](boxes, scores, 5, 0.5, 0), [3, 2, 0]
    )
    scale, offset = jnp.array([80.0, 40.0]), jnp.array([0.0, 2.0])
    quantised = _TABLE["QuantV2"](jnp.array([100.0, 150.0]), scale, offset)
    np.testing.assert_array_equal(quantised, [127, 127])
    np.testing.assert_array_equal(_TABLE["AntiQuant"](np.int8([50, 20]), 2.0, 1.0), [102, 42])


def test_every_operator_has_a_meaning_or_a_reason() -> None:
    have = _TABLE.keys() | FLOW | SPECIAL.keys()
    assert [op for op in operators.names() if op not in have and not without.reason(op)] == []


def test_no_reason_is_dead() -> None:
    named = [op for names in without.NAMES.values() for op in names.split()]
    assert len(named) == len(set(named))
    assert [op for op in named if op in _TABLE] == []
    assert [op for op in named if not operators.known(op)] == []


def test_the_page_is_up_to_date() -> None:
    command = "python -m tests.mindir.vocabulary_page"
    assert vocabulary_page.DOCUMENT.read_text() == vocabulary_page.page(), command


def test_every_row_was_measured() -> None:
    assert {row.op for row in vocabulary.rows()} == vocabulary_page.measured().keys()
    assert vocabulary_page.measured().keys() <= _TABLE.keys()


@pytest.fixture(scope="module")
def non_zero(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of NonZero, made by us of another: MindSpore's operator in place of Abs."""
    from msckpt_jax._protos.mind_ir_pb2 import ModelProto

    folder = tmp_path_factory.mktemp("non_zero")
    file = ms.export(abs, jnp.ones((2, 3)), file_name=str(folder / "abs")).file
    model = ModelProto.FromString(Path(file).read_bytes())
    for primitive in model.primitives:
        primitive.op_type = primitive.op_type.replace("Abs", "NonZero")
    out = folder / "non_zero.mindir"
    out.write_bytes(model.SerializeToString())
    return out


X = np.array([[0, 1, 2], [0, 0, 3]], np.float32)


def test_sizes_follow_the_numbers_outside_jit(non_zero: Path) -> None:
    np.testing.assert_array_equal(ms.load(non_zero)(X), [[0, 1], [0, 2], [1, 2]])


def test_within_jit_the_size_has_to_be_told(non_zero: Path) -> None:
    with pytest.raises(ms.MindIRError, match=r"load\(\.\.\., sizes=\{'NonZero': n\}\)"):
        jax.jit(ms.load(non_zero))(X)
    told = jax.jit(ms.load(non_zero, sizes={"NonZero": 4}))(X)
    np.testing.assert_array_equal(told, [[0, 1], [0, 2], [1, 2], [0, 0]])


@pytest.mark.parametrize("sizes", [{"Abs": 3}, {"NonZero": -1}, {"NonZero": True}])
def test_sizes_that_are_none(non_zero: Path, sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(next(iter(sizes))))):
        ms.load(non_zero, sizes=sizes)


@pytest.mark.parametrize("op", sized.SIZED)
def test_a_size_that_is_enough_changes_no_number(op: str) -> None:
    arguments = {"MaskedSelect": (X, X > 0), "ListDiff": (np.ravel(X), np.array([2.0], np.float32))}
    args = arguments.get(op, (X,))
    eager = jax.tree.leaves(sized.SIZED[op](*args))
    told = jax.tree.leaves(jax.jit(lambda *args: sized.SIZED[op](*args, size=6))(*args))
    for free, padded in zip(eager, told, strict=True):
        cut = padded[:, : free.shape[1]] if op == "InnerNonZero" else padded[: len(free)] if (
            free.ndim) else padded  # fmt: skip
        np.testing.assert_array_equal(free, cut)


def test_the_error_tells_why(non_zero: Path) -> None:
    from msckpt_jax._protos.mind_ir_pb2 import ModelProto

    model = ModelProto.FromString(non_zero.read_bytes())
    for primitive in model.primitives:
        primitive.op_type = primitive.op_type.replace("NonZero", "AllReduce")
    file = non_zero.with_name("reduce.mindir")
    file.write_bytes(model.SerializeToString())
    with pytest.raises(ms.MindIRError, match=r"AllReduce \(1\), first.*: it exchanges data with"):
        ms.load(file)

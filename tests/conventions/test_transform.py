"""Transforms against NumPy, step by step: whole, by windows, in both directions, between two."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msckpt_jax import boxes
from msckpt_jax.conventions import notation, transform
from msckpt_jax.conventions.transform import Transform

SYMBOLS = {"H": 6, "K": 2, "G": 3, "hd": 4, "D": 10, "F": 14, "E": 3, "V": 7, "dtype": "float32"}


def by_numpy(x: np.ndarray, text: str, e: int = 0) -> np.ndarray:
    """The steps as NumPy takes them; joins put the part into NaN."""
    for name, arguments in notation.parse(text):
        a = [notation.evaluate(argument, SYMBOLS) for argument in arguments]
        x = NUMPY[name](x, e, *a)
    return x


def _put(shape: Any, index: Any, x: np.ndarray) -> np.ndarray:
    out = np.full(shape, np.nan, x.dtype)
    out[index] = x
    return out


def _cat(x: np.ndarray, e: int, axis: int, part: int, count: int) -> np.ndarray:
    """As if all parts had this size."""
    n = x.shape[axis]
    shape = [*x.shape[:axis], n * count, *x.shape[axis + 1 :]]
    return _put(shape, (slice(None),) * axis + (slice(part * n, (part + 1) * n),), x)


def _stack(x: np.ndarray, part: int, axis: int, count: int) -> np.ndarray:
    shape = [*x.shape[:axis], count, *x.shape[axis:]]
    return _put(shape, (slice(None),) * axis + (part,), x)


def _interleaved(x: np.ndarray, e: int) -> np.ndarray:
    out = np.empty_like(x)
    half = x.shape[-1] // 2
    out[..., 0::2], out[..., 1::2] = x[..., :half], x[..., half:]
    return out


NUMPY: dict[str, Any] = {
    "id": lambda x, e: x,
    "T": lambda x, e: x.swapaxes(-1, -2),
    "rs": lambda x, e, *shape: x.reshape(shape),
    "pm": lambda x, e, *order: x.transpose(order),
    "mul": lambda x, e, by: x * np.float32(by),
    "add": lambda x, e, by: x + np.float32(by),
    "ilv": _interleaved,
    "dil": lambda x, e: np.concatenate([x[..., 0::2], x[..., 1::2]], -1),
    "ev": lambda x, e: x[..., 0::2],
    "od": lambda x, e: x[..., 1::2],
    "sl": lambda x, e, axis, start, stop: x.swapaxes(0, axis)[start:stop].swapaxes(0, axis),
    "pad0": lambda x, e, n: _put((n, *x.shape[1:]), slice(0, len(x)), x),
    "est": lambda x, e, axis: _stack(x, e, axis, SYMBOLS["E"]),
    "stk": lambda x, e, axis, part, count: _stack(x, part, axis, count),
    "cat": _cat,
    "ilc": lambda x, e, axis, part, count: _put(
        [n * (count if i == axis else 1) for i, n in enumerate(x.shape)],
        (slice(None),) * axis + (slice(part, None, count),), x,
    ),
}  # fmt: skip

#: The steps that take a part of a tensor.
PARTIAL = {"ev", "od", "sl"}
CASES = [
    ("(H*hd, D)", "T; rs(D, H, hd)"),
    ("(H*hd, D)", "T; rs(D, H, hd); ilv; mul(1/sqrt(hd))"),
    ("(H*hd, D)", "rs(K, G, hd, D)"),
    ("(D, H*hd)", "T; rs(H, hd, D); pm(1, 0, 2)"),
    ("(H*hd, D)", "rs(K, G*hd, D) & cat(1, 0, 3) > rs(3*H*hd, D)"),
    ("(K*hd, D)", "rs(K, hd, D) & cat(1, 2, 3) > rs(3*K*hd, D)"),
    ("(F, D)", "id & ilc(0, 1, 2)"),
    ("(F, D)", "T & est(0) & cat(2, 1, 2) > rs(E*D, 2*F)"),
    ("(F, D)", "T & stk(1, 2, 4)"),
    ("(E, D, 2*F)", "od"),
    ("(E, 2*F)", "ev"),
    ("(V, D)", "mul(sqrt(D)); pad0(12)"),
    ("(D,)", "add(1)"),
    ("(H*hd, D)", "dil; T"),
    ("(V,)", "id"),
    ("(H*hd, D)", "rs(H, hd, D); sl(1, 2, hd); T; dil; T; rs(H*(hd-2), D)"),
    ("(F, D)", "sl(0, 1, 5)"),
    ("(F, D)", "sl(1, 0, 3); T & est(0)"),
]


def built(shape: str, text: str) -> tuple[tuple[int, ...], Transform, tuple[int, ...]]:
    sizes = notation.evaluate_shape(shape, SYMBOLS)
    work = notation.Builder(sizes, SYMBOLS)
    for call in notation.parse(text):
        more = ()
        if call.name == "cat":
            axis, part, count = (int(a) for a in call.arguments)
            n = work.shape()[axis]
            more = (part * n, count * n)
        work.take(call, *more)
    return sizes, work.built(), work.shape()


def by_boxes(
    how: Transform, x: np.ndarray, shape: tuple[int, ...], cuts: Any, pieces: Any = None
) -> np.ndarray:
    """The right side, window by window; elements that the left lacks are NaN.

    ``pieces``: the cuts of the left, which is in one piece otherwise.
    """
    left = boxes.whole(x.shape)
    parts = [(box, x[boxes.slices(box, left)])
             for box in itertools.product(*(pieces or whole_cuts(x.shape)))]  # fmt: skip
    out = np.full(shape, np.nan, x.dtype)
    for box in itertools.product(*cuts):
        how.pull(box, parts, out[boxes.slices(box, boxes.whole(shape))])
    return out


def whole_cuts(shape: tuple[int, ...]) -> list[list[tuple[int, int]]]:
    return [[(0, n)] for n in shape]


@st.composite
def cuts_of(draw: st.DrawFn, shape: tuple[int, ...]) -> list[list[tuple[int, int]]]:
    out = []
    for n in shape:
        inner = draw(st.sets(st.integers(0, n), max_size=3))
        out.append(list(itertools.pairwise(sorted({0, n} | inner))))
    return out


@pytest.mark.parametrize(("shape", "text"), CASES)
@given(data=st.data())
def test_as_numpy(shape: str, text: str, data: st.DataObject) -> None:
    sizes, how, after = built(shape, text)
    x = np.random.default_rng(0).normal(size=sizes).astype(np.float32)
    at = how.at({"e": 2})
    expected = by_numpy(x, text, e=2)
    assert expected.shape == after
    of_left, of_right = cuts_of(sizes), cuts_of(after)
    found = by_boxes(at, x, after, data.draw(of_right), data.draw(of_left))
    np.testing.assert_array_equal(found, expected)
    back = by_boxes(at.inverse, found, sizes, data.draw(of_left), data.draw(of_right))
    kept = ~np.isnan(back)
    assert kept.sum() == how.size
    np.testing.assert_allclose(back[kept], x[kept], 3e-7, 3e-7 if how.steps else 0)


@pytest.mark.parametrize(("shape", "text"), CASES)
@given(data=st.data())
def test_boxes_of_both_sides(shape: str, text: str, data: st.DataObject) -> None:
    """Pairs of boxes cover the box once, and hold the same numbers."""
    sizes, how, after = built(shape, text)
    how = how.at({"e": 1})
    x = np.arange(np.prod(sizes), dtype=np.float32).reshape(sizes)
    y = by_boxes(how._replace(steps=()), x, after, whole_cuts(after))
    box = tuple(data.draw(st.sampled_from(cut)) for cut in data.draw(cuts_of(sizes)))
    seen = np.zeros(sizes)
    for left, right in how.forth(box):
        assert boxes.intersect(left, box) == left
        mine, theirs = (
            x[boxes.slices(left, boxes.whole(sizes))],
            y[boxes.slices(right, boxes.whole(after))],
        )
        assert sorted(mine.ravel()) == sorted(theirs.ravel())
        seen[boxes.slices(left, boxes.whole(sizes))] += 1
    assert seen.max(initial=0) <= 1
    if not PARTIAL & {call.name for call in notation.parse(text)}:
        assert seen.sum() == boxes.size_of(box)


def test_pieces_that_do_not_cover_a_window_once() -> None:
    _, how, after = built("(4, 6)", "T")
    x, out = np.ones((4, 6), np.float32), np.empty(after, np.float32)
    upper, all_of_it = (((0, 2), (0, 6)), x[:2]), (boxes.whole(x.shape), x)
    for pieces in ([upper], [upper, all_of_it], []):
        with pytest.raises(ValueError, match="the parts of a tensor"):
            how.pull(boxes.whole(after), pieces, out)
    how.pull(((0, 6), (0, 2)), [upper], out[:, :2])  # all that this window needs


PAIRS = [(s, a, b) for s, a in CASES for t, b in CASES if s == t]


@pytest.mark.parametrize(("shape", "first", "second"), PAIRS)
@given(data=st.data())
def test_between(shape: str, first: str, second: str, data: st.DataObject) -> None:
    sizes, one, _ = built(shape, first)
    _, two, after = built(shape, second)
    x = np.random.default_rng(0).normal(size=sizes).astype(np.float32)
    y = by_numpy(x, first, e=1)
    straight = by_boxes(transform.between(one, two).at({"e": 1}), y, after,
                        data.draw(cuts_of(after)))  # fmt: skip
    expected = by_numpy(x, second, e=1)
    left_out = np.isnan(straight)
    np.testing.assert_allclose(straight[~left_out], expected[~left_out], rtol=1e-6)
    if not PARTIAL & {call.name for call in notation.parse(first)}:
        np.testing.assert_array_equal(left_out, np.isnan(expected))

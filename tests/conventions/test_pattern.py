"""Patterns on whole arrays, and on arrays cut anywhere."""

from __future__ import annotations

import itertools
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from msckpt_jax import boxes
from msckpt_jax.conventions import pattern, sources

CASES = [
    # text, shape of the leaf, the same by NumPy
    ("i o -> o i", (4, 6), lambda x: x.T),
    ("h w i o -> o i h w", (2, 3, 4, 5), lambda x: x.transpose(3, 2, 0, 1)),
    ("h w i o -> i o -h -w", (3, 2, 4, 5), lambda x: x[::-1, ::-1].transpose(2, 3, 0, 1)),
    ("e h d -> (h d) e", (4, 3, 5), lambda x: x.reshape(4, 15).T),
    ("h d e -> e (h d)", (2, 3, 4), lambda x: x.reshape(6, 4).T),
    ("k i o -> o i 1 k", (2, 3, 4), lambda x: x.transpose(2, 1, 0)[:, :, None]),
    ("h d -> (h d)", (3, 4), lambda x: x.ravel()),
    ("-> 1", (), lambda x: x.reshape(1)),
    ("i o -> o i", (0, 3), lambda x: x.T),
]


@pytest.mark.parametrize(("text", "shape", "expected"), CASES)
@hypothesis.given(data=st.data())
def test_cut_anywhere(text: str, shape: tuple[int, ...], expected, data: st.DataObject) -> None:
    leaf = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    how = pattern.parse(text)
    whole = expected(leaf)
    assert how.shape(shape) == whole.shape
    assert np.array_equal(how.restore(how.arrange(leaf), shape), leaf)

    box = a_box(data, whole.shape)
    out = np.full(boxes.shape_of(box), -1, np.int32)
    boxes.gather(sources.arrange(cut(data, leaf), how, shape), box, out)
    assert np.array_equal(out, part(whole, box))

    box = a_box(data, shape)
    restored = sources.Restored([sources.Place(cut(data, whole), how, 0)], shape, leaf.dtype)
    out = np.full(shape, -1, np.int32)
    for window in restored.windows(box, 7):
        inside = boxes.slices(window, boxes.whole(shape))
        assert (part(out, window) == -1).all()
        out[inside] = restored[inside]
        assert boxes.size_of(window) <= 7
    assert np.array_equal(part(out, box), part(leaf, box))


def test_general_kernels() -> None:
    kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert np.array_equal(pattern.general(2, 2).arrange(kernel), kernel.reshape(6, 20).T)
    assert np.array_equal(pattern.general(0, 2).arrange(kernel[0, 0]), np.arange(20))


def test_parameters_that_are_added() -> None:
    """-0.0 stays -0.0 when zeros are added; anything else is added."""
    how, shape = pattern.identity(1), (3,)
    leaf = np.array([-0.0, 1, -2], np.float32)

    def read(added: list[float]) -> np.ndarray:
        both = [leaf, np.array(added, np.float32)]
        places = [sources.Place([(boxes.whole(shape), x)], how, 0) for x in both]
        return sources.Restored(places, shape, leaf.dtype)[slice(0, 3),]

    assert read([0, 0, 0]).tobytes() == leaf.tobytes()
    assert read([1, 2, 3]).tolist() == [1, 3, 1]


def cut(data: st.DataObject, array: np.ndarray) -> list[boxes.Piece]:
    edges = []
    for n in array.shape:
        inner = data.draw(st.sets(st.integers(0, n), max_size=2))
        edges.append(list(itertools.pairwise(sorted({0, n} | inner))))
    return [(box, np.array(part(array, box))) for box in itertools.product(*edges)]


def a_box(data: st.DataObject, shape: tuple[int, ...]) -> boxes.Box:
    ends = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in shape]
    return tuple((a, b) for a, b in ends)


def part(array: np.ndarray, box: boxes.Box) -> np.ndarray:
    return array[tuple(slice(a, b) for a, b in box)]

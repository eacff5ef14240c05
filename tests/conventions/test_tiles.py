"""The copy of transposed views, against NumPy's, bit by bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msckpt_jax.conventions import tiles

DTYPES = [
    np.bool_, np.int8, np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.int64,
    np.complex64, np.complex128, np.longdouble, ml_dtypes.float8_e4m3fn, ml_dtypes.int4,
]  # fmt: skip


def bits(shape: tuple[int, ...], dtype: np.dtype, seed: int = 0) -> np.ndarray:
    """Random bytes: NaNs of every kind are among the floats."""
    raw = np.random.default_rng(seed).integers(0, 256, (*shape, dtype.itemsize), np.uint8)
    if dtype == np.bool_:
        raw &= 1
    return raw.view(dtype)[..., 0]


def raw(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


@st.composite
def strided(draw: st.DrawFn, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of this shape whose axes lie in any order in memory, with gaps, or backwards."""
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 1, 1, 2, 3, -1, -2])) for _ in shape]
    room = [abs(step) * n for step, n in zip(steps, shape, strict=True)]
    array = bits(tuple(room[axis] for axis in order), dtype, draw(st.integers(0, 9)))
    array = array.transpose(np.argsort(order))
    return array[(*(slice(None, None, step) for step in steps), ...)]


def copy_small_tiles(out: np.ndarray, view: np.ndarray) -> None:
    """Copy by tiles of a few elements."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_SMALL": 16, "_LONG": 2, "_RUN": 3, "_TILE": 96}.items():
            patch.setattr(tiles, name, value)
        tiles.copy(out, view)


@given(st.data())
def test_any_strides(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(0, 7), max_size=5)))
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    view, out = data.draw(strided(shape, dtype)), data.draw(strided(shape, dtype))
    expected = raw(view)
    copy_small_tiles(out, view)
    assert raw(out) == expected == raw(view)


@given(st.data())
def test_casts(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)))
    view = data.draw(strided(shape, np.dtype(np.int16)))
    out = data.draw(strided(shape, np.dtype(np.float64)))
    copy_small_tiles(out, view)
    np.testing.assert_array_equal(out, view)


@given(st.permutations(range(3)), st.integers(0, 2))
def test_a_value_for_a_whole_axis(order: list[int], axis: int) -> None:
    one = bits((5, 6, 7), np.dtype(np.float32))
    wide = np.broadcast_to(one[(slice(None),) * axis + (slice(0, 1),)], one.shape)
    out = np.empty([one.shape[axis] for axis in order], np.float32)
    copy_small_tiles(out, wide.transpose(order))
    assert raw(out) == raw(wide.transpose(order))


@pytest.mark.parametrize("dtype", [np.int8, ml_dtypes.bfloat16, np.float32, np.float64])
def test_large_and_in_threads(dtype: type) -> None:
    leaf = bits((257, 3, 6, 2, 65), np.dtype(dtype))
    views = [
        leaf[:, 1].transpose(order) for order in [(1, 2, 3, 0), (3, 2, 1, 0), (1, 3, 2, 0),
                                                  (2, 1, 0, 3), (0, 1, 3, 2)]
    ]  # fmt: skip
    outs = [np.empty(view.shape, view.dtype) for view in views]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tiles.copy, outs, views))
    for out, view in zip(outs, views, strict=True):
        assert raw(out) == raw(view)
